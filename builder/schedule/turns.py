"""Whose turn it is, among those who have something that may go now.

Theory of operation. Members lie in two heaps: `ripe` by the tag of their share, `unripe` by the
time at which their first task becomes as urgent as the most urgent one that waits. Both are lazy: a
member is looked at when it comes up, and put right then if its tag has moved on, if it has nothing
left, or if it is not ripe after all. So each event costs a few steps of a heap, however many wait.
"""

import math
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, Protocol, TypeVar

from builder.schedule.queue import Queue
from builder.schedule.shares import Share

FEW = 64  # stale entries that are not worth clearing away


class Member(Protocol):
    """`place` is its entry in one of the heaps, or None; `ripe` says which heap it is."""

    share: Share
    place: object
    ripe: bool

    def best(self, limit_s: float) -> "Flow | None":
        """Where to take the next task from, of those whose order is not beyond the limit."""
        ...

    def ripens(self) -> float:
        """The order of its first task, when none is within the limit; infinity without any."""
        ...


M = TypeVar("M", bound=Member)


class Flow(Queue):
    """What one invocation has waiting in one lane."""

    __slots__ = ("place", "ripe", "share", "user")

    def __init__(self, share: Share, user: "Turns[Flow]") -> None:
        super().__init__()
        self.share = share
        self.user = user
        self.place: object = None
        self.ripe = False

    def best(self, limit_s: float) -> "Flow | None":
        head = self.head
        return self if head is not None and head[0] <= limit_s else None

    def ripens(self) -> float:
        return math.inf if self.head is None else self.head[0]


class Turns(Generic[M]):
    """Members of one level. `members` counts those that have something waiting."""

    __slots__ = ("_ripe", "_ticket", "_unripe", "members", "place", "ripe", "share")

    def __init__(self, share: Share) -> None:
        self.share = share
        self.place: object = None
        self.ripe = False
        self.members = 0
        self._ripe: list[tuple[float, int, M]] = []
        self._unripe: list[tuple[float, int, M]] = []
        self._ticket = 0

    def line_up(self, member: M) -> None:
        """It may have something ripe now."""
        self._ticket += 1
        member.place = entry = (member.share.tag, self._ticket, member)
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
            tag, ticket, member = entry
            if member.place is not entry:
                heappop(ripe)
            elif tag != member.share.tag:  # it has had a turn
                self._ticket = ticket = self._ticket + 1
                member.place = entry = (member.share.tag, ticket, member)
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
            if entry[2].place is entry:
                self.line_up(entry[2])

    def ripens(self) -> float:
        while self._unripe and self._unripe[0][2].place is not self._unripe[0]:
            heappop(self._unripe)
        return self._unripe[0][0] if self._unripe else math.inf

    def _put_aside(self, member: M) -> None:
        member.place, member.ripe = None, False
        at_s = member.ripens()
        if at_s < math.inf:
            self._ticket += 1
            member.place = entry = (at_s, self._ticket, member)
            heappush(self._unripe, entry)

    def _clear_away(self) -> None:
        for heap in (self._ripe, self._unripe):
            heap[:] = [entry for entry in heap if entry[2].place is entry]
            heapify(heap)
