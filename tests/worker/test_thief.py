"""Whom a worker with nothing to do asks, in stories, and every state against every event."""

import itertools
from collections.abc import Callable

import pytest

from builder.worker.thief import (
    Answered,
    AskForPeers,
    Event,
    Failed,
    Introduced,
    Outcomes,
    Peer,
    RoomChanged,
    Steal,
    Terms,
    Thief,
    TimePassed,
)

TERMS = Terms(backlog=2, victims=2, threshold=1, batch=4, interval_s=1.0)
A = Peer("a", "127.0.0.1:1", "token-a", ("a/1",))
B = Peer("b", "127.0.0.1:2", "token-b", ("b/1", "b/2", "b/3", "b/4"))
C = Peer("c", "127.0.0.1:3", "token-c", ("c/1", "c/2"))


def thief(terms: Terms = TERMS, chance: Callable[[], float] = lambda: 0.0) -> Thief:
    return Thief(terms, chance)


def wanting(*peers: Peer, terms: Terms = TERMS, free: int = 1) -> list[object]:
    one = thief(terms)
    assert one.handle(RoomChanged(free), 0.0) == []
    made: list[object] = list(one.handle(Introduced(peers), 0.0))
    one.check()
    return made


def test_of_two_drawn_by_lot_the_one_with_more_is_asked_for_half() -> None:
    """The power of two choices."""
    assert wanting(A, B, C) == [Steal(B, B.leases, 2)]
    assert wanting(A, C, B) == [Steal(C, C.leases, 1)]  # the lot left b out
    alone = Terms(backlog=2, victims=1)
    assert wanting(A, B, C, terms=alone) == [Steal(A, A.leases, 1)]


def test_the_bounds_of_what_is_asked_for() -> None:
    """Free slots are filled beyond the half; the batch and the room here bound it."""
    assert wanting(B, free=3) == [Steal(B, B.leases, 3)]
    assert wanting(B, free=9) == [Steal(B, B.leases, 4)]
    assert wanting(B, terms=Terms(batch=1)) == [Steal(B, B.leases, 1)]
    assert wanting(B, terms=Terms(threshold=5)) == [AskForPeers()]


def test_a_busy_worker_asks_nobody() -> None:
    """Nor does one that has something waiting itself: it tells of no free slot."""
    one = thief()
    assert one.handle(Introduced((A, B)), 0.0) == []
    assert one.next_deadline() is None
    assert one.handle(RoomChanged(1), 5.0) == [Steal(B, B.leases, 2)]


def test_after_an_answer_it_rests_and_then_goes_on() -> None:
    """With those it still knows, and then it asks the coordinator for others, once."""
    one = thief()
    one.handle(RoomChanged(1), 0.0)
    assert one.handle(Introduced((A, B)), 0.0) == [Steal(B, B.leases, 2)]
    assert one.handle(Answered("b", ()), 0.5) == []
    assert one.next_deadline() == 1.5
    assert one.handle(TimePassed(), 1.5) == [Steal(A, A.leases, 1)]
    assert one.handle(Failed("a"), 2.0) == []
    assert one.handle(TimePassed(), 3.0) == [AskForPeers()]
    assert one.next_deadline() is None
    assert one.handle(TimePassed(), 9.0) == []
    assert one.snapshot() == Outcomes(attempted=2, succeeded=0, empty=1, failed=1)
    assert one.handle(Introduced((A,)), 9.0) == [Steal(A, A.leases, 1)]


def test_what_was_given_is_not_asked_for_again() -> None:
    """The rest of that backlog may be."""
    one = thief()
    one.handle(RoomChanged(1), 0.0)
    one.handle(Introduced((B,)), 0.0)
    one.handle(Answered("b", ("b/1", "b/2")), 0.0)
    left = B._replace(leases=("b/3", "b/4"))
    assert one.handle(TimePassed(), 1.0) == [Steal(left, left.leases, 1)]
    assert one.snapshot().succeeded == 1


def resting() -> Thief:
    one = asking()
    one.handle(Answered("b", ()), 0.0)
    return one


def asking() -> Thief:
    one = thief()
    one.handle(RoomChanged(1), 0.0)
    one.handle(Introduced((A, B)), 0.0)
    return one


def idle() -> Thief:
    one = thief()
    one.handle(RoomChanged(1), 0.0)
    return one


STATES: dict[str, Callable[[], Thief]] = {
    "busy": thief,
    "idle": idle,
    "asking": asking,
    "resting": resting,
}
EVENTS: list[Event] = [
    RoomChanged(0),
    RoomChanged(2),
    Introduced(()),
    Introduced((C,)),
    Answered("b", ("b/1",)),
    Answered("somebody", ("x/1",)),
    Failed("b"),
    Failed("somebody"),
    TimePassed(),
]


@pytest.mark.parametrize(("state", "event"), list(itertools.product(STATES, EVENTS)), ids=str)
def test_every_state_against_every_event(state: str, event: Event) -> None:
    """One call is under way at most, nobody is asked while it rests, and the counts add up."""
    one = STATES[state]()
    before = one.snapshot()
    made = one.handle(event, 0.1)
    one.check()
    calls = [effect for effect in made if isinstance(effect, Steal)]
    assert len(calls) == one.snapshot().attempted - before.attempted
    assert len(made) <= 1
    if state in ("busy", "asking", "resting"):
        quiet = state != "busy" or not isinstance(event, RoomChanged)
        assert not (quiet and calls)
