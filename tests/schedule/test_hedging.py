"""Second attempts beside slow ones: the first result counts, and there is only one."""

from builder.schedule import events
from builder.schedule.operation import Stage
from builder.schedule.policy import Policy
from builder.schedule.reasons import ReasonCode
from builder.schedule.spec import Outcome
from tests.schedule.kit import BROKEN, FAILED, OK, Story

USUAL = Outcome(b"r", succeeded=False, execution_s=1.0)
HEDGING = Policy(hedge=True, hedge_after_s=10.0, heartbeat_timeout_s=1e6)
SECOND = ["a: hedged", "v gets a/2"]


def slow(policy: Policy = HEDGING, **fields: object) -> Story:
    """Two workers; six of a kind took a second each, and another one runs on w."""
    story = Story(policy)
    story.connect("w")
    for number in range(6):
        story.submit(f"u{number}", kind="k")
        story.finish("w", f"u{number}/1", USUAL)
    story.submit("a", kind="k", **fields)
    story.connect("v")
    return story


def test_a_slow_attempt_gets_a_second_one_and_the_first_result_counts() -> None:
    """The other is stopped, and its late result is nobody's."""
    story = slow()
    assert story.at(9.9) == []
    assert story.at(10.0) == SECOND
    assert story.reason("a")[1] == "starts on w"
    told = story.finish("v", "a/2", OK)
    assert told == ["v may forget a/2", "w stops a/1", "a is kept"]
    assert story.finish("w", "a/1", OK) == ["w may forget a/1"]
    assert story.send(events.ResultKept("a")) == ["a ends: ok"]
    counters = story.machine.snapshot().counters
    assert (counters.hedged, counters.hedges_won, counters.succeeded) == (1, 1, 1)


def test_the_slow_one_may_still_be_first() -> None:
    """Then it is the second one that is stopped."""
    story = slow()
    story.at(10.0)
    assert story.finish("w", "a/1", FAILED) == ["w may forget a/1", "v stops a/2", "a ends: exit 1"]
    assert story.machine.snapshot().counters.hedges_won == 0


def test_if_either_fails_the_other_goes_on_alone() -> None:
    """No third attempt is begun for it."""
    story = slow()
    story.at(10.0)
    assert story.finish("v", "a/2", BROKEN)[-1] == "a: infrastructure-failure"
    assert story.reason("a")[1] == "starts on w"
    story = slow()
    story.at(10.0)
    told = story.send(events.WorkerVanished("w", "was killed"))
    assert "a EXECUTING on v: running" in told
    assert story.machine.snapshot().executing == 1
    assert story.finish("v", "a/2", FAILED)[1] == "a ends: exit 1"
    story = slow()
    story.at(10.0)
    assert story.send(events.LeaseReturned("w", "a/1", "no room"))[-1] == (
        "a EXECUTING on v: running"
    )


def test_it_ends_with_its_client_on_both_workers() -> None:
    """Cancelling stops every attempt."""
    story = slow()
    story.at(10.0)
    told = story.send(events.CancelRequested("a"))
    assert told == ["a ends: CANCELLED", "w stops a/1", "v stops a/2"]


def test_nobody_else_waits_longer_for_it() -> None:
    """As long as something waits in its lane there is none; later there may be."""
    story = slow()
    story.submit("b", kind="x")
    assert story.stage("b") is Stage.EXECUTING
    assert story.at(10.0) == []
    story.finish("v", "b/1", FAILED)
    assert story.at(11.0) == SECOND


def test_what_may_not_run_twice_and_what_is_not_known_is_left_alone() -> None:
    """And nothing happens unless it is asked for."""
    assert slow(do_not_cache=True).at(1000.0) == []
    assert slow(Policy(heartbeat_timeout_s=1e6)).at(1000.0) == []
    story = Story(HEDGING)
    story.connect("w")
    story.submit("new", kind="never seen")
    story.connect("v")
    assert story.at(1000.0) == []


def test_the_reason_is_told() -> None:
    """For the log: how long it took, where, and where the second one runs."""
    story = slow()
    story.now = 40.0
    made = story.machine.handle(events.TimePassed(), 40.0)
    reasons = [effect.reason for effect in made if hasattr(effect, "subject")]
    assert [reason.code for reason in reasons] == [ReasonCode.HEDGED]
    assert reasons[0].sentence == (
        "has run for about 40 s on w, longer than hardly any of its kind, and gets a second "
        "attempt on v"
    )
