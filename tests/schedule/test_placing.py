"""Which worker gets an action: room for its needs, its inputs, its health; and learned needs."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.schedule import events, health
from builder.schedule.health import Health, HealthInput, after, room
from builder.schedule.nearness import MOST, Nearness
from builder.schedule.operation import Stage
from builder.schedule.policy import Policy
from builder.schedule.resources import Amounts, amount_text, amounts, fits, give_back, lacking, take
from builder.schedule.sizes import MOST_KINDS, Sizes
from builder.schedule.spec import Outcome
from tests.schedule.kit import BROKEN, FAILED, Story, spec
from tests.schedule.test_queue import calls

GIB = 1024**3
BIG: Amounts = (("cpu", 4000), ("memory", 8 * GIB))
CALM = Policy(heartbeat_timeout_s=1e6)


def test_actions_are_packed_by_what_they_need() -> None:
    """A slot is not enough: memory has to be free too, and the others go past."""
    story = Story()
    story.connect("w", slots=4, capacity=BIG)
    assert story.submit("a", need=(("memory", 5 * GIB),))[0] == "w gets a/1"
    assert story.submit("b", need=(("memory", 5 * GIB),)) == ["b QUEUED: all-busy"]
    assert story.submit("c", need=(("memory", 3 * GIB),))[0] == "w gets c/1"
    assert story.submit("d")[0] == "w gets d/1"
    story.finish("w", "c/1", FAILED)
    assert story.stage("b") is Stage.QUEUED
    assert story.finish("w", "a/1", FAILED)[2] == "w gets b/1"


def test_what_is_counted_is_announced_or_not_there() -> None:
    """Nobody has a GPU without saying so; cpu, memory and disk are enough unless said."""
    story = Story()
    story.connect("plain")
    assert story.submit("m", need=(("memory", 5 * GIB),))[0] == "plain gets m/1"
    assert story.submit("g", need=(("gpu", 1),)) == ["g refused: FAILED_PRECONDITION no-match"]
    story.connect("gpus", slots=9, capacity=(("gpu", 2),))
    assert [story.submit(f"g{n}", need=(("gpu", 1),))[-1] for n in range(3)] == [
        "g0 EXECUTING on gpus: running",
        "g1 EXECUTING on gpus: running",
        "g2 QUEUED: all-busy",
    ]
    assert story.submit("g3", need=(("gpu", 3),)) == ["g3 refused: FAILED_PRECONDITION no-match"]


def test_the_refusal_names_the_nearest_and_what_it_has() -> None:
    """Somebody who asks for too much is told how much there is."""
    story = Story(pools=())
    story.connect("w", capacity=(("gpu", 2),))
    told: list[str] = []
    for effect in story.machine.handle(
        events.ActionSubmitted("g", spec("g", need=(("gpu", 3),))), 0.0
    ):
        told.append(effect.reason.sentence)  # type: ignore[union-attr]
    assert told == [
        (
            "no pool or worker serves ISA=x86-64, OSFamily=linux, gpu=3; the nearest is worker w: "
            "gpu=3 is needed, one worker has gpu=2"
        )
    ]


def test_a_stuck_lane_is_looked_at_again_when_room_comes() -> None:
    """By the end of an action, by a new worker, and by a result while nothing waits."""
    story = Story()
    story.connect("w", slots=9, capacity=(("gpu", 1),))
    gpu: Amounts = (("gpu", 1),)
    story.submit("a", need=gpu)
    story.submit("b", need=gpu)
    story.send(events.CancelRequested("b"))
    story.finish("w", "a/1", FAILED)
    assert story.submit("c", need=gpu)[0] == "w gets c/1"
    story.submit("d", need=gpu)
    assert "v gets d/1" in story.connect("v", capacity=(("gpu", 1),))


def test_a_worker_that_has_the_inputs_comes_first() -> None:
    """The same input root, or the same kind of action; unless it is busier than others."""
    story = Story()
    for name in "uvw":
        story.connect(name, slots=4)
    story.submit("a", root="r", kind="compile x")
    story.submit("b", root="s", kind="compile y")
    story.finish("v", "b/1", FAILED)
    assert story.submit("c", root="s")[0] == "v gets c/1"
    assert story.submit("d", root="other", kind="compile x")[0] == "u gets d/1"
    assert story.submit("e", root="r")[0] == "w gets e/1", "u has two, and w none"
    assert story.submit("f")[0] == "v gets f/1", "of those with one lease the longest so"


def test_nearness_keeps_the_newest_only() -> None:
    """Whatever clients send, it stays small."""
    near = Nearness()
    for number in range(2 * MOST + 5):
        near.ran(str(number), "w")
    assert near.holder("0") is None
    assert near.holder(str(2 * MOST)) == near.holder(str(MOST + 1)) == "w"
    assert near.holder("") is None


@pytest.mark.parametrize(("state", "received"), list(itertools.product(Health, HealthInput)))
def test_health(state: Health, received: HealthInput) -> None:
    """Every state with every input: what is not in the table changes nothing."""
    found = after(state, received)
    assert found is health.TABLE.get((state, received), state)
    assert 0 <= room(found, 4) <= 4
    assert (room(found, 4) == 4) == (found in (Health.HEALTHY, Health.DEGRADED))
    if received is HealthInput.GOOD:
        assert room(found, 4) >= room(state, 4), "a good result never costs room"
    if received is HealthInput.FAULT:
        assert room(found, 4) <= room(state, 4)


def states(story: Story) -> dict[str, str]:
    return {one.info.name: one.health for one in story.machine.snapshot().workers}


def break_three(story: Story) -> None:
    """Three actions, one after another, meet a fault of w's."""
    for name in "abc":
        story.submit(name)
        story.finish("w", f"{name}/1", BROKEN)
        story.send(events.CancelRequested(name))


def test_a_full_store_says_nothing_of_the_worker_that_uploads() -> None:
    """The action is run again as after any failure that is not its own; who ran it stays well."""
    story = Story(CALM)
    story.connect("w")
    full = replace(BROKEN, store_full=True)
    for name in "abcd":
        assert story.submit(name)[0] == f"w gets {name}/1"
        assert "infrastructure-failure" in story.finish("w", f"{name}/1", full)[1]
        story.send(events.CancelRequested(name))
    assert states(story) == {"w": "healthy"}
    assert story.machine.snapshot().counters.infrastructure_failures == 4


def test_a_failed_worker_rests_and_has_to_prove_itself() -> None:
    """Degraded, failing, failed; after its rest one action at a time until a good result."""
    story = Story(CALM)
    story.connect("w", slots=2)
    story.submit("x")
    story.connect("v")
    story.submit("y")
    story.submit("z")
    story.finish("w", "x/1", FAILED)
    story.finish("w", "z/1", FAILED)
    break_three(story)
    assert states(story) == {"w": "failed", "v": "healthy"}
    assert story.submit("d") == ["d QUEUED: all-busy"]
    story.submit("e")
    assert story.at(29.0) == []
    assert story.at(30.0) == ["w: worker-health", "w gets d/1", "d EXECUTING on w: running"]
    assert states(story)["w"] == "recovering"
    assert story.finish("w", "d/1", FAILED)[-2:] == ["w gets e/1", "e EXECUTING on w: running"]
    assert states(story)["w"] == "healthy"


def test_one_action_alone_says_nothing_about_a_worker() -> None:
    """It fails again and again, here and elsewhere: the worker is not what is wrong."""
    story = Story(Policy(heartbeat_timeout_s=1e6, infrastructure_retries=9))
    story.connect("w")
    story.submit("a")
    for attempt in range(1, 6):
        story.finish("w", f"a/{attempt}", BROKEN)
        story.at(story.now + 100.0)
    assert states(story) == {"w": "degraded"}


def test_when_all_workers_have_faults_none_of_them_rests() -> None:
    """What they share is broken, and resting would only make it last longer."""
    story = Story(CALM)
    story.connect("w")
    break_three(story)
    assert states(story) == {"w": "failing"}


def test_a_strained_worker_is_the_last_choice() -> None:
    """Its host's memory is full: others come first, until it has eased."""
    story = Story(CALM)
    for name in "vw":
        story.connect(name, slots=2)
    story.send(events.HeartbeatReceived("v", (), 0.5, 0.97))
    assert states(story) == {"v": "degraded", "w": "healthy"}
    assert [story.submit(name)[0] for name in "abc"] == ["w gets a/1", "w gets b/1", "v gets c/1"]
    story.send(events.HeartbeatReceived("v", ("c/1",), 0.5, 0.5))
    assert states(story)["v"] == "healthy"


def test_a_heartbeat_tells_of_programs_that_stay() -> None:
    story = Story(CALM)
    story.connect("v", slots=2)
    story.send(events.HeartbeatReceived("v", (), 0.5, 0.5, 3))
    assert [view.persistent_workers for view in story.machine.snapshot().workers] == [3]


def used(
    memory_gib: float = 0.1, cpu_s: float = 1.0, seconds: float = 1.0, **more: bool
) -> Outcome:
    return Outcome(
        b"r",
        succeeded=False,
        execution_s=seconds,
        cpu_s=cpu_s,
        peak_memory_bytes=int(memory_gib * GIB),
        **more,
    )


def test_needs_are_learned_by_kind() -> None:
    """The next one of its kind waits for room; others of the same size do not."""
    story = Story(CALM)
    story.connect("w", slots=4, capacity=(("cpu", 4000), ("memory", 8 * GIB)))
    story.submit("a", kind="link")
    story.finish("w", "a/1", used(memory_gib=3.0))
    assert story.submit("b", kind="link")[0] == "w gets b/1"
    assert story.submit("c", kind="link")[0] == "w gets c/1"
    assert story.submit("d", kind="link") == ["d QUEUED: all-busy"]
    assert "memory=4GiB" in story.reason("d")[1]
    assert story.submit("e", kind="compile")[0] == "w gets e/1"


def test_what_is_learned_never_keeps_an_action_from_running() -> None:
    """Where nobody has as much, it runs as if nothing were known."""
    story = Story(CALM, pools=())
    story.connect("small", slots=2, capacity=(("memory", 2 * GIB),))
    story.connect("large", capacity=(("memory", 9 * GIB),), running=())
    story.submit("a", kind="link")
    story.finish("small", "a/1", used(memory_gib=5.0))
    story.submit("x", kind="link")
    assert story.submit("b", kind="link") == ["b QUEUED: all-busy"]
    assert "b EXECUTING on small: running" in story.send(events.WorkerVanished("large", "gone"))


def oom(story: Story) -> list[str]:
    story.submit("a", kind="link")
    return story.finish("w", "a/1", used(memory_gib=1.0, out_of_memory=True))


def test_killed_for_memory_it_runs_once_more_on_a_larger_slot() -> None:
    """Its neighbours stay; the next lease carries the size and the note for the result."""
    story = Story(CALM)
    story.connect("w", slots=4, capacity=(("memory", 8 * GIB),))
    story.submit("neighbour")
    assert oom(story) == [
        "w may forget a/1",
        "a: out-of-memory",
        "a QUEUED: all-busy",
        "w gets a/2",
        "a EXECUTING on w: running",
    ]
    assert story.stage("neighbour") is Stage.EXECUTING
    task = story.machine._books.tasks["a"]
    assert task.note == "was killed for memory with memory=1GiB and runs once more with memory=2GiB"
    assert not task.faults
    told = story.finish("w", "a/2", used(memory_gib=2.0, out_of_memory=True))
    assert told[1] == "a ends: r", "once, and then it is the action's own"
    assert story.machine.snapshot().counters.enlarged == 1


def test_a_limit_of_its_own_or_no_larger_slot_is_the_end() -> None:
    """What the client has limited is its result; and nobody waits for what is not there."""
    story = Story(CALM)
    story.connect("w", capacity=(("memory", GIB),))
    assert oom(story)[1] == "a ends: r"
    story = Story(CALM)
    story.connect("w", capacity=(("memory", 8 * GIB),))
    story.submit("a", own_memory=True)
    assert story.finish("w", "a/1", used(1.0, out_of_memory=True))[1] == "a ends: r"
    story = Story(Policy(learn_sizes=False))
    story.connect("w", capacity=(("memory", 8 * GIB),))
    assert oom(story)[1] == "a ends: r"


def test_sizes_are_few_and_forget() -> None:
    """Powers of two; small ones are none; a peak falls slowly; old kinds go."""
    sizes = Sizes()
    assert sizes.need("k") == ()
    assert sizes.ran("k") is None
    sizes.seen("k").learn(used(memory_gib=0.1))
    assert sizes.need("k") == ()
    sizes.seen("k").learn(used(memory_gib=1.0, cpu_s=3.5))
    assert sizes.need("k") == (("cpu", 4000), ("memory", 2 * GIB))
    for _ in range(100):
        sizes.seen("k").learn(used(memory_gib=0.1))
    assert sizes.need("k") == ()
    for number in range(MOST_KINDS + 3):
        sizes.seen(f"k{number % MOST_KINDS}").learn(used())
        sizes.seen("k").learn(used())
    assert sizes.seen("k").count > MOST_KINDS
    assert sizes.known("k1") is not None
    for number in range(2 * MOST_KINDS):
        sizes.seen(f"later-{number}")
    assert sizes.known("k") is sizes.known("k1") is None
    assert len(sizes) <= 2 * MOST_KINDS
    assert sizes.seen("").count == 0
    assert sizes.known("") is None


@given(st.lists(st.floats(0.01, 100.0), min_size=5, max_size=60))
def test_the_tail_is_above_the_mean_and_within_reach(times: list[float]) -> None:
    """It is at least the mean, and at most three times their range above the largest."""
    sizes = Sizes()
    for seconds in times:
        sizes.seen("k").learn(used(seconds=seconds))
    mean, tail = sizes.seen("k").seconds, sizes.tail_s("k")
    assert tail is not None
    assert min(times) - 1e-6 <= mean <= max(times) + 1e-6
    assert mean <= tail <= max(times) + 3 * (max(times) - min(times)) + 1e-6


PAIRS = st.lists(st.tuples(st.sampled_from(["cpu", "memory", "gpu", "x"]), st.integers(1, 9)))


@given(PAIRS, PAIRS)
def test_taking_and_giving_back_leave_nothing_behind(
    one: list[tuple[str, int]], other: list[tuple[str, int]]
) -> None:
    """What fits leaves no amount below nothing; what lacks is exactly what does not fit."""
    need, there = amounts(one), dict(amounts(other))
    before = dict(there)
    assert fits(need, there) == (not lacking(need, there))
    if fits(need, there):
        take(there, need)
        assert all(amount >= 0 for amount in there.values())
        give_back(there, need)
    assert there == before


def test_amounts_are_told_in_their_units() -> None:
    """Cores, binary sizes, pieces."""
    told = [amount_text(*pair) for pair in (*BIG, ("gpu", 1), ("disk", 10), ("cpu", 1500))]
    assert told == ["cpu=4", "memory=8GiB", "gpu=1", "disk=10B", "cpu=1.5"]


def test_needs_cost_no_look_at_every_worker() -> None:
    """Where no worker has room, one more action of the same size costs the same as on a few."""

    def cost(workers: int) -> int:
        story = Story()
        gpu: Amounts = (("gpu", 1),)
        machine = story.machine
        story.send = lambda event: machine.handle(event, 1.0)  # type: ignore[assignment]
        for number in range(workers):
            story.connect(f"w{number}", slots=4, capacity=gpu)
        for number in range(workers + 5):
            story.submit(f"a{number}", need=gpu)
        return calls(lambda: [story.submit(f"b{n}", need=gpu) for n in range(5)])

    assert cost(300) <= cost(10) * 1.2


def test_a_large_action_does_not_starve_among_small_ones() -> None:
    """What has waited long gets a worker that takes nothing else until there is room."""
    story = Story(CALM)
    story.connect("w", slots=4, capacity=(("cpu", 4000),))
    one, four = (("cpu", 1000),), (("cpu", 4000),)
    for name in "abcd":
        story.submit(name, need=one)
    story.submit("large", need=four)
    story.submit("e", need=one)
    assert story.finish("w", "a/1", FAILED)[2] == "w gets e/1", "it may wait for a moment"
    story.now = 10.0
    for name in "fg":
        story.submit(name, need=one)
    for name in ("b", "c", "d"):
        assert not [line for line in story.finish("w", f"{name}/1", FAILED) if "gets" in line]
    assert story.submit("h", need=one) == ["h QUEUED: all-busy"]
    assert story.finish("w", "e/1", FAILED)[2] == "w gets large/1"
    assert story.finish("w", "large/1", FAILED)[2] == "w gets f/1"


def test_room_is_not_kept_for_who_has_gone() -> None:
    """A cancelled action lets the worker go, which takes what waits."""
    story = Story(CALM)
    story.connect("w", slots=4, capacity=(("cpu", 4000),))
    for name in "ab":
        story.submit(name, need=(("cpu", 2000),))
    story.submit("large", need=(("cpu", 4000),))
    story.now = 10.0
    story.submit("c", need=(("cpu", 1000),))
    assert not [line for line in story.finish("w", "a/1", FAILED) if "gets" in line]
    assert "w gets c/1" in story.send(events.CancelRequested("large"))


def test_workers_that_the_client_wants_to_be_without() -> None:
    """It waits for another one, makes do when there is none, and their faults count as ever."""
    story = Story(CALM)
    story.connect("w")
    story.connect("v")
    assert story.submit("a", avoid=("w",))[0] == "v gets a/1"
    assert story.submit("b", avoid=("w",)) == ["b QUEUED: all-busy"]
    story.finish("v", "a/1", FAILED)
    assert story.stage("b") is Stage.EXECUTING
    assert story.submit("c", avoid=("w", "v"))[0] == "w gets c/1"
    story.finish("w", "c/1", BROKEN)
    assert states(story) == {"w": "degraded", "v": "healthy"}


def test_what_is_served_at_once_was_in_no_queue() -> None:
    """It has waited for no time; a worker that its client avoids is taken at need."""
    story = Story()
    story.connect("w", slots=2)
    assert story.submit("a") == ["w gets a/1", "a EXECUTING on w: running"]
    snapshot = story.machine.snapshot()
    assert (snapshot.queued, snapshot.counters.wait_s) == (0, 0.0)
    assert story.submit("b", avoid=("w",)) == ["w gets b/1", "b EXECUTING on w: running"]
    assert story.submit("c") == ["c QUEUED: all-busy"]
