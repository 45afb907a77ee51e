"""A coordinator that was restarted goes on where the former one stopped."""

from builder.schedule import effects, events
from builder.schedule.operation import Stage
from builder.schedule.policy import Policy
from builder.schedule.spec import Entry
from tests.schedule.kit import FAILED, Story, spec

REMEMBERING = Policy(remember=True)


def restarted(*entries: Entry) -> Story:
    story = Story(REMEMBERING)
    assert story.send(events.OperationsRestored(entries)) == []
    return story


def test_what_is_to_be_remembered() -> None:
    """Each operation when it is taken, until it has ended; nothing when nobody wants to know."""
    story = Story(REMEMBERING)
    a = spec("a")
    entries = {"one": Entry("one", "one", a), "two": Entry("two", "one", a)}
    for name, entry in entries.items():
        made = story.machine.handle(events.ActionSubmitted(name, a), 0.0)
        assert made[0] == effects.Remember(entry)
    assert story.machine.handle(events.CancelRequested("one"), 0.0)[-1] == effects.Forget("one")
    story.connect("w")
    assert story.finish("w", "one/1", FAILED)[1:] == ["two ends: exit 1", "two is forgotten"]
    plain = Story()
    assert plain.submit("a") == ["a QUEUED: no-worker"]


def test_a_restored_action_waits_for_its_client() -> None:
    """It runs when the client attaches again, not before."""
    story = restarted(Entry("one", "one", spec("a")))
    assert story.connect("w") == ["w welcome"]
    assert story.send(events.ClientAttached("one"))[0] == "w gets one/1"


def test_a_restored_action_is_joined_by_who_asks_for_the_same() -> None:
    """A client that executes again instead of attaching shares it."""
    story = restarted(Entry("one", "one", spec("a")))
    story.connect("w")
    assert "w gets one/1" in story.submit("two", "a")
    assert story.finish("w", "one/1", FAILED)[1:] == [
        "one ends: exit 1",
        "one is forgotten",
        "two ends: exit 1",
        "two is forgotten",
    ]


def test_a_worker_takes_up_what_it_ran_for_the_former_coordinator() -> None:
    """The lease names task and attempt; the next attempt has the next number."""
    story = restarted(Entry("one", "one", spec("a")), Entry("two", "one", spec("a")))
    assert story.connect("w", running=("one/2", "gone/1", "nonsense")) == [
        "one EXECUTING on w: running",
        "two EXECUTING on w: running",
        "w welcome, not gone/1, not nonsense",
    ]
    story.send(events.ClientAttached("one"))
    story.send(events.WorkerVanished("w", "died"))
    assert story.connect("v")[1] == "v gets one/3"


def test_a_result_that_waited_for_the_coordinator_is_taken() -> None:
    """Also when the client has not come back yet: it finds its answer later."""
    story = restarted(Entry("one", "one", spec("a")))
    story.connect("w", running=("one/1",))
    assert story.finish("w", "one/1")[1] == "one is kept"
    assert story.send(events.ResultKept("one"))[0] == "one ends: ok"
    assert story.send(events.ClientAttached("one")) == ["one ends: ok"]


def test_two_workers_with_one_task() -> None:
    """The first that comes goes on; the other one has to drop its attempt."""
    story = restarted(Entry("one", "one", spec("a")))
    story.connect("w", running=("one/1",))
    assert story.connect("v", running=("one/2",)) == ["v welcome, not one/2"]


def test_restored_actions_that_nobody_asks_for_end() -> None:
    """After the grace, as if their clients had just left."""
    story = restarted(Entry("one", "one", spec("a")), Entry("two", "two", spec("b")))
    story.send(events.ClientAttached("two"))
    assert story.at(30.0) == ["one ends: CANCELLED", "one is forgotten"]
    assert story.stage("two") is Stage.QUEUED


def test_restoring_what_is_known_changes_nothing() -> None:
    """The same entry twice is one operation."""
    story = restarted(Entry("one", "one", spec("a")), Entry("one", "one", spec("a")))
    assert [name for _, name in story.machine.operation_names()] == ["one"]
