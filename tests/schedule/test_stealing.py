"""Backlogs and steals, as the coordinator decides them."""

from builder.schedule import events
from builder.schedule.fleet import WorkerInfo
from builder.schedule.operation import Stage
from builder.schedule.policy import Policy
from builder.schedule.quotas import Quota
from builder.schedule.reasons import ReasonCode
from builder.schedule.resources import Amounts
from tests.schedule.kit import BROKEN, GPU, LINUX, Story

STEALING = Policy(backlog=2)


def join(
    story: Story,
    name: str,
    *running: str,
    slots: int = 1,
    backlog: int = 2,
    properties: tuple[tuple[str, str], ...] = LINUX,
    capacity: Amounts = (),
    host: str = "here",
    peer: str = "127.0.0.1:1",
) -> list[str]:
    info = WorkerInfo(
        name,
        slots,
        properties,
        identity=name,
        host=host,
        capacity=capacity,
        backlog=backlog,
        peer=peer,
        peer_token="secret",
    )
    return story.send(events.WorkerConnected(name, info, running))


def loaded(policy: Policy = STEALING, **fields: object) -> Story:
    """One worker that runs `a` and has `b` and `c` in its backlog."""
    story = Story(policy)
    join(story, "v")
    for name in ("a", "b", "c"):
        story.submit(name, **fields)
    return story


def beat(story: Story, session: str, *running: str, waiting: tuple[str, ...] = ()) -> list[str]:
    return story.send(events.HeartbeatReceived(session, running, waiting=waiting))


def give(story: Story, lease: str, thief: str = "") -> list[str]:
    return story.send(events.LeaseYielded("v", lease, thief))


def test_a_worker_gets_its_backlog_beyond_its_slots_and_no_more() -> None:
    """What waits there is queued, and says where; more waits with the coordinator."""
    story = loaded()
    assert story.submit("d") == ["d QUEUED: all-busy"]
    assert story.reason("a")[0] is ReasonCode.RUNNING
    sentence = "waits in the backlog of v for its next slot; a worker with nothing to do may take"
    assert (story.stage("b"), story.reason("b")[0]) == (Stage.QUEUED, ReasonCode.IN_BACKLOG)
    assert story.reason("b")[1] == f"{sentence} it from there"
    snapshot = story.machine.snapshot()
    assert (snapshot.queued, snapshot.executing, snapshot.waiting) == (3, 1, 0)
    assert [(one.held, one.backlog) for one in snapshot.workers] == [(1, 2)]
    assert story.machine.demand("default", 0.0).queued == 3


def test_off_means_no_backlog_and_no_steals() -> None:
    """On either side: by policy, by a worker that offers none, or by one that nobody can ask."""
    for policy, backlog, peer in (
        (Policy(), 2, "127.0.0.1:1"),
        (STEALING, 0, "127.0.0.1:1"),
        (STEALING, 2, ""),
    ):
        story = Story(policy)
        join(story, "v", backlog=backlog, peer=peer)
        story.submit("a")
        assert story.submit("b") == ["b QUEUED: all-busy"]
        join(story, "t")
        assert not [line for line in beat(story, "t", "b/1") if "may ask" in line]


def test_free_slots_come_before_backlogs() -> None:
    """Also those of a worker with more slots that holds more."""
    story = Story(STEALING)
    join(story, "small")
    join(story, "large", slots=3)
    given = [line for name in "abcdef" for line in story.submit(name) if "gets" in line]
    workers = [line.split()[0] for line in given]
    assert sorted(workers[:4]) == ["large", "large", "large", "small"]
    assert sorted(workers[4:]) == ["large", "small"]


def test_what_is_yielded_goes_to_the_thief_in_one_step() -> None:
    """The lease ends, the next attempt begins, and its reason says whose it was."""
    story = loaded()
    join(story, "t")
    assert beat(story, "t") == ["t may ask v: b/1 c/1"]
    assert give(story, "b/1", "t") == ["t gets b/2", "b EXECUTING on t: running"]
    assert story.reason("b")[1] == "starts on t, attempt 2, taken from the backlog of v"
    assert story.finish("v", "b/1") == ["v may forget b/1"]
    assert story.finish("t", "b/2")[:2] == ["t may forget b/2", "b is kept"]
    counters = story.machine.snapshot().counters
    assert (counters.stolen, counters.steals_refused, counters.infrastructure_failures) == (1, 0, 0)


def test_a_lease_that_is_no_more_cannot_be_yielded() -> None:
    """A second word of it, one of somebody else's, and one of an ended lease do nothing."""
    story = loaded()
    join(story, "t")
    give(story, "b/1", "t")
    assert give(story, "b/1", "t") == []
    assert story.send(events.LeaseYielded("t", "c/1", "t")) == []
    story.finish("v", "a/1")
    assert give(story, "a/1", "t") == []


def test_a_thief_that_may_not_have_it_does_not_get_it() -> None:
    """Unknown, gone, of another platform, without the resources, or without a free slot: it goes
    to its old place, and from there to whoever may have it."""
    for thief in ("nobody", "gone", "draining", "busy", "other"):
        story = loaded(properties=GPU) if thief == "other" else loaded()
        if thief == "other":
            story = Story(STEALING)
            join(story, "v", properties=GPU)
            for name in "abc":
                story.submit(name, properties=GPU)
        if thief != "nobody":
            join(story, thief)
        if thief == "busy":
            story.submit("d")
        if thief == "gone":
            story.send(events.WorkerVanished("gone", "was killed"))
        if thief == "draining":
            story.send(events.WorkerDraining("draining", "asked to"))
        told = give(story, "b/1", thief)
        assert f"{thief} gets b/2" not in told
        assert story.machine.snapshot().counters.steals_refused == 1
        assert "v gets b/2" in told


def test_peers_are_named_to_those_who_may_have_what_waits_and_reach_it() -> None:
    """Not to one that has something to do, is elsewhere, failed it before, or has no room."""
    story = loaded(need=(("licence", 1),))
    assert not [line for line in beat(story, "v", "a/1", "b/1", "c/1") if "may ask" in line]
    story = loaded()
    join(story, "far", host="there")
    assert beat(story, "far") == []
    join(story, "other", properties=(("OSFamily", "linux"),))
    assert beat(story, "other") == []


def test_an_action_keeps_away_from_a_worker_that_failed_it() -> None:
    """Also when that one has nothing to do and asks for it."""
    story = Story(STEALING)
    join(story, "t")
    story.submit("a")
    join(story, "v", backlog=2)
    story.submit("b")
    story.finish("t", "a/1", BROKEN)
    story.at(1.0)
    assert story.reason("a")[0] is ReasonCode.IN_BACKLOG
    assert beat(story, "t") == []
    assert "t gets a/3" not in give(story, "a/2", "t")


def test_what_starts_says_so_and_is_no_longer_offered() -> None:
    """By its first progress, or by a heartbeat that names it among those that run."""
    story = loaded()
    story.finish("v", "a/1")
    told = story.send(events.LeaseProgressed("v", "b/1", "fetches its inputs"))
    assert told == ["b EXECUTING on v: running"]
    beat(story, "v", "c/1", waiting=())
    assert story.reason("c")[0] is ReasonCode.RUNNING
    beat(story, "v", "b/1", "c/1", waiting=("c/1",))
    assert story.reason("c")[0] is ReasonCode.IN_BACKLOG
    join(story, "t")
    assert beat(story, "t") == ["t may ask v: c/1"]


def test_something_more_urgent_has_a_place_in_a_backlog_asked_back() -> None:
    """The least urgent goes back to its place in the queue; nothing that runs is touched."""
    story = loaded(priority=5)
    assert "v is asked for c/1" in story.submit("now", priority=0)
    assert story.machine.snapshot().counters.recalled == 1
    told = give(story, "c/1")
    assert "v gets now/1" in told
    assert "v gets c/2" not in told
    assert story.submit("later", priority=5) == ["later QUEUED: all-busy"]
    assert story.machine.snapshot().counters.recalled == 1


def test_what_waits_and_is_lost_with_its_worker_is_not_to_blame() -> None:
    """It has not been started; what ran is charged as ever."""
    story = loaded()
    story.send(events.WorkerVanished("v", "was killed"))
    assert story.reason("b")[0] is ReasonCode.NO_WORKER
    assert not story.machine._books.tasks["b"].faults
    assert len(story.machine._books.tasks["a"].faults) == 1


def test_a_worker_that_is_not_well_gives_its_backlog_back() -> None:
    """And gets no new one until it is."""
    story = loaded()
    told = story.finish("v", "a/1", BROKEN)
    assert {"v is asked for b/1", "v is asked for c/1"} <= set(told)


def test_a_drained_worker_hands_its_backlog_back_uncharged() -> None:
    """The others get it."""
    story = loaded()
    join(story, "t")
    story.send(events.WorkerDraining("v", "spot notice"))
    assert "t gets b/2" in story.send(events.LeaseReturned("v", "b/1", "draining"))
    assert not story.machine._books.tasks["b"].faults


def test_quotas_and_cancellations_hold_for_what_waits() -> None:
    """A cancelled one is stopped there; the quota of its instance counts it."""
    story = loaded(Policy(backlog=2, quotas={"": Quota(running=2)}))
    assert story.reason("c")[0] is ReasonCode.QUOTA_USED
    told = story.send(events.CancelRequested("b"))
    assert "v stops b/1" in told
    assert "v gets c/1" in story.send(events.LeaseReturned("v", "b/1", "cancelled"))


def test_the_call_figures_of_workers_are_summed() -> None:
    """As they come with heartbeats."""
    story = loaded()
    for _ in range(2):
        story.send(events.HeartbeatReceived("v", ("a/1",), steals=(4, 2, 1, 1)))
    counters = story.machine.snapshot().counters
    assert (counters.steals_attempted, counters.steals_succeeded) == (8, 4)
    assert (counters.steals_empty, counters.steals_failed) == (2, 2)
