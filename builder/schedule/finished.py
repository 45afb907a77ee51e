"""Operations that have ended, kept so that clients that come back still get their answer."""

from collections import OrderedDict

from builder.schedule.deadlines import Deadlines, Due
from builder.schedule.operation import Operation

AROUND = 512  # bytes of the objects around a response


class Finished:
    """The oldest go when they are too old, too many or too large.

    While there are any, `deadlines` has one for them, no later than when the first is too old.
    """

    __slots__ = (
        "_deadlines",
        "_kept",
        "_most",
        "_most_bytes",
        "_size_bytes",
        "_time_s",
        "_watched",
    )

    def __init__(self, time_s: float, most: int, most_bytes: int, deadlines: Deadlines) -> None:
        self._time_s = time_s
        self._deadlines = deadlines
        self._watched = False  # whether it has
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, Operation] = OrderedDict()  # the oldest first
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, operation: Operation, response_bytes: int) -> bool:
        """Whether some have to go for it; its ending has a response of this size."""
        kept = self._kept
        kept[operation.name] = operation
        if not self._watched:
            self._watch(operation)
        self._size_bytes = size_bytes = self._size_bytes + response_bytes + AROUND
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
        self._watched = False
        for name, operation in self._kept.items():
            if operation.ended_at + self._time_s > now:
                self._watch(operation)
                break
            gone.append(name)
        for name in gone:
            self.remove(name)
        return gone

    def _watch(self, first: Operation) -> None:
        self._watched = True
        self._deadlines.add(first.ended_at + self._time_s, Due.FINISHED, self)


def _size(operation: Operation) -> int:
    assert operation.ending is not None
    return len(operation.ending.response) + AROUND
