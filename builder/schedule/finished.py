"""Operations that have ended, kept so that clients that come back still get their answer."""

import math
from collections import OrderedDict

from builder.schedule.operation import Operation


class Finished:
    """The oldest go when they are too old, too many or too large.

    `first` is no later than the time when the first one is too old.
    """

    __slots__ = ("_kept", "_most", "_most_bytes", "_size_bytes", "_time_s", "first")

    def __init__(self, time_s: float, most: int, most_bytes: int) -> None:
        self._time_s = time_s
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, Operation] = OrderedDict()  # the oldest first
        self._size_bytes = 0
        self.first = math.inf

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, operation: Operation) -> bool:
        """Whether some have to go for it."""
        kept = self._kept
        if not kept:
            self.first = operation.ended_at + self._time_s
        kept[operation.name] = operation
        self._size_bytes = size_bytes = self._size_bytes + _size(operation)
        return len(kept) > self._most or size_bytes > self._most_bytes

    def shed(self) -> list[str]:
        """Names of those that have to go, the oldest; one may be as large as it is."""
        kept, size_bytes, gone = self._kept, self._size_bytes, []
        while len(kept) > self._most or (size_bytes > self._most_bytes and len(kept) > 1):
            name, oldest = kept.popitem(last=False)
            size_bytes -= _size(oldest)
            gone.append(name)
        self._size_bytes = size_bytes
        return gone

    def remove(self, name: str) -> None:
        operation = self._kept.pop(name)
        self._size_bytes -= _size(operation)

    def expire(self, now: float) -> list[str]:
        """Names of those that are too old."""
        gone = []
        self.first = math.inf
        for name, operation in self._kept.items():
            if operation.ended_at + self._time_s > now:
                self.first = operation.ended_at + self._time_s
                break
            gone.append(name)
        for name in gone:
            self.remove(name)
        return gone


def _size(operation: Operation) -> int:
    assert operation.ending is not None
    return len(operation.ending.response) + 512  # the second is for the objects around it
