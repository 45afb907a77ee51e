"""What one worker failed goes to another host, where there is one."""

from builder.schedule import events
from builder.schedule.policy import Policy
from builder.schedule.spec import Outcome
from tests.schedule.kit import BROKEN, FAILED, Story

USUAL = Outcome(b"r", succeeded=False, execution_s=1.0)
AT_ONCE = Policy(retry_delay_s=0.0, learn_sizes=False)


def failed(*others: tuple[str, str], policy: Policy = AT_ONCE) -> tuple[Story, list[str]]:
    """Action a has failed on w, which is on host h; what came of it among (worker, host)."""
    story = Story(policy)
    story.connect("w", host="h")
    story.submit("a")
    for worker, host in others:
        story.connect(worker, host=host)
    return story, story.finish("w", "a/1", BROKEN)


def test_another_host_comes_before_a_neighbour() -> None:
    """Whichever was free first."""
    _, told = failed(("x", "h"), ("v", "i"))
    assert "v gets a/2" in told


def test_it_waits_for_the_other_host_and_says_so() -> None:
    """As long as a well worker is there; a neighbour that is free takes other actions."""
    story = Story(AT_ONCE)
    story.connect("v", host="i")
    story.submit("busy")
    story.connect("w", host="h")
    story.submit("a")
    story.connect("x", host="h")
    assert not [line for line in story.finish("w", "a/1", BROKEN) if "gets" in line]
    view = story.machine.operation("a")
    assert view is not None
    assert "on another host than it failed on: 3 busy" in view.reason.sentence
    assert "x gets b/1" in story.submit("b")
    assert "v gets a/2" in story.finish("v", "busy/1", FAILED)


def test_without_another_host_a_neighbour_will_do() -> None:
    """And without a neighbour the worker itself; hosts that do not tell their name are none."""
    assert "x gets a/2" in failed(("x", "h"))[1]
    assert "w gets a/2" in failed()[1]
    assert "x gets a/2" in failed(("x", ""))[1]


def test_when_the_other_host_leaves_the_neighbour_takes_it() -> None:
    """Nothing waits for a worker that is gone, drains, or has failed itself."""
    for leave in (events.WorkerVanished("v", "gone"), events.DrainRequested("v", 60.0, "asked")):
        story, _ = failed(("v", "i"), ("x", "h"))
        told = story.send(leave) + story.finish("v", "a/2", BROKEN)
        assert "x gets a/3" in told or "x gets a/2" in told, told


def test_failing_twice_on_one_worker_leaves_the_others() -> None:
    """It counts once among those to be avoided."""
    story, told = failed()
    assert "w gets a/2" in told
    story.connect("v", host="h")
    assert "v gets a/3" in story.finish("w", "a/2", BROKEN)


def test_a_second_attempt_beside_a_slow_one_is_on_another_host() -> None:
    """If one is free there."""
    for hosts, taker in ((("h", "i"), "v"), (("h", "h"), "x"), (("i", "h"), "x")):
        story = Story(Policy(hedge=True, hedge_after_s=10.0, heartbeat_timeout_s=1e6))
        story.connect("w", host="h")
        for number in range(6):
            story.submit(f"u{number}", kind="k")
            story.finish("w", f"u{number}/1", USUAL)
        story.submit("a", kind="k")
        for name, host in zip("xv", hosts, strict=True):
            story.connect(name, host=host)
        assert story.at(10.0) == ["a: hedged", f"{taker} gets a/2"]
