"""What became of actions: the last of them, with every reason that they were given.

The scheduler tells of each operation as it tells its clients. Kept are the newest operations, up
to a number and up to the bytes of their results; those are the same objects that the scheduler
keeps for clients that come back, so most of them cost nothing more. Actions that a client has only
looked up, and found, stand beside them on a shelf of their own: a warm build's ten thousand hits
push out no failure. Times are trio's seconds.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from heapq import merge

import trio

from builder.base.errors import InvalidArgumentError, NotFoundError
from builder.builds.lookups import Found, LookUps
from builder.schedule.making import new
from builder.schedule.operation import Ending, OperationView, Stage
from builder.schedule.reasons import Reason, ReasonCode
from builder.schedule.spec import ActionKey, ActionSpec, Entry
from builder.server.looked_up import LookedUp
from builder.server.shelf import Hit, Moment, Record, Shelf

MOST = 20_000  # operations, and as many that were looked up
MOST_BYTES = 64 * 1024 * 1024  # of their payloads and results
MOST_FOUND_BYTES = 32 * 1024 * 1024
QUEUED = Stage.QUEUED  # a name of an Enum's costs ten times as much as one of ours
ASKED = Reason(ReasonCode.ASKED, "was asked for")
MOST_MOMENTS = 50  # of one operation; the first and the last are kept
SHORTEST_ID = 4


class History:
    """One owner; every method returns at once. `version` grows with each change.

    `ended` hears of each result that a worker has sent, once.
    """

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._operations = Shelf(most, most_bytes)
        self._found = LookedUp(most, min(most_bytes, MOST_FOUND_BYTES), _offset_s)
        self._hits = 0
        self._changes = 0
        self.lookups = LookUps(time.perf_counter, self._found.take)
        self.ended: Callable[[bytes], None] = lambda _response: None
        self._last_response = b""

    def __len__(self) -> int:
        return len(self._operations)

    @property
    def version(self) -> int:
        return self._changes + self.lookups.version

    # ---- what happens

    def asked(self, operation: str, spec: ActionSpec, now: float) -> None:
        """A client asks for an action; the scheduler has not looked at it yet."""
        self._add(Record(operation, spec, [new(Moment, (now, QUEUED, ASKED, ""))]))

    def hit_name(self, instance: str, hash_: str) -> str:
        """For one that was asked for, and whose result the action cache had. The action is in it:
        numbers begin anew with each coordinator, and clients may ask for a name later."""
        self._hits += 1
        name = f"operations/hit-{self._hits:x}-{hash_[:16]}"
        return f"{instance}/{name}" if instance else name

    def hit(self, hit: Hit) -> None:
        """It was asked for, and the action cache had its result."""
        self._add(hit)

    def restored(self, entries: Iterable[Entry], now: float) -> None:
        """An earlier coordinator had taken these."""
        for entry in entries:
            self.asked(entry.operation, entry.spec, now)

    def told(self, view: OperationView, now: float) -> None:
        """How an operation stands, as its clients hear it."""
        name, _, stage, reason, worker, progress, ending = view
        record = self._get(name)
        if record is None or record.ending is not None:
            return
        self._changes += 1
        if progress:
            record.progress = progress
        moments = record.moments
        _, was, why, last = moments[-1]
        if stage is not was or reason != why or worker != last:
            if len(moments) >= MOST_MOMENTS:
                del moments[MOST_MOMENTS // 2]
            moments.append(new(Moment, (now, stage, reason, worker or last)))
        if ending is not None:
            self._end(record, ending)

    def refused(self, operation: str, reason: Reason, ending: Ending, now: float) -> None:
        """The scheduler does not take it."""
        record = self._get(operation)
        if record is not None and record.ending is None:
            record.moments.append(Moment(now, Stage.COMPLETED, reason, record.last.worker))
            self._end(record, ending)

    def _end(self, record: Record, ending: Ending) -> None:
        self._changes += 1
        record.ending = ending
        if ending.response and ending.response is not self._last_response:
            self._last_response = ending.response  # operations that shared a run have one
            self.ended(ending.response)
        self._operations.grown(len(ending.response))

    def _get(self, operation: str) -> Record | None:
        return self._operations.get(operation)

    def _add(self, record: Record | Hit) -> None:
        self._changes += 1
        self._operations.add(record)

    # ---- what is asked

    def hit_names(self) -> Iterator[tuple[float, str]]:
        """Of those that the action cache answered, with when they were asked for."""
        for one in self._operations.newest():
            if isinstance(one, Hit) or (one.cached and not one.deleted):
                yield one.at, one.operation

    def hit_view(self, operation: str) -> OperationView | None:
        """How clients see one that the action cache answered, as long as it is known."""
        record = self._operations.glance(operation)
        if record is None or not record.cached or record.deleted:
            return None
        return OperationView(
            operation, record.key, Stage.COMPLETED, record.last.reason, ending=record.ending
        )

    def delete_hit(self, operation: str) -> None:
        """Clients will not find it any more; people do."""
        record = self._get(operation)
        if record is not None and record.cached:
            record.deleted = True

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
            "worker": record.last.worker,
        }
        return {name: value for name, value in found.items() if value}

    def operations(self) -> Iterator[Record]:
        """The newest first."""
        return map(self._operations.whole, self._operations.newest())

    def newest(
        self, invocation: str = "", target: str = "", key: ActionKey | None = None
    ) -> Iterator[Record]:
        """Also what was looked up. Of that, as far as it is easy to tell, only what is of an
        invocation, and of a target or an action; the operations are all of them."""
        self.lookups.catch_up()
        if not len(self._found):
            return self.operations()
        found = self._found.newest(invocation, target, key)
        return merge(self.operations(), found, key=lambda record: -record.at)

    def looked_up(self) -> Iterator[tuple[str, Found, int]]:
        """What each invocation found by look-ups, in times of trio's, and how many of these have
        rows."""
        every = self.lookups.found()
        rows, offset_s = self._found.counts(), _offset_s()
        for id_, one in every.items():
            first_s, last_s = one.first_s + offset_s, one.last_s + offset_s
            yield id_, replace(one, first_s=first_s, last_s=last_s), rows[id_]

    def _sure(self, operation: str) -> Record:
        found = self._get(operation) or self._found.get(operation)
        assert found is not None
        return found

    def before(self, record: Record) -> Iterator[Record]:
        """Those asked for earlier than this one, the newest first."""
        found = False
        for other in self.newest("", record.spec.client.target, record.key):
            if found:
                yield other
            found = found or other is record

    def find(self, id_: str) -> Record:
        """By a name, its end, or the beginning of an operation's or of an action's hash.

        Raises NotFoundError; InvalidArgumentError for one that is too short or means several.
        """
        self.lookups.catch_up()
        found = self._get(id_) or self._found.get(id_)
        if found is not None:
            return found
        every = [*self._operations.newest()]
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
        for key, name in self._found.of_action(id_).items():
            actions.setdefault(key, name)
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


def _offset_s() -> float:
    """From the clock of look-ups, which is the cheapest, to trio's."""
    return trio.current_time() - time.perf_counter()


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]
