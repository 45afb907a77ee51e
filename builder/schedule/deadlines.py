"""Times at which something is due. An entry is looked at when it comes up, and may be stale."""

import math
from enum import Enum, auto
from heapq import heappop, heappush


class Due(Enum):
    WORKER = auto()  # it may have been silent for too long
    OPERATION = auto()  # its clients may have been away for too long
    TASK = auto()  # its delay may be over
    SHARE = auto()  # somebody with less than a fair share may have waited for too long
    REST = auto()  # a failed worker may have rested
    HEDGE = auto()  # an attempt may be slower than any other of its kind
    LANE = auto()  # it may have been without a worker for too long
    FINISHED = auto()  # the first operation that has ended may have been kept for long enough


class Deadlines:
    """`first` is when the first one is due, or infinity."""

    __slots__ = ("_heap", "_sequence", "first")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Due, object]] = []
        self._sequence = 0
        self.first = math.inf

    def add(self, at: float, kind: Due, subject: object) -> None:
        self._sequence += 1
        heappush(self._heap, (at, self._sequence, kind, subject))
        self.first = self._heap[0][0]

    def pop(self, now: float) -> tuple[Due, object] | None:
        """The next one that is due, or None."""
        if not self._heap or self._heap[0][0] > now:
            return None
        _, _, kind, subject = heappop(self._heap)
        self.first = self._heap[0][0] if self._heap else math.inf
        return kind, subject
