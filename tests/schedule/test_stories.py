"""From asking to the result: who gets what, when, and what everybody hears of it."""

from builder.base.errors import Code
from builder.schedule import events
from builder.schedule.operation import Stage
from builder.schedule.policy import Policy
from builder.schedule.reasons import ReasonCode
from builder.schedule.spec import ActionSpec, Outcome
from tests.schedule.kit import FAILED, GPU, LINUX, Story, spec


def test_an_action_waits_for_the_first_worker_and_runs_on_it() -> None:
    """Asked before any worker is there, it waits with its reason and starts when one comes."""
    story = Story()
    assert story.submit("a") == ["a QUEUED: no-worker"]
    assert story.reason("a") == (
        ReasonCode.NO_WORKER,
        "waits for a worker of pool default with ISA=x86-64, OSFamily=linux: none is connected",
    )
    assert story.connect("w") == ["w welcome", "w gets a/1", "a EXECUTING on w: running"]
    assert story.finish("w", "a/1") == ["w may forget a/1", "a is kept"]
    assert story.stage("a") is Stage.EXECUTING
    assert story.send(events.ResultKept("a")) == ["a ends: ok"]
    assert story.send(events.ClientDetached("a")) == []
    assert story.stage("a") is Stage.COMPLETED


def test_a_busy_pool_is_told_with_its_numbers() -> None:
    """The reason for waiting counts workers, slots and those that wait."""
    story = Story()
    story.connect("w", slots=2)
    for name in "abcd":
        story.submit(name)
    code, sentence = story.reason("c")
    assert code is ReasonCode.ALL_BUSY
    assert sentence == (
        "waits for a worker with ISA=x86-64, OSFamily=linux: 1 busy, 2 actions waiting"
    )


def test_a_result_of_which_something_is_lost_is_not_kept() -> None:
    """The client gets it; the action cache does not."""
    story = Story()
    story.connect("w")
    story.submit("a")
    cut = Outcome(b"some", succeeded=True, cut=True)
    assert story.finish("w", "a/1", cut) == ["w may forget a/1", "a ends: some"]


def test_failures_and_uncacheable_results_end_at_once() -> None:
    """Only a success that may be cached takes the way through the action cache."""
    story = Story()
    story.connect("w", slots=2)
    story.submit("a")
    story.submit("b", do_not_cache=True)
    assert story.finish("w", "a/1", FAILED) == ["w may forget a/1", "a ends: exit 1"]
    assert story.finish("w", "b/1") == ["w may forget b/1", "b ends: ok"]


def test_the_slot_of_a_finished_action_goes_on_at_once() -> None:
    """The next one starts while the result is being kept."""
    story = Story()
    story.connect("w")
    story.submit("a")
    story.submit("b")
    assert story.finish("w", "a/1") == [
        "w may forget a/1",
        "a is kept",
        "w gets b/1",
        "b EXECUTING on w: running",
    ]


def test_the_least_loaded_worker_is_taken() -> None:
    """Actions spread over the workers before they share one."""
    story = Story()
    story.connect("v", slots=2)
    story.connect("w", slots=2)
    granted = [story.submit(name)[0] for name in "abcd"]
    assert granted == ["v gets a/1", "w gets b/1", "v gets c/1", "w gets d/1"]


def test_lower_priority_numbers_run_first_and_equals_in_their_order() -> None:
    """The sign is REAPI's: lower sooner."""
    story = Story()
    for name, priority in [("late", 5), ("first", 0), ("second", 0), ("urgent", -5)]:
        story.submit(name, priority=priority)
    granted = story.connect("w", slots=4)[1::2]
    assert granted == ["w gets urgent/1", "w gets first/1", "w gets second/1", "w gets late/1"]


def test_waiting_outweighs_priority_in_the_end() -> None:
    """One step of priority is worth so many seconds; so nothing starves."""
    story = Story(Policy(age_s_per_priority=10.0))
    story.submit("patient", priority=2)
    story.now = 19.0
    story.submit("eager")
    story.now = 21.0
    story.submit("too late")
    granted = story.connect("w", slots=3)[1::2]
    assert granted == ["w gets eager/1", "w gets patient/1", "w gets too late/1"]


def test_priority_out_of_range_is_refused() -> None:
    """The range is the announced one, both ends allowed."""
    story = Story(Policy(priorities=(-2, 2)))
    assert story.submit("a", priority=2) == ["a QUEUED: no-worker"]
    assert story.submit("b", priority=3) == ["b refused: INVALID_ARGUMENT priority-out-of-range"]
    assert story.submit("c", priority=-3) == ["c refused: INVALID_ARGUMENT priority-out-of-range"]


def test_a_full_queue_refuses() -> None:
    """RESOURCE_EXHAUSTED, which clients try again later; joining a running one needs no room."""
    story = Story(Policy(most_queued=1))
    story.submit("a")
    assert story.submit("b") == ["b refused: RESOURCE_EXHAUSTED queue-full"]
    assert story.submit("again", "a") == ["again QUEUED: no-worker"]


def test_platforms_have_queues_of_their_own() -> None:
    """A waiting GPU action does not hold up the others, and the GPU worker helps them."""
    story = Story()
    story.connect("w")
    story.connect("g", properties=GPU)
    assert story.submit("g1", properties=GPU)[0] == "g gets g1/1"
    assert story.submit("g2", properties=GPU) == ["g2 QUEUED: all-busy"]
    assert story.submit("a")[0] == "w gets a/1"
    story.submit("b")
    assert story.finish("g", "g1/1")[2] == "g gets g2/1"
    story.finish("w", "a/1")
    assert story.stage("b") is Stage.EXECUTING
    assert story.submit("c") == ["c QUEUED: all-busy"]
    assert story.finish("g", "g2/1")[2] == "g gets c/1"


def test_what_nobody_serves_is_refused_at_once() -> None:
    """No pool and no worker could ever run it."""
    story = Story()
    assert story.submit("a", properties=(("OSFamily", "windows"),)) == [
        "a refused: FAILED_PRECONDITION no-match"
    ]
    story.connect("g", properties=GPU)
    assert story.submit("b", properties=GPU)[0] == "g gets b/1"


def test_without_any_pool_or_worker_actions_wait_but_not_forever() -> None:
    """A coordinator that knows nobody yet cannot say never; after a while it gives up."""
    story = Story(Policy(unserved_timeout_s=60.0), pools=())
    assert story.submit("a") == ["a QUEUED: no-worker"]
    assert story.at(59.0) == []
    assert story.at(60.0) == ["a ends: FAILED_PRECONDITION"]
    story.submit("b")
    story.at(100.0)
    assert story.connect("w")[1] == "w gets b/1"
    story.submit("c")
    assert story.at(115.0)[0] == "w: worker-lost"
    assert story.at(174.0) == []
    assert story.at(175.0)[-1] == "c ends: FAILED_PRECONDITION"


def test_identical_actions_in_flight_are_merged() -> None:
    """They run once; each client has an operation and one ending of its own."""
    story = Story()
    story.connect("w", slots=2)
    assert story.submit("one", "a") == ["w gets one/1", "one EXECUTING on w: running"]
    assert story.submit("two", "a") == ["two EXECUTING on w: running"]
    story.finish("w", "one/1")
    assert story.submit("three", "a") == ["three EXECUTING: storing-result"]
    assert story.send(events.ResultKept("one")) == [
        "one ends: ok",
        "two ends: ok",
        "three ends: ok",
    ]
    assert story.submit("four", "a")[0] == "w gets four/1"
    assert story.machine.snapshot().counters.merged == 2


def test_actions_that_must_not_be_cached_are_never_merged() -> None:
    """Each run counts."""
    story = Story()
    story.connect("w", slots=2)
    assert story.submit("one", "a", do_not_cache=True)[0] == "w gets one/1"
    assert story.submit("two", "a", do_not_cache=True)[0] == "w gets two/1"


def test_who_skips_the_cache_joins_only_a_run_that_is_not_over() -> None:
    """Joining one that executes is right; a result from before the question is not."""
    story = Story()
    story.connect("w", slots=3)
    story.submit("one", "a")
    assert story.submit("two", "a", skip_cache=True) == ["two EXECUTING on w: running"]
    story.finish("w", "one/1")
    assert story.submit("three", "a", skip_cache=True)[0] == "w gets three/1"
    assert story.submit("four", "a") == ["four EXECUTING on w: running"]
    assert story.send(events.ResultKept("one")) == ["one ends: ok", "two ends: ok"]
    story.finish("w", "three/1")
    assert story.send(events.ResultKept("three")) == ["three ends: ok", "four ends: ok"]


def test_instances_and_functions_are_not_merged() -> None:
    """Instances share no results, and a digest is its function too."""
    story = Story()
    a = spec("a")
    story.submit("one", a)
    for other in (a.key._replace(instance="x"), a.key._replace(function="blake3")):
        story.submit(str(other), ActionSpec(other, LINUX))
    assert story.machine.snapshot().counters.merged == 0


def test_a_merged_action_takes_the_best_priority_of_its_clients() -> None:
    """An urgent client pulls the shared action forward, at its place in the order."""
    story = Story()
    story.submit("slow", "a", priority=9)
    story.submit("b")
    story.submit("urgent", "a", priority=-1)
    assert story.connect("w", slots=2)[1] == "w gets slow/1"


def test_shutdown_refuses_new_actions_and_lets_the_others_end() -> None:
    """UNAVAILABLE: the client tries again, elsewhere or later."""
    story = Story()
    story.connect("w")
    story.submit("a")
    story.send(events.ShutdownStarted())
    assert story.submit("b") == ["b refused: UNAVAILABLE shutting-down"]
    assert story.finish("w", "a/1", FAILED)[1] == "a ends: exit 1"


def test_finished_operations_are_known_for_a_while() -> None:
    """Bounded by time, by count and by size."""
    story = Story(Policy(finished_kept_s=100.0, finished_kept=2, finished_kept_bytes=100_000))
    story.connect("w")
    for name in "abc":
        story.submit(name)
        story.finish("w", f"{name}/1", FAILED)
        story.now += 10.0
    assert [name for name in "abc" if story.machine.operation(name)] == ["b", "c"]
    assert story.machine.next_deadline() is not None
    story.beat("w")
    story.at(115.0)
    assert [name for name in "abc" if story.machine.operation(name)] == ["c"]
    assert story.send(events.ClientAttached("c")) == ["c ends: exit 1"]
    assert story.send(events.ClientAttached("b")) == ["b refused: NOT_FOUND unknown-operation"]
    story.send(events.OperationDeleted("c"))
    assert story.machine.operation("c") is None


def test_large_results_make_room_for_themselves() -> None:
    """The newest stays, however large it is."""
    story = Story(Policy(finished_kept_bytes=2000))
    story.connect("w")
    for name in "ab":
        story.submit(name)
        story.finish("w", f"{name}/1", Outcome(b"x" * 1900, succeeded=False))
    assert [name for name in "ab" if story.machine.operation(name)] == ["b"]


def test_endings_carry_code_and_reason() -> None:
    """What a client is told at the end is complete."""
    story = Story()
    story.submit("a")
    story.send(events.CancelRequested("a"))
    view = story.machine.operation("a")
    assert view is not None
    assert view.ending is not None
    assert view.ending.code is Code.CANCELLED
    assert view.ending.reason.sentence == "was cancelled by its client"
