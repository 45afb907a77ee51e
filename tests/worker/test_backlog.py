"""The backlog of one worker: what starts, what is given away, and what never both."""

import itertools

import pytest

from builder.worker.backlog import (
    Asked,
    Backlog,
    Drained,
    Dropped,
    Ended,
    Event,
    Granted,
    HandBack,
    Recalled,
    Start,
    Yield,
)


def loaded(*waiting: str, slots: int = 1) -> Backlog:
    """Something runs in every slot, and these wait."""
    backlog = Backlog(slots)
    for number in range(slots):
        assert backlog.handle(Granted(f"runs-{number}"), 0.0) == [Start(f"runs-{number}")]
    for lease in waiting:
        assert backlog.handle(Granted(lease), 0.0) == []
    return backlog


def test_what_waits_starts_when_a_slot_comes_free() -> None:
    """The first that came, among equals."""
    backlog = loaded("a", "b", slots=2)
    assert backlog.handle(Ended("runs-0"), 0.0) == [Start("a")]
    assert backlog.snapshot() == (("runs-1", "a"), ("b",), 0)
    assert backlog.handle(Ended("runs-1"), 0.0) == [Start("b")]
    assert backlog.handle(Ended("a"), 0.0) == []
    assert backlog.free == 1


def test_the_lowest_in_the_order_is_next_here_and_for_a_thief() -> None:
    """However late it came."""
    backlog = loaded()
    for lease, order in (("late", 9.0), ("urgent", -3.0), ("usual", 5.0)):
        backlog.handle(Granted(lease, order), 0.0)
    assert backlog.waiting == ["urgent", "usual", "late"]
    asked = Asked("thief", ("late", "usual", "urgent"), 2)
    assert backlog.handle(asked, 0.0) == [Yield("urgent", "thief"), Yield("usual", "thief")]
    assert backlog.handle(Ended("runs-0"), 0.0) == [Start("late")]


def test_a_thief_gets_what_it_may_ask_for_and_no_more() -> None:
    """Others' leases, running ones and a number below one are nothing."""
    backlog = loaded("a", "b")
    assert backlog.handle(Asked("thief", ("runs-0", "elsewhere"), 5), 0.0) == []
    assert backlog.handle(Asked("thief", ("a", "b"), -1), 0.0) == []
    assert backlog.handle(Asked("thief", ("b",), 5), 0.0) == [Yield("b", "thief")]
    assert backlog.waiting == ["a"]


def test_without_a_number_of_slots_everything_starts() -> None:
    """Who may hold how many is then the coordinator's."""
    backlog = Backlog()
    assert [backlog.handle(Granted(one), 0.0) for one in "abc"] == [[Start(one)] for one in "abc"]


LEAVING: dict[str, tuple[Event, object]] = {
    "asked": (Asked("thief", ("a",), 1), Yield("a", "thief")),
    "recalled": (Recalled("a"), Yield("a")),
    "dropped": (Dropped("a", "why"), HandBack("a", "why")),
    "drained": (Drained("why"), HandBack("a", "why")),
}


@pytest.mark.parametrize(("first", "second"), list(itertools.product(LEAVING, LEAVING)))
def test_a_lease_leaves_once_and_is_not_started_afterwards(first: str, second: str) -> None:
    """Each way out against each: whoever comes second gets nothing."""
    backlog = loaded("a")
    event, effect = LEAVING[first]
    assert backlog.handle(event, 0.0) == [effect]
    assert backlog.handle(LEAVING[second][0], 0.0) == []
    assert backlog.handle(Ended("runs-0"), 0.0) == []
    backlog.check()


@pytest.mark.parametrize("way", LEAVING)
def test_what_has_been_started_is_not_given_away(way: str) -> None:
    """It is too late then, for everybody."""
    backlog = loaded("a")
    assert backlog.handle(Ended("runs-0"), 0.0) == [Start("a")]
    assert backlog.handle(LEAVING[way][0], 0.0) == []
    assert backlog.snapshot().running == ("a",)
    assert backlog.next_deadline() is None
