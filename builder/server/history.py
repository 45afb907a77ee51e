"""What became of actions: the last of them, with every reason that they were given.

The scheduler tells of each operation as it tells its clients. Kept are the newest operations, up
to a number and up to the bytes of their results; those are the same objects that the scheduler
keeps for clients that come back, so most of them cost nothing more. Times are trio's seconds.

Hits of the action cache come by the ten thousand a second, so of each only what came is kept (the
result is the cache's own object); it becomes a record when somebody looks at it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from builder.base.errors import InvalidArgumentError, NotFoundError
from builder.reapi.pb.control_pb2 import Action
from builder.schedule.operation import Ending, OperationView, Stage
from builder.schedule.reasons import Reason, ReasonCode
from builder.schedule.spec import ActionKey, ActionSpec, Entry
from builder.server.operation_bytes import cached_response
from builder.server.specs import client_of, metadata_of

MOST = 20_000  # operations
MOST_BYTES = 64 * 1024 * 1024  # of their payloads and results
MOST_MOMENTS = 50  # of one operation; the first and the last are kept
SHORTEST_ID = 4
HIT = Reason(ReasonCode.FINISHED, "was in the action cache")
RECORD_BYTES = 1024  # of memory, besides payload and result


@dataclass(frozen=True, slots=True)
class Moment:
    """Something happened to an operation."""

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
    told: Action | None = None  # in a line, once it has ended

    @property
    def key(self) -> ActionKey:
        return self.spec.key

    @property
    def last(self) -> Moment:
        return self.moments[-1]

    @property
    def size_bytes(self) -> int:
        ending = len(self.ending.response) if self.ending else 0
        return RECORD_BYTES + len(self.spec.payload) + ending


class Hit(NamedTuple):
    """An operation whose result was in the action cache; `metadata` is a RequestMetadata."""

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


class History:
    """One owner; every method returns at once. `version` grows with each change.

    `ended` hears of each result that a worker has sent, once.
    """

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._records: OrderedDict[str, Record | Hit] = OrderedDict()  # the oldest first
        self._size_bytes = 0
        self.version = 0
        self.ended: Callable[[bytes], None] = lambda _response: None
        self._last_response = b""

    def __len__(self) -> int:
        return len(self._records)

    # ---- what happens

    def asked(self, operation: str, spec: ActionSpec, now: float) -> None:
        """A client asks for an action; the scheduler has not looked at it yet."""
        first = Moment(now, Stage.QUEUED, Reason(ReasonCode.ASKED, "was asked for"), "")
        self._add(Record(operation, spec, [first]))

    def hit(self, hit: Hit) -> None:
        """It was asked for, and the action cache had its result."""
        self._add(hit)

    def restored(self, entries: Iterable[Entry], now: float) -> None:
        """An earlier coordinator had taken these."""
        for entry in entries:
            self.asked(entry.operation, entry.spec, now)

    def told(self, view: OperationView, now: float) -> None:
        """How an operation stands, as its clients hear it."""
        record = self._get(view.name)
        if record is None or record.ending is not None:
            return
        self.version += 1
        record.progress = view.progress or record.progress
        last = record.last
        if (view.stage, view.reason, view.worker) != (last.stage, last.reason, last.worker):
            if len(record.moments) >= MOST_MOMENTS:
                del record.moments[MOST_MOMENTS // 2]
            record.moments.append(
                Moment(now, view.stage, view.reason, view.worker or _last_worker(record))
            )
        if view.ending is not None:
            self._end(record, view.ending)

    def refused(self, operation: str, reason: Reason, ending: Ending, now: float) -> None:
        """The scheduler does not take it."""
        record = self._get(operation)
        if record is not None and record.ending is None:
            record.moments.append(Moment(now, Stage.COMPLETED, reason, ""))
            self._end(record, ending)

    def _end(self, record: Record, ending: Ending) -> None:
        self.version += 1
        record.ending = ending
        self._size_bytes += len(ending.response)
        if ending.response and ending.response is not self._last_response:
            self._last_response = ending.response  # operations that shared a run have one
            self.ended(ending.response)
        self._trim()

    def _get(self, operation: str) -> Record | None:
        one = self._records.get(operation)
        return self._whole(one) if isinstance(one, Hit) else one

    def _whole(self, hit: Hit) -> Record:
        """The record of a hit, from now on in its place."""
        record = self._records[hit.operation] = hit.record()
        self._size_bytes += record.size_bytes - hit.size_bytes
        return record

    def _add(self, record: Record | Hit) -> None:
        self.version += 1
        self._records[record.operation] = record
        self._size_bytes += record.size_bytes
        if self._size_bytes > self._most_bytes or len(self._records) > self._most:
            self._trim()

    def _trim(self) -> None:
        while len(self._records) > self._most or (
            self._size_bytes > self._most_bytes and len(self._records) > 1
        ):
            _, oldest = self._records.popitem(last=False)
            self._size_bytes -= oldest.size_bytes

    # ---- what is asked

    def fields(self, operation: str) -> dict[str, str]:
        """What a log line about an operation carries, as far as it is known."""
        record = self._get(operation)
        if record is None:
            return {"subject": operation}  # a worker, or one that is forgotten
        client = record.spec.client
        found = {
            "operation": operation,
            "action": record.spec.key.hash,
            "invocation": client.invocation,
            "target": client.target,
            "worker": _last_worker(record),
        }
        return {name: value for name, value in found.items() if value}

    def newest(self) -> Iterator[Record]:
        for one in reversed(self._records.values()):
            yield self._whole(one) if isinstance(one, Hit) else one

    def _sure(self, operation: str) -> Record:
        found = self._get(operation)
        assert found is not None
        return found

    def before(self, record: Record) -> Iterator[Record]:
        """Those asked for earlier than this one, the newest first."""
        found = False
        for other in self.newest():
            if found:
                yield other
            found = found or other is record

    def find(self, id_: str) -> Record:
        """By a name, its end, or the beginning of an operation's or of an action's hash.

        Raises NotFoundError; InvalidArgumentError for one that is too short or means several.
        """
        found = self._get(id_)
        if found is not None:
            return found
        every = list(reversed(self._records.values()))
        named = [one.operation for one in every if _last_part(one.operation).startswith(id_)]
        exact = [name for name in named if name.endswith(f"/{id_}")]
        if len(exact or named) == 1 and (exact or len(id_) >= SHORTEST_ID):
            return self._sure((exact or named)[0])
        if len(id_) < SHORTEST_ID:
            raise InvalidArgumentError(f"id {id_!r} is too short: give {SHORTEST_ID} or more signs")
        actions: dict[ActionKey, str] = {}
        for one in every:
            if one.key.hash.startswith(id_):
                actions.setdefault(one.key, one.operation)
        if len(named) + len(actions) > 1:
            some = named[:3]
            some += [f"action {key.hash[:16]}" for key in list(actions)[:3]]
            raise InvalidArgumentError(f"id {id_!r} means several: {', '.join(some)}; give more")
        if not actions:
            raise NotFoundError(
                f"no action {id_[:200]!r} is known here: `builder remote actions` lists them; "
                f"the history keeps the last {self._most}"
            )
        return self._sure(next(iter(actions.values())))


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]


def _last_worker(record: Record) -> str:
    return next((moment.worker for moment in reversed(record.moments) if moment.worker), "")
