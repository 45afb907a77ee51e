"""The part of the Control service that is about single actions."""

from collections.abc import Callable, Iterator, Sequence
from heapq import nlargest
from itertools import islice

import trio

from builder.base.errors import FailedPreconditionError, InvalidArgumentError
from builder.builds.tally import BAD, Tally
from builder.net.rpc import Context, Method
from builder.reapi.pb import control_pb2 as pb
from builder.schedule.events import CancelRequested
from builder.server.explaining import Explainer
from builder.server.inspection import Readers, fill
from builder.server.kept import About, kept_sentence, unknown
from builder.server.messages import parse
from builder.server.operation_messages import digest_of_key
from builder.server.scheduler import Scheduler
from builder.server.shelf import Record
from builder.server.summaries import moments, outcome_of, started_at, summary
from builder.stores.interface import BlobsOf

PAGE = 100
MOST_PAGE = 10_000
WAIT_S = 60.0
LOOK_EVERY_S = 0.1  # for the end of an action, without counting as one of its clients


class Actions:
    """Lists, shows, cancels and explains what the scheduler's history knows."""

    def __init__(
        self,
        scheduler: Scheduler,
        blobs_of: BlobsOf,
        wall_ns: Callable[[], int],
        about: About = unknown,
    ) -> None:
        self._about = about
        self._wall_ns = wall_ns
        self._scheduler = scheduler
        self._history = scheduler.history
        self._readers = Readers(blobs_of)
        self._explainer = Explainer(self._history, self._readers)
        self._offset_ns = wall_ns() - round(trio.current_time() * 1e9)

    def methods(self, service: str) -> tuple[Method, ...]:
        return (
            Method(f"/{service}/ListActions", unary=self._list),
            Method(f"/{service}/GetAction", unary=self._get),
            Method(f"/{service}/CancelAction", unary=self._cancel),
            Method(f"/{service}/ExplainMiss", unary=self._explain),
        )

    def list(self, request: pb.ListActionsRequest) -> pb.ListActionsResponse:
        """The newest first. Raises InvalidArgumentError for a negative limit or skip."""
        for name in ("limit", "skip"):
            if (value := getattr(request, name)) < 0:
                raise InvalidArgumentError(f"{name} is {value}; 0 or more is right")
        limit = min(request.limit or PAGE, MOST_PAGE)
        ran = request.ran or request.failures or request.slowest or bool(request.worker)
        newest = (
            self._history.operations()
            if ran
            else self._history.newest(request.invocation, request.target)
        )
        found: Iterator[Record] = filter(_wanted(request), newest)
        if request.slowest:
            found = iter(nlargest(request.skip + limit + 1, found, key=_ran_s))
        page = list(islice(found, request.skip, request.skip + limit + 1))
        return pb.ListActionsResponse(
            actions=[summary(one, self._offset_ns) for one in page[:limit]], more=len(page) > limit
        )

    def tallies(self, invocation: str = "") -> Sequence[Tally]:
        """Of all invocations that are known, or of one; the newest first. Reads no result."""
        found: dict[str, Tally] = {}
        offset_s = self._offset_ns / 1e9
        for one in self._history.operations():
            client = one.spec.client
            if not client.invocation or invocation not in ("", client.invocation):
                continue
            tally = found.get(client.invocation)
            if tally is None:
                tally = found[client.invocation] = Tally(client.invocation, client.tool)
            tally.add(outcome_of(one), client.target, one.at + offset_s, one.last.at + offset_s)
        for id_, hits, rows in self._history.looked_up():
            if invocation in ("", id_):
                found.setdefault(id_, Tally(id_)).add_lookups(hits, rows, offset_s)
        return sorted(found.values(), key=lambda one: -one.started_s)

    async def get(self, request: pb.GetActionRequest) -> pb.ActionDetails:
        """Raises NotFoundError, InvalidArgumentError."""
        record = self._history.find(request.id)
        if request.wait:
            with trio.move_on_after(WAIT_S):
                while record.ending is None:  # noqa: ASYNC110 - an event for each would cost all
                    await trio.sleep(LOOK_EVERY_S)
        details = pb.ActionDetails(
            summary=summary(record, self._offset_ns), timeline=moments(record, self._offset_ns)
        )
        await fill(self._readers.of(record), record, details)
        entry = await self._about(record.key.instance, digest_of_key(record.key))
        if entry is not None:
            details.kept = kept_sentence(entry, self._wall_ns() / 1e9)
        return details

    def cancel(self, id_: str) -> pb.Action:
        """Raises NotFoundError, InvalidArgumentError, FailedPreconditionError."""
        record = self._history.find(id_)
        if record.ending is not None:
            raise FailedPreconditionError(
                f"{record.operation} has ended already: {record.last.reason.sentence}"
            )
        self._scheduler.post(CancelRequested(record.operation, "an operator"))
        return summary(record, self._offset_ns)

    async def explain(self, id_: str) -> pb.MissExplanation:
        """Raises NotFoundError, InvalidArgumentError."""
        record = self._history.find(id_)
        answer, earlier = await self._explainer.explain(record)
        answer.action.CopyFrom(summary(record, self._offset_ns))
        if earlier is not None:
            answer.earlier.CopyFrom(summary(earlier, self._offset_ns))
        return answer

    # ---- over the wire

    def _list(self, data: bytes, _context: Context) -> bytes:
        return self.list(parse(pb.ListActionsRequest, data)).SerializeToString()

    async def _get(self, data: bytes, _context: Context) -> bytes:
        return (await self.get(parse(pb.GetActionRequest, data))).SerializeToString()

    def _cancel(self, data: bytes, _context: Context) -> bytes:
        return self.cancel(parse(pb.CancelActionRequest, data).id).SerializeToString()

    async def _explain(self, data: bytes, _context: Context) -> bytes:
        return (await self.explain(parse(pb.ExplainMissRequest, data).id)).SerializeToString()


def _wanted(request: pb.ListActionsRequest) -> Callable[[Record], bool]:
    """A question that is asked of twenty thousand records: the request is read once."""
    invocation, target, worker = request.invocation, request.target, request.worker
    failures, ran = request.failures, request.ran

    def asked_for(record: Record) -> bool:
        client = record.spec.client
        if (invocation and client.invocation != invocation) or (target and client.target != target):
            return False
        if worker and all(one.worker != worker for one in record.moments):
            return False
        return not (ran and record.cached) and (not failures or outcome_of(record) in BAD)

    return asked_for


def _ran_s(record: Record) -> float:
    """On its worker; 0 while it has not ended."""
    if record.ending is None or record.cached:
        return 0.0
    started = started_at(record)
    return 0.0 if started is None else record.last.at - started
