"""What clients have only looked up, and found, action by action: rows beside the operations.

They come by the ten thousand a second, so of each only what came is kept (the result is the
cache's own object). A row becomes a record when somebody looks at it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from builder.builds.lookups import Run
from builder.schedule.spec import ActionKey
from builder.server.shelf import Hit, Record

PREFIX = "operations/got-"
ROW_BYTES = 512  # of memory, besides metadata and result

Row = tuple[str, Run]  # an invocation, and what it found


class LookedUp:
    """At most `most` rows of `most_bytes`. `offset_s` brings the times of runs to those of
    records."""

    def __init__(self, most: int, most_bytes: int, offset_s: Callable[[], float]) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._offset_s = offset_s
        self._rows: list[Row] = []
        self._first = 1  # the number of the oldest row
        self._size_bytes = 0
        self._whole: dict[int, Record] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: Sequence[Row]) -> None:
        """The newest ones; the oldest go where there are too many."""
        self._rows += rows
        self._size_bytes += sum(_size(row) for row in rows)
        gone = max(len(self._rows) - self._most, 0)
        self._size_bytes -= sum(_size(row) for row in islice(self._rows, gone))
        while self._size_bytes > self._most_bytes and gone < len(self._rows) - 1:
            self._size_bytes -= _size(self._rows[gone])
            gone += 1
        if gone:
            del self._rows[:gone]
            self._first += gone
            self._whole = {n: one for n, one in self._whole.items() if n >= self._first}

    def newest(
        self, invocation: str = "", target: str = "", key: ActionKey | None = None
    ) -> Iterator[Record]:
        """Of an invocation or of all; of a target, or of an action, or of all: then others may be
        among them."""
        name = target.encode()
        for place in range(len(self._rows) - 1, -1, -1):
            whose, (metadata, (_, action), *_) = self._rows[place]
            if invocation in ("", whose) and (
                name in metadata or (key is not None and action.hash == key.hash)
            ):
                yield self._record(place)

    def get(self, name: str) -> Record | None:
        """By the whole name, or its last part."""
        _, _, number = f"operations/{name.rpartition('/')[2]}".partition(PREFIX)
        try:
            place = int(number, 16) - self._first
        except ValueError:
            return None
        return self._record(place) if 0 <= place < len(self._rows) else None

    def of_action(self, beginning: str) -> dict[ActionKey, str]:
        """The newest name for each action whose hash begins so."""
        found: dict[ActionKey, str] = {}
        for place in range(len(self._rows) - 1, -1, -1):
            if self._rows[place][1][1][1].hash.startswith(beginning):
                found.setdefault(self._key(place), self._name(place))
        return found

    def counts(self) -> Counter[str]:
        """How many there are, by invocation."""
        return Counter(whose for whose, _ in self._rows)

    def _key(self, place: int) -> ActionKey:
        instance, action = self._rows[place][1][1]
        return ActionKey(instance, action.function, action.hash, action.size_bytes)

    def _name(self, place: int) -> str:
        instance = self._rows[place][1][1][0]
        name = f"{PREFIX}{self._first + place:x}"
        return f"{instance}/{name}" if instance else name

    def _record(self, place: int) -> Record:
        number = self._first + place
        found = self._whole.get(number)
        if found is None:
            metadata, _, result, _, at_s = self._rows[place][1]
            at = at_s + self._offset_s()
            hit = Hit(self._name(place), self._key(place), metadata, result, at)
            found = self._whole[number] = hit.record()
        return found


def _size(row: Row) -> int:
    return ROW_BYTES + len(row[1][0]) + len(row[1][2])
