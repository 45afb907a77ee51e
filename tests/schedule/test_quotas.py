"""Quotas of instances, and slots taken from who has more than a fair share."""

from dataclasses import replace

from builder.schedule import events
from builder.schedule.policy import Policy
from builder.schedule.quotas import Quota
from builder.schedule.reasons import ReasonCode
from builder.schedule.spec import ActionKey, ActionSpec, Client
from tests.schedule.kit import FAILED, LINUX, OK, Story


def of(instance: str, name: str, user: str = "") -> ActionSpec:
    return ActionSpec(ActionKey(instance, "sha256", name, 1), LINUX, client=Client(user=user))


def test_an_instance_runs_no_more_than_its_quota() -> None:
    """The others use the free slots; the next one starts when one of its own ends."""
    story = Story(Policy(quotas={"small": Quota(running=1)}))
    story.connect("w", slots=3)
    assert story.submit("a", of("small", "a"))[0] == "w gets a/1"
    assert story.submit("b", of("small", "b")) == ["b QUEUED: quota-used"]
    assert story.reason("b") == (
        ReasonCode.QUOTA_USED,
        "waits because instance 'small' runs 1 actions, which is its quota",
    )
    assert story.submit("c")[0] == "w gets c/1"
    assert story.finish("w", "a/1", FAILED)[2] == "w gets b/1"


def test_an_instance_has_no_more_waiting_than_its_quota() -> None:
    """RESOURCE_EXHAUSTED for it alone; joining a running action needs no room."""
    story = Story(Policy(quotas={"small": Quota(queued=1)}))
    story.submit("a", of("small", "a"))
    assert story.submit("b", of("small", "b")) == ["b refused: RESOURCE_EXHAUSTED quota-full"]
    assert story.submit("again", of("small", "a")) == ["again QUEUED: no-worker"]
    assert story.submit("c") == ["c QUEUED: no-worker"]
    story.send(events.CancelRequested("a"))
    story.send(events.CancelRequested("again"))
    assert story.submit("d", of("small", "d")) == ["d QUEUED: no-worker"]


def test_a_lost_worker_gives_the_quota_back() -> None:
    """What it ran counts no longer, so that it can run elsewhere."""
    story = Story(Policy(quotas={"small": Quota(running=1)}))
    story.connect("w")
    story.submit("a", of("small", "a"))
    story.connect("v")
    assert "v gets a/2" in story.send(events.WorkerVanished("w", "was killed"))


def test_a_lease_that_comes_back_goes_on_beyond_the_quota() -> None:
    """What was done is not thrown away; nothing new runs until there is room again."""
    story = Story(Policy(quotas={"small": Quota(running=1)}))
    story.connect("w")
    story.submit("a", of("small", "a"))
    story.send(events.WorkerDisconnected("w"))
    story.at(5.0)
    story.submit("b", replace(of("small", "b"), priority=-1))
    story.submit("c", of("small", "c"))
    assert story.connect("v")[1] == "v gets b/1"
    assert story.connect("w", running=("a/1",), session="w2")[0] == "a EXECUTING on w: running"
    assert story.connect("u") == ["u welcome"]
    assert story.finish("v", "b/1", FAILED) == ["v may forget b/1", "b ends: exit 1"]
    assert "w2 gets c/1" in story.finish("w2", "a/1", FAILED)


PREEMPTING = Policy(preempt_after_s=5.0, preemptions=1, heartbeat_timeout_s=1e6)


def crowded() -> Story:
    """One user has both slots and more waiting; another one comes."""
    story = Story(PREEMPTING)
    story.connect("w", slots=2)
    for name in "abc":
        story.submit(name, of("", name, "many"))
    story.submit("me", of("", "me", "few"))
    return story


def test_who_waits_with_less_than_a_share_takes_the_newest_slot() -> None:
    """The action that gives way is not charged, and runs again in its turn."""
    story = crowded()
    assert story.at(4.9) == []
    assert story.at(5.0) == ["w stops b/1", "b: preempted", "b QUEUED: all-busy"]
    assert story.send(events.LeaseReturned("w", "b/1", "stopped"))[0] == "w gets me/1"
    assert story.finish("w", "a/1", FAILED)[2] in ("w gets b/2", "w gets c/1")
    assert story.machine.snapshot().counters.preempted == 1
    assert not any(task.faults for task in story.machine._books.tasks.values())


def test_a_result_that_was_on_its_way_is_taken() -> None:
    """Nothing that was done is done again."""
    story = crowded()
    story.at(5.0)
    assert story.finish("w", "b/1", OK)[:2] == ["w may forget b/1", "b is kept"]
    assert story.send(events.ResultKept("b")) == ["b ends: ok"]


def test_shares_alone_decide_and_each_action_gives_way_once() -> None:
    """Who has a fair share takes nothing more; what gave way once runs to its end."""
    story = crowded()
    story.submit("too", of("", "too", "few"))
    story.at(5.0)
    story.send(events.LeaseReturned("w", "b/1", "stopped"))
    assert story.at(30.0) == []
    story.finish("w", "me/1", FAILED)
    story.finish("w", "a/1", FAILED)
    assert story.at(60.0) == []


def test_what_may_not_run_twice_does_not_give_way() -> None:
    """An action that must not be cached may have effects of its own."""
    story = Story(PREEMPTING)
    story.connect("w")
    story.submit("a", ActionSpec(ActionKey("", "sha256", "a", 1), LINUX, do_not_cache=True))
    story.submit("me", of("", "me", "few"))
    assert story.at(20.0) == []


def test_nobody_takes_anything_unless_it_is_asked_for() -> None:
    """The default is to wait."""
    story = Story(Policy(heartbeat_timeout_s=1e6))
    story.connect("w")
    story.submit("a", of("", "a", "many"))
    story.submit("me", of("", "me", "few"))
    assert story.at(1000.0) == []
