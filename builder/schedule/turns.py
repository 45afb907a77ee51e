"""Whose turn it is, among those who have something that may go now.

Theory of operation. Members lie in two heaps: `ripe` by the tag of their share, `unripe` by the
time at which their first task becomes as urgent as the most urgent one that waits. Both are lazy: a
member is looked at when it comes up, and put right then if its tag has moved on, if it has nothing
left, or if it is not ripe after all. So each event costs a few steps of a heap, however many wait.

Hot: an entry is a list that is changed in place, and holds the share beside its owner: shares are
all of one class, members of two, and attributes of what is sometimes one and sometimes the other
cost five times as much.
"""

import math
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, Generic, Protocol, TypeVar

from builder.schedule.queue import Queue
from builder.schedule.shares import Share

FEW = 64  # stale entries that are not worth clearing away


class Member(Protocol):
    """`place` is its entry in one of the heaps, or None; `ripe` says which heap it is."""

    share: Share
    place: list[Any] | None
    ripe: bool

    def best(self, limit_s: float) -> "Flow | None":
        """Where to take the next task from, of those whose order is not beyond the limit."""
        ...

    def ripens(self) -> float:
        """The order of its first task, when none is within the limit; infinity without any."""
        ...


M = TypeVar("M", bound=Member)


def step_out(member: Member) -> None:
    """It stands in no heap any more; its entry, if it is in one still, is nobody's."""
    if member.place is not None:
        member.place[3] = None
    member.place, member.ripe = None, False


class Flow(Queue):
    """What one invocation has waiting in one lane."""

    __slots__ = ("place", "ripe", "share", "user")

    def __init__(self, share: Share, user: "Turns[Flow]") -> None:
        super().__init__()
        self.share = share
        self.user = user
        self.place: list[Any] | None = None
        self.ripe = False

    def best(self, limit_s: float) -> "Flow | None":
        head = self.head
        return self if head and head[0] <= limit_s else None

    def ripens(self) -> float:
        return math.inf if self.head is None else self.head[0]


class Turns(Generic[M]):
    """Members of one level. `members` counts those that have something waiting."""

    __slots__ = ("_ripe", "_ticket", "_unripe", "members", "place", "ripe", "share")

    def __init__(self, share: Share) -> None:
        self.share = share
        self.place: list[Any] | None = None
        self.ripe = False
        self.members = 0
        self._ripe: list[list[Any]] = []  # each a tag, a ticket, its share, and whose it is
        self._unripe: list[list[Any]] = []  # each a time, a ticket, None, and whose it is
        self._ticket = 0

    def line_up(self, member: M) -> None:
        """It may have something ripe now."""
        if member.place is not None:
            step_out(member)
        self._ticket += 1
        share = member.share
        member.place = entry = [share.tag, self._ticket, share, member]
        member.ripe = True
        heappush(self._ripe, entry)
        if len(self._ripe) > 2 * self.members + FEW:
            self._clear_away()

    def best(self, limit_s: float) -> Flow | None:
        """The flow to take the next task from, of those whose order is not beyond the limit."""
        if self._unripe:
            self._ripen(limit_s)
        ripe = self._ripe
        while ripe:
            entry = ripe[0]
            tag = entry[2].tag
            member: M | None = entry[3]
            if member is None:
                heappop(ripe)
            elif entry[0] != tag:  # it has had a turn
                self._ticket = entry[1] = self._ticket + 1
                entry[0] = tag
                heapreplace(ripe, entry)
            elif (found := member.best(limit_s)) is not None:
                return found
            else:
                heappop(ripe)
                self._put_aside(member)
        return None

    def _ripen(self, limit_s: float) -> None:
        """Line up who has something ripe by now."""
        unripe = self._unripe
        while unripe and unripe[0][0] <= limit_s:
            entry = heappop(unripe)
            if entry[3] is not None:
                self.line_up(entry[3])

    def ripens(self) -> float:
        while self._unripe and self._unripe[0][3] is None:
            heappop(self._unripe)
        return self._unripe[0][0] if self._unripe else math.inf

    def _put_aside(self, member: M) -> None:
        step_out(member)
        at_s = member.ripens()
        if at_s < math.inf:
            self._ticket += 1
            member.place = entry = [at_s, self._ticket, None, member]
            heappush(self._unripe, entry)

    def _clear_away(self) -> None:
        for heap in (self._ripe, self._unripe):
            heap[:] = [entry for entry in heap if entry[3] is not None]
            heapify(heap)
