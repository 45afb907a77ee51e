"""Why an action waits: a name for machines, and a sentence with numbers."""

from builder.schedule import events, reasons
from builder.schedule.platform import Offer
from builder.schedule.policy import Policy
from builder.schedule.reasons import ReasonCode
from builder.schedule.spec import Entry
from tests.schedule.kit import FAILED, LINUX, Story, spec
from tests.schedule.test_placing import CALM, break_three

GPUS = Offer.of("gpus", LINUX, (("gpu", 1),))
WANTED = "ISA=x86-64, OSFamily=linux, gpu=1"


def starting(workers: int, ready_in_s: float) -> events.WorkersStarting:
    return events.WorkersStarting("gpus", workers, ready_in_s)


def test_what_is_missing_what_is_busy_what_starts_and_how_long() -> None:
    """Everything that a person wants to know of one that waits."""
    story = Story(CALM, pools=(GPUS,))
    need = (("gpu", 1),)
    assert story.submit("a", need=need) == ["a QUEUED: no-worker"]
    none = f"waits for a worker of pool gpus with {WANTED}: none is connected"
    assert story.reason("a") == (ReasonCode.NO_WORKER, none)
    story.send(starting(1, 40.0))
    one = f"waits for a worker of pool gpus with {WANTED}: 1 starting, about 40 s"
    assert story.reason("a") == (ReasonCode.NO_WORKER, one)
    for name in "uvw":
        story.connect(name, capacity=need)
    for name in "bcd":
        story.submit(name, need=need)
    busy = f"waits for a worker with {WANTED}: 3 busy, 1 starting, 1 action waiting"
    assert story.reason("d") == (ReasonCode.ALL_BUSY, busy)
    story.at(120.0)
    story.send(starting(0, 0.0))
    story.finish("u", "a/1", FAILED)
    story.submit("e", need=need)
    assert story.reason("e")[1] == (
        f"waits for a worker with {WANTED}: 3 busy, 1 action waiting, about 40 s"
    )


def test_of_a_worker_that_is_overdue_nothing_is_promised() -> None:
    """Nobody knows how long it still takes."""
    story = Story(CALM, pools=(GPUS,))
    story.submit("a", need=(("gpu", 1),))
    story.send(starting(1, 40.0))
    story.at(41.0)
    story.send(events.TimePassed())
    late = f"waits for a worker of pool gpus with {WANTED}: 1 starting"
    assert story.reason("a") == (ReasonCode.NO_WORKER, late)


def test_why_none_comes_is_told() -> None:
    """In the words of the pool's provider, for as long as it gives none."""
    story = Story(CALM, pools=(GPUS,))
    story.submit("a", need=(("gpu", 1),))
    refused = "the provider refuses to launch 2 workers: VcpuLimitExceeded: 32 vCPUs"
    story.send(events.WorkersStarting("gpus", 0, 40.0, refused))
    none = f"waits for a worker of pool gpus with {WANTED}: none is connected"
    assert story.reason("a")[1] == f"{none}; {refused}"
    story.send(events.WorkersStarting("gpus", 0, 40.0))
    assert story.reason("a")[1] == none


def test_workers_that_rest_are_told_of() -> None:
    """Nothing runs there for a while, and this is why."""
    story = Story(CALM)
    story.connect("v")
    story.submit("x")
    story.connect("w")
    break_three(story)
    story.submit("q")
    assert story.reason("q")[1] == (
        "waits for a worker with ISA=x86-64, OSFamily=linux: 1 busy, 1 resting, 1 action waiting"
    )


def test_minutes_and_moments() -> None:
    """Rounded for people."""
    assert [reasons.about(s) for s in (0.2, 1.4, 99.0, 100.0, 200.0)] == [
        "about 1 s",
        "about 1 s",
        "about 99 s",
        "about 2 min",
        "about 3 min",
    ]


def test_after_a_restart_it_is_held_until_its_client_or_its_worker_comes() -> None:
    """The reason says for whom it waits."""
    story = Story(Policy(remember=True))
    story.send(events.OperationsRestored((Entry("a", "a", spec("a")),)))
    code, sentence = story.reason("a")
    assert code is ReasonCode.CLIENT_AWAY
    assert "one may attach again" in sentence
