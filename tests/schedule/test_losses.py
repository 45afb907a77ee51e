"""Workers that vanish, come back, hand back, drain; clients that go away and come back."""

import pytest

from builder.base.errors import Code
from builder.schedule import events
from builder.schedule.operation import Stage
from builder.schedule.policy import Policy
from builder.schedule.reasons import ReasonCode
from tests.schedule.kit import BROKEN, FAILED, Story


def running(policy: Policy | None = None) -> Story:
    """Action a runs on w; v is idle."""
    story = Story(policy)
    story.connect("w")
    story.submit("a")
    story.connect("v")
    return story


def test_a_silent_worker_loses_its_leases_to_another() -> None:
    """After the heartbeat timeout its action runs elsewhere, at no cost for the client."""
    story = running()
    story.now = 14.0
    story.beat("v")
    assert story.at(15.0) == [
        "w: worker-lost",
        "w closed",
        "a: worker-lost",
        "a QUEUED: all-busy",
        "v gets a/2",
        "a EXECUTING on v: running",
    ]
    assert story.finish("v", "a/2")[1] == "a is kept"


def test_a_worker_may_come_back_within_the_grace() -> None:
    """A new stream, the same lease: nothing is run twice."""
    story = running()
    assert story.send(events.WorkerDisconnected("w")) == []
    story.now = 4.0
    assert story.connect("w", running=("a/1",), session="w'") == ["w' welcome"]
    assert story.stage("a") is Stage.EXECUTING
    assert story.at(14.0) == []
    assert story.finish("w'", "a/1")[1] == "a is kept"


def test_a_worker_that_stays_away_loses_its_leases() -> None:
    """Its stream ended, so the shorter grace holds."""
    story = running()
    story.send(events.WorkerDisconnected("w"))
    assert "v gets a/2" in story.at(5.0)


def test_a_worker_that_vanished_for_certain_is_not_waited_for() -> None:
    """Its provider knows that the process has died."""
    story = running()
    assert "v gets a/2" in story.send(events.WorkerVanished("w", "was killed by signal 9"))


def test_a_worker_that_comes_back_late_takes_its_waiting_action_up_again() -> None:
    """Nobody else has started it yet, so its own run goes on counting."""
    story = Story()
    story.connect("w")
    story.submit("a")
    story.send(events.WorkerDisconnected("w"))
    story.at(5.0)
    assert story.stage("a") is Stage.QUEUED
    assert story.connect("w", running=("a/1",)) == ["a EXECUTING on w: running", "w welcome"]
    assert story.finish("w", "a/1")[1] == "a is kept"


def test_a_worker_that_comes_back_too_late_has_to_drop_its_action() -> None:
    """Another worker runs it now; the Welcome says that the lease is not known any more."""
    story = running()
    story.send(events.WorkerDisconnected("w"))
    story.at(5.0)
    assert story.connect("w", running=("a/1",)) == ["w welcome, not a/1"]
    assert story.finish("v", "a/2")[1] == "a is kept"


def test_leases_of_a_former_coordinator_are_reported_back() -> None:
    """After a restart it knows none of them."""
    story = Story()
    assert story.connect("w", running=("x/1", "y/2")) == ["w welcome, not x/1, not y/2"]


def test_a_worker_that_came_back_without_the_action_lost_it() -> None:
    """The program was restarted, or the grant never reached it."""
    story = running()
    assert story.connect("w", session="w'") == [
        "w closed",
        "a: worker-lost",
        "a QUEUED: all-busy",
        "w' welcome",
        "v gets a/2",
        "a EXECUTING on v: running",
    ]


def test_a_late_result_is_taken_and_the_other_attempt_stopped() -> None:
    """The worker was thought to know nothing of the lease; its result is as good as any."""
    story = running()
    for now in (5.0, 10.0, 15.0):
        story.now = now
        story.beat("v")
        effects = story.beat("w")  # without the lease
    assert "v gets a/2" in effects
    assert story.finish("w", "a/1") == [
        "w may forget a/1",
        "v stops a/2",
        "a is kept",
    ]
    assert story.send(events.ResultKept("a")) == ["a ends: ok"]
    assert story.machine.snapshot().counters.late_results == 1
    assert story.send(events.LeaseReturned("v", "a/2", "killed")) == []
    assert story.submit("b")[0] == "w gets b/1"


def forgotten(story: Story) -> None:
    """Worker w stops reporting a/1, so that it is lost although w is there."""
    for now in (5.0, 10.0, 15.0):
        story.now = now
        for worker in story.machine.snapshot().workers:
            story.beat(worker.info.name)


def test_a_late_result_of_a_waiting_action_is_taken() -> None:
    """It does not run again only because nobody was free to start it."""
    story = Story()
    story.connect("w")
    story.submit("a")
    story.connect("v")
    story.submit("b")
    for story.now in (5.0, 10.0, 15.0):
        story.beat("v", "b/1")
        told = story.beat("w")
    assert "a QUEUED: all-busy" in told
    assert story.finish("w", "a/1")[:2] == ["w may forget a/1", "a is kept"]
    assert story.machine.snapshot().queued == 0


def test_a_lost_lease_that_is_handed_back_changes_nothing() -> None:
    """The other attempt goes on; a second return of it is unknown."""
    story = running()
    forgotten(story)
    assert story.stage("a") is Stage.EXECUTING
    assert story.send(events.LeaseReturned("w", "a/1", "late")) == []
    assert story.finish("v", "a/2")[1] == "a is kept"


def test_a_worker_that_is_away_cannot_be_told_to_stop() -> None:
    """When it comes back with the lease, the Welcome says so."""
    story = running()
    story.send(events.WorkerDisconnected("w"))
    assert story.send(events.CancelRequested("a")) == ["a ends: CANCELLED"]
    assert story.connect("w", running=("a/1",)) == ["w welcome, not a/1"]


def test_a_worker_that_never_says_that_it_has_stopped() -> None:
    """A heartbeat without the lease for long enough gives the slot back."""
    story = running()
    story.send(events.CancelRequested("a"))
    forgotten(story)
    assert story.submit("b")[0].endswith("gets b/1")
    assert story.submit("c")[0].endswith("gets c/1")


def test_a_drain_of_a_worker_that_is_away() -> None:
    """It is told when it comes back."""
    story = running()
    story.send(events.WorkerDisconnected("w"))
    assert story.send(events.DrainRequested("w", 5.0, "scale-down")) == []
    assert "w drains within 5" in story.connect("w", running=("a/1",))


def test_a_late_failure_of_the_infrastructure_changes_nothing() -> None:
    """The other attempt goes on."""
    story = running()
    for now in (5.0, 10.0, 15.0):
        story.now = now
        story.beat("v")
        story.beat("w")
    assert story.finish("w", "a/1", BROKEN) == ["w may forget a/1"]
    assert story.stage("a") is Stage.EXECUTING
    assert story.machine.snapshot().counters.infrastructure_failures == 0


def test_a_result_of_an_unknown_lease_is_acknowledged() -> None:
    """So that the worker can forget it."""
    story = Story()
    story.connect("w")
    assert story.finish("w", "old/1") == ["w may forget old/1"]


def test_a_worker_cannot_finish_the_lease_of_another() -> None:
    """Such a result is not taken."""
    story = running()
    assert story.finish("v", "a/1") == ["v may forget a/1"]
    assert story.stage("a") is Stage.EXECUTING


def test_two_programs_of_one_name() -> None:
    """The second is refused while the first is alive, and taken when it is not."""
    story = running()
    assert story.connect("w", session="x", identity="elsewhere") == ["x refused"]
    story.now = 16.0
    assert "y welcome" in story.connect("w", session="y", identity="elsewhere")


def test_infrastructure_failures_are_run_again_elsewhere_after_a_pause() -> None:
    """The action is not charged for them, and the worker that failed it is avoided."""
    story = running(Policy(retry_delay_s=0.5))
    assert story.finish("w", "a/1", BROKEN) == [
        "w may forget a/1",
        "a: infrastructure-failure",
        "a QUEUED: retry-delay",
    ]
    assert story.reason("a")[1] == "waits a moment before attempt 2: w: disk is full"
    assert story.machine.next_deadline() == 0.5
    assert story.at(0.5) == ["v gets a/2", "a EXECUTING on v: running"]


def test_a_result_that_was_taken_but_not_acknowledged_is_not_taken_again() -> None:
    """The stream broke before the acknowledgement came; the worker still names the lease."""
    story = Story(Policy(retry_delay_s=5.0))
    story.connect("w")
    story.submit("a")
    story.finish("w", "a/1", BROKEN)
    assert story.connect("w", running=("a/1",), session="w'") == ["w closed", "w' welcome, not a/1"]
    assert story.reason("a")[0] is ReasonCode.RETRY_DELAY
    assert story.at(5.0)[0] == "w' gets a/2"


def test_a_task_waits_for_another_worker_rather_than_for_the_one_that_failed_it() -> None:
    """Even when that one is free; but with no other left it makes do with it."""
    story = running()
    story.submit("b")
    story.finish("w", "a/1", BROKEN)
    assert story.at(1.0) == []
    assert story.reason("a")[0] is ReasonCode.ALL_BUSY
    story.submit("c")
    assert story.stage("c") is Stage.EXECUTING
    story.finish("w", "c/1", FAILED)
    assert story.stage("a") is Stage.QUEUED
    assert "w gets a/2" in story.send(events.DrainRequested("v", 1.0, "scale-down"))


def test_an_action_that_loses_every_worker_fails_with_their_names() -> None:
    """Bounded, and the last word says what happened each time."""
    story = Story(Policy(infrastructure_retries=2, retry_delay_s=0.0))
    story.submit("a")
    for attempt in (1, 2, 3):
        story.connect(f"w{attempt}")
        effects = story.send(events.WorkerVanished(f"w{attempt}", "was killed"))
    assert effects[-1] == "a ends: INTERNAL"
    view = story.machine.operation("a")
    assert view is not None
    assert view.ending is not None
    assert view.ending.code is Code.INTERNAL
    assert view.ending.reason.sentence == (
        "gave up after 3 attempts that failed through no fault of the action itself: "
        "w1: w1 was killed; w2: w2 was killed; w3: w3 was killed. See the workers' logs; "
        "if the action brings its worker down, give it a memory limit"
    )
    assert story.machine.snapshot().counters.gave_up == 1


def test_a_retried_action_keeps_its_place() -> None:
    """It runs before those that came after it."""
    story = Story()
    story.connect("w")
    for name in "abc":
        story.submit(name)
    story.send(events.WorkerVanished("w", "died"))
    assert story.connect("v", slots=3)[1::2] == ["v gets a/2", "v gets b/1", "v gets c/1"]


def test_a_drained_worker_hands_back_without_blame() -> None:
    """What it returns is queued at its old place and counts as no failure."""
    story = Story(Policy(infrastructure_retries=0))
    story.connect("w")
    story.submit("a")
    assert story.send(events.DrainRequested("w", 5.0, "scale-down")) == ["w drains within 5"]
    assert story.send(events.LeaseReturned("w", "a/1", "grace is over")) == [
        "a: lease-returned",
        "a QUEUED: no-worker",
    ]
    assert story.submit("b") == ["b QUEUED: no-worker"]
    assert story.connect("v", slots=2)[1::2] == ["v gets a/2", "v gets b/1"]


def test_a_worker_drains_by_its_own_wish() -> None:
    """It gets nothing more, and what it runs may finish."""
    story = Story()
    story.connect("w", slots=2)
    story.submit("a")
    story.send(events.WorkerDraining("w", "SIGTERM"))
    assert story.submit("b") == ["b QUEUED: no-worker"]
    assert story.finish("w", "a/1", FAILED)[1] == "a ends: exit 1"
    assert story.send(events.WorkerDisconnected("w")) == []
    assert story.machine.snapshot().workers == ()


def test_a_drain_survives_a_reconnect() -> None:
    """The same program is told again; a new one of its name starts afresh."""
    story = running()
    story.send(events.DrainRequested("w", 5.0, "scale-down"))
    assert story.connect("w", running=("a/1",), session="w'") == [
        "w closed",
        "w' drains within 5",
        "w' welcome",
    ]
    story.send(events.WorkerVanished("w", "left"))
    assert story.connect("w", identity="new program")[0] == "w welcome"
    assert [view.state for view in story.machine.snapshot().workers] == ["busy", "idle"]


def test_a_worker_that_hands_back_without_draining_is_charged() -> None:
    """Else an action could wander forever between workers that do not want it."""
    story = Story(Policy(infrastructure_retries=1))
    story.connect("w")
    story.submit("a")
    back = "no room on the disk"
    assert "w gets a/2" in story.send(events.LeaseReturned("w", "a/1", back))
    assert "a ends: INTERNAL" in story.send(events.LeaseReturned("w", "a/2", back))


def test_a_client_that_comes_back_finds_its_action_running() -> None:
    """Within the grace nothing is stopped."""
    story = running()
    story.send(events.ClientDetached("a"))
    story.now = 10.0
    story.beat("w", "a/1")
    story.beat("v")
    assert story.send(events.ClientAttached("a")) == ["a EXECUTING on w: running"]
    story.now = 20.0
    story.beat("w", "a/1")
    story.beat("v")
    assert story.at(30.5) == []


def test_an_action_whose_clients_stay_away_is_stopped() -> None:
    """The worker is told, and its slot is free when it has done so."""
    story = running(Policy(heartbeat_timeout_s=100.0))
    story.send(events.ClientDetached("a"))
    assert story.at(30.0) == ["a ends: CANCELLED", "w stops a/1"]
    story.submit("b")
    assert story.submit("c") == ["c QUEUED: all-busy"]
    assert story.send(events.LeaseReturned("w", "a/1", "killed"))[0] == "w gets c/1"


def test_a_queued_action_is_not_started_for_nobody() -> None:
    """It keeps its place while its client is away, and runs when somebody is back."""
    story = Story()
    story.submit("a")
    story.submit("b")
    story.send(events.ClientDetached("a"))
    assert story.reason("a")[0] is ReasonCode.CLIENT_AWAY
    assert story.connect("w") == ["w welcome", "w gets b/1", "b EXECUTING on w: running"]
    assert story.send(events.ClientAttached("a")) == ["a QUEUED: all-busy"]
    assert "w gets a/1" in story.finish("w", "b/1")


def test_cancelling_touches_only_the_one_who_asks() -> None:
    """The others that share the action get their result; the last one stops it."""
    story = Story()
    story.connect("w")
    for name in ("one", "two", "three"):
        story.submit(name, "a")
    assert story.send(events.CancelRequested("one")) == ["one ends: CANCELLED"]
    assert story.send(events.CancelRequested("one")) == []
    assert story.send(events.CancelRequested("two")) == ["two ends: CANCELLED"]
    assert story.send(events.CancelRequested("three")) == ["three ends: CANCELLED", "w stops one/1"]
    assert story.finish("w", "one/1") == ["w may forget one/1"]


def test_a_cancelled_action_that_is_asked_for_again_runs_anew() -> None:
    """Nobody joins a run that is being stopped."""
    story = running()
    story.send(events.CancelRequested("a"))
    assert story.submit("again", "a")[0] == "v gets again/1"


def test_cancelling_while_the_result_is_kept() -> None:
    """The client hears of the cancellation, the cache keeps the result."""
    story = running()
    story.finish("w", "a/1")
    assert story.send(events.CancelRequested("a")) == ["a ends: CANCELLED"]
    assert story.send(events.ResultKept("a")) == []


def test_a_worker_whose_lease_is_being_stopped_comes_back() -> None:
    """It is told that the lease is not wanted, and its slot is free."""
    story = running()
    story.send(events.CancelRequested("a"))
    assert story.connect("w", running=("a/1",), session="w'") == ["w closed", "w' welcome, not a/1"]
    assert story.submit("b")[0] == "v gets b/1"
    assert story.submit("c")[0] == "w' gets c/1"


def test_progress_is_told_to_those_who_ask() -> None:
    """Phase and partial metadata are part of the state, and clients hear when the program runs;
    a report of a stale lease is answered."""
    story = running()
    story.send(events.LeaseProgressed("w", "a/1", "fetches its inputs", b"meta"))
    assert story.reason("a") == (ReasonCode.RUNNING, "fetches its inputs on w")
    view = story.machine.operation("a")
    assert view is not None
    assert view.progress == b"meta"
    assert story.send(events.LeaseProgressed("w", "a/1", "runs", b"more")) == [
        "a EXECUTING on w: running"
    ]
    assert story.send(events.LeaseProgressed("w", "old/1", "runs")) == ["w stops old/1"]
    assert story.beat("w", "a/1", "older/1") == ["w stops older/1"]


@pytest.mark.parametrize(
    "event",
    [
        events.WorkerDisconnected("none"),
        events.WorkerVanished("none", ""),
        events.WorkerDraining("none", ""),
        events.DrainRequested("none", 1.0, ""),
        events.HeartbeatReceived("none", ("a/1",)),
        events.LeaseProgressed("none", "a/1", "runs"),
        events.LeaseFinished("none", "a/1", FAILED),
        events.LeaseReturned("none", "a/1", ""),
        events.LeaseReturned("w", "none/1", ""),
        events.ClientDetached("none"),
        events.CancelRequested("none"),
        events.OperationDeleted("none"),
        events.OperationDeleted("a"),
        events.ResultKept("none"),
    ],
)
def test_news_of_what_is_not_known_changes_nothing(event: events.Event) -> None:
    """Streams and operations may be gone by the time that somebody speaks of them."""
    story = running()
    before = story.machine.snapshot(9)
    assert story.send(event) == []
    assert story.machine.snapshot(9) == before


def test_who_was_held_up_takes_nobodys_silence_for_death() -> None:
    """A stopped coordinator has not heard what its workers said meanwhile; then silence counts."""
    story = running()
    assert story.at(100.0) == []
    assert story.beat("w") == [], "said before the lease came"
    story.at(105.0)
    story.beat("w", "a/1")
    assert story.stage("a") is Stage.EXECUTING
    story.at(115.0)
    assert story.at(120.0)[0] == "w: worker-lost"


def test_what_is_lost_again_and_again_is_run_later_and_later() -> None:
    """The first loss is somebody's bad luck; after it the pause doubles."""
    story = Story(Policy(infrastructure_retries=4, retry_delay_s=1.0, heartbeat_timeout_s=1e6))
    story.submit("a")
    starts = []
    for attempt in range(1, 5):
        story.connect(f"w{attempt}")
        while story.stage("a") is Stage.QUEUED:
            story.at(story.now + 0.5)
        starts.append(story.now)
        story.send(events.WorkerVanished(f"w{attempt}", "was killed"))
    assert starts == [0.0, 0.0, 1.0, 3.0]
