"""What a running action has written to stdout and stderr so far, by ByteStream.Read.

    {operation}/logstreams/stdout    {operation}/logstreams/stderr

Theory of operation. Nothing is sent unless somebody reads. Then the coordinator asks the worker
for what follows an offset, and the worker answers when there is something, when the action has
ended, or after a while with nothing; then the coordinator asks again. So one piece at a time is on
its way for each reader, a slow reader slows nobody, and no state has to be kept on the worker. An
action that waits is waited for; one that is lost is followed to its next worker, from the same
offset; one that has ended is read from its result, as long as the operation is known.
"""

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import trio

from builder.base.digest import Digest
from builder.base.errors import OutOfRangeError
from builder.reapi.digests import from_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.schedule.operation import OperationView
from builder.server.operation_messages import LOGS, response_of
from builder.server.scheduler import Scheduler
from builder.server.watching import WantOutput, Watcher
from builder.stores.interface import BlobsOf

NAME = re.compile(rf"((?:.+/)?operations/[^/]+)/{LOGS}/(stdout|stderr)")
PATIENCE_S = 40.0  # for one answer; workers answer within 20 s whatever happens


@dataclass(slots=True)
class _Question:
    answered: trio.Event = field(default_factory=trio.Event)
    data: bytes = b""
    ended: bool = False


class LiveOutput:
    """Readers of outputs; `new_id` gives ids that are never given twice."""

    def __init__(self, scheduler: Scheduler, blobs_of: BlobsOf, new_id: Callable[[], str]) -> None:
        self._scheduler = scheduler
        self._blobs_of = blobs_of
        self._new_id = new_id
        self._questions: dict[str, _Question] = {}

    def is_name(self, name: str) -> bool:
        return NAME.fullmatch(name) is not None

    def answer(self, output: workers_pb2.Output) -> None:
        """A worker's answer; one that came too late is of no use."""
        question = self._questions.get(output.request_id)
        if question is not None:
            question.data, question.ended = output.data, output.ended
            question.answered.set()

    async def read(self, name: str, offset: int) -> AsyncGenerator[bytes, None]:
        """From `offset` to the action's end. Raises NotFoundError, OutOfRangeError."""
        match = NAME.fullmatch(name)
        assert match is not None, name
        operation, stream = match[1], match[2]
        watcher = self._scheduler.attach(operation)
        at = offset
        try:
            view = await watcher.next()
            over = None  # the lease that has said its last word
            while view.ending is None:
                place = self._scheduler.lease_of(operation)
                if place is None or place == over:
                    view = await watcher.next()
                    continue
                question = await self._ask(watcher, *place, stream, at)
                if question.data:
                    at += len(question.data)
                    yield question.data
                elif question.ended:
                    over = place
        finally:
            self._scheduler.leave(watcher)
        async with aclosing(self._rest(view, stream, at, offset)) as rest:
            async for piece in rest:
                yield piece

    async def _ask(
        self, watcher: Watcher, session: str, lease: str, stream: str, offset: int
    ) -> _Question:
        """What follows; nothing where no answer came, or none before the action's end."""
        question, id_ = _Question(), self._new_id()
        self._questions[id_] = question
        try:
            self._scheduler.tell(session, WantOutput(id_, lease, stream == "stderr", offset))
            async with trio.open_nursery() as nursery:
                nursery.cancel_scope.deadline = trio.current_time() + PATIENCE_S
                nursery.start_soon(_first, nursery.cancel_scope, question.answered)
                nursery.start_soon(_first, nursery.cancel_scope, watcher.over)
        finally:
            del self._questions[id_]
        return question

    async def _rest(
        self, view: OperationView, stream: str, at: int, offset: int
    ) -> AsyncGenerator[bytes, None]:
        assert view.ending is not None
        result = pb.ExecuteResponse.FromString(response_of(view.ending)).result
        raw, size, digest = _output(result, stream, view.key.function)
        if offset > size:
            raise OutOfRangeError(f"read_offset {offset} is beyond the output's {size} bytes")
        if raw[at:]:
            yield raw[at:]
        elif digest is not None and at < size:
            blobs = self._blobs_of(view.key.instance)
            async with aclosing(blobs.read(digest, at)) as pieces:
                async for piece in pieces:
                    yield piece


async def _first(race: trio.CancelScope, event: trio.Event) -> None:
    await event.wait()
    race.cancel()


def _output(
    result: pb.ActionResult, stream: str, function: str
) -> tuple[bytes, int, Digest | None]:
    if stream == "stdout":
        raw, named, there = result.stdout_raw, result.stdout_digest, "stdout_digest"
    else:
        raw, named, there = result.stderr_raw, result.stderr_digest, "stderr_digest"
    digest = from_proto(named, function) if result.HasField(there) else None
    return raw, len(raw) or named.size_bytes, digest
