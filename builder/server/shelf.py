"""Records by name, the oldest first: at most so many, and at most so many bytes.

A hit of the action cache comes by the ten thousand a second, so of each only what came is kept
(the result is the cache's own object); it becomes a record when somebody looks at it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from builder.reapi.pb.control_pb2 import Action
from builder.schedule.operation import Ending, Stage
from builder.schedule.reasons import Reason, ReasonCode
from builder.schedule.spec import ActionKey, ActionSpec
from builder.server.operation_bytes import cached_response
from builder.server.specs import client_of, metadata_of

HIT = Reason(ReasonCode.FINISHED, "was in the action cache")
RECORD_BYTES = 1024  # of memory, besides payload and result


class Moment(NamedTuple):
    """Something happened to an operation. Times are trio's seconds; the worker is the last one
    that had it."""

    at: float
    stage: Stage
    reason: Reason
    worker: str


@dataclass(slots=True)
class Record:
    """One operation. `ending` is there once it has ended."""

    operation: str
    spec: ActionSpec
    moments: list[Moment] = field(default_factory=list)
    progress: bytes = b""
    ending: Ending | None = None
    cached: bool = False
    deleted: bool = False  # by a client, of one that is cached: clients have it no more
    told: Action | None = None  # in a line, once it has ended

    @property
    def key(self) -> ActionKey:
        return self.spec.key

    @property
    def at(self) -> float:
        """When it was asked for."""
        return self.moments[0].at

    @property
    def last(self) -> Moment:
        return self.moments[-1]

    @property
    def size_bytes(self) -> int:
        ending = len(self.ending.response) if self.ending else 0
        return RECORD_BYTES + len(self.spec.payload) + ending


class Hit(NamedTuple):
    """An action whose result was in the action cache; `metadata` is a RequestMetadata."""

    operation: str
    key: ActionKey
    metadata: bytes
    result: bytes
    at: float

    @property
    def size_bytes(self) -> int:
        return RECORD_BYTES + len(self.metadata) + len(self.result)

    def record(self) -> Record:
        spec = ActionSpec(self.key, client=client_of(metadata_of(self.metadata)))
        ending = Ending(HIT, response=cached_response(self.result), succeeded=True)
        moments = [Moment(self.at, Stage.COMPLETED, HIT, "")]
        return Record(self.operation, spec, moments, ending=ending, cached=True)


class Shelf:
    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._size_bytes = 0
        self._items: OrderedDict[str, Record | Hit] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, one: Record | Hit) -> None:
        self._items[one.operation] = one
        self.grown(one.size_bytes)

    def grown(self, by_bytes: int) -> None:
        """Something of it has: the oldest go. The newest stays, however large it is."""
        self._size_bytes += by_bytes
        while len(self._items) > self._most or (
            self._size_bytes > self._most_bytes and len(self._items) > 1
        ):
            _, oldest = self._items.popitem(last=False)
            self._size_bytes -= oldest.size_bytes

    def get(self, name: str) -> Record | None:
        one = self._items.get(name)
        return self.whole(one) if isinstance(one, Hit) else one

    def glance(self, name: str) -> Record | None:
        """As `get`, but a hit stays what it is."""
        one = self._items.get(name)
        return one.record() if isinstance(one, Hit) else one

    def newest(self) -> Iterator[Record | Hit]:
        """Hits as they came: `whole` makes a record of one."""
        return reversed(self._items.values())

    def whole(self, one: Record | Hit) -> Record:
        """The record of a hit, from now on in its place."""
        if isinstance(one, Record):
            return one
        record = self._items[one.operation] = one.record()
        self._size_bytes += record.size_bytes - one.size_bytes
        return record
