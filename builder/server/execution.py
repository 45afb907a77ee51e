"""build.bazel.remote.execution.v2.Execution: Execute and WaitExecution.

Execute looks into the action cache first; a hit is one Operation, ended already, and is answered
in place if the cache can tell at once. Otherwise the action is checked, goes to the scheduler, and
the client hears of each change of its stage. What is wrong with the request is the call's status;
how the action went is inside the last Operation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import trio

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError, StatusError
from builder.net.rpc import Call, Context, Following, Method, Service, StreamHandler, Told
from builder.reapi.digests import DEFAULT_FUNCTIONS, from_proto, function_of
from builder.reapi.pb import operations_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.schedule.operation import OperationView
from builder.schedule.spec import ActionKey, ActionSpec
from builder.server.admission import METADATA_HEADER, Admission, Asked, avoided, request_metadata
from builder.server.inlining import Hints, inlined
from builder.server.instances import Instances
from builder.server.messages import only, parse
from builder.server.operation_bytes import Lasting, cached_operation, lasting_of, operation_bytes
from builder.server.operation_messages import operation_message
from builder.server.scheduler import Scheduler
from builder.server.shelf import Hit
from builder.server.watching import Watcher
from builder.stores.interface import ActionCache, BlobStore, InlineActionCache
from builder.telemetry.tracing import HEADER, OFF, Span, Tracer, parent_of, tell_queue

NAME = "build.bazel.remote.execution.v2.Execution"


@dataclass(slots=True)
class CacheFigures:
    """Look-ups of results, whoever makes them; they only grow.

    A client that asks the action cache first asks again by Execute, so both may tell of one
    miss: the larger of the two numbers is taken.
    """

    hits: int = 0
    missed_by_execute: int = 0
    missed_by_get: int = 0

    @property
    def misses(self) -> int:
        return max(self.missed_by_execute, self.missed_by_get)


@dataclass(frozen=True, slots=True)
class ExecutionStores:
    """Where actions, outputs and results lie."""

    blobs: BlobStore
    cache: ActionCache
    instances: Instances
    functions: Sequence[str] = DEFAULT_FUNCTIONS


def host_of(context: Context) -> str:
    """The address that a call came from, without its port."""
    address = context.peer.address
    return address if address.startswith("unix:") else address.rpartition(":")[0]


class ExecutionService:
    """`wall_ns` is the time for people; `priorities` as announced, both ends allowed; `who` names
    the user whose share of the farm a call takes."""

    def __init__(
        self,
        scheduler: Scheduler,
        stores: ExecutionStores,
        admission: Admission,
        wall_ns: Callable[[], int],
        priorities: tuple[int, int] = (-100, 100),
        figures: CacheFigures | None = None,
        tracer: Tracer = OFF,
        who: Callable[[Context], str] = host_of,
    ) -> None:
        self._scheduler = scheduler
        self._stores = stores
        self._admission = admission
        self._wall_ns = wall_ns
        self._priorities = priorities
        self._figures = figures or CacheFigures()
        self._tracer = tracer
        self._who = who
        cache = stores.cache
        self._at_once = cache if isinstance(cache, InlineActionCache) else None

    def service(self) -> Service:
        return Service(
            NAME,
            (
                Method(f"/{NAME}/Execute", single=self.execute),
                Method(f"/{NAME}/WaitExecution", stream=self.wait),
            ),
        )

    def execute(self, data: bytes, context: Context) -> bytes | StreamHandler | Following:
        request = parse(pb.ExecuteRequest, data)
        instance = self._stores.instances.check(request.instance_name)
        message = request.action_digest
        hash_ = message.hash
        function = function_of(request.digest_function, hash_, self._stores.functions)
        priority = request.execution_policy.priority
        in_range = self._priorities[0] <= priority <= self._priorities[1]
        if self._at_once is not None and in_range and not _asks_more(request):
            # A hit needs no more checks: these names passed them when the result was stored.
            action = Digest(hash_, message.size_bytes, function)
            result = self._at_once.peek(instance, action)
            if result is not None:
                return self._hit(instance, action, result, context)
        action = from_proto(message, function)
        if not in_range:
            raise _out_of_range(priority, self._priorities)
        queued_ns = self._wall_ns()
        if not self._tracer.on and not _wants_inline(request):
            spec = self._admitted(request, instance, action, queued_ns, context)
            if spec is not None:
                return Following(partial(self._begin, instance, spec))
        return partial(self._execute, request, instance, action, queued_ns)

    def _admitted(
        self,
        request: pb.ExecuteRequest,
        instance: str,
        action: Digest,
        queued_ns: int,
        context: Context,
    ) -> ActionSpec | None:
        """What is to be run, if nothing of it has to be waited for and no result is cached."""
        looks = not request.skip_cache_lookup
        if looks and (self._at_once is None or not self._at_once.lacks(instance, action)):
            return None
        asked = self._asked(request, instance, action, queued_ns, context)
        spec = self._admission.admit_nowait(asked)
        if looks and spec is not None:
            self._figures.missed_by_execute += 1
        return spec

    def _asked(
        self,
        request: pb.ExecuteRequest,
        instance: str,
        action: Digest,
        queued_ns: int,
        context: Context,
    ) -> Asked:
        return Asked(
            instance,
            action,
            request_metadata(context.metadata),
            queued_ns,
            request.execution_policy.priority,
            request.skip_cache_lookup,
            user=self._who(context),
            avoid=avoided(context.metadata),
        )

    def _begin(self, instance: str, spec: ActionSpec, told: Told) -> Callable[[], None]:
        ear = self._scheduler.follow(instance, spec, partial(_Client, told))
        return partial(self._scheduler.leave, ear)

    async def _execute(
        self, request: pb.ExecuteRequest, instance: str, action: Digest, queued_ns: int, call: Call
    ) -> None:
        hints = Hints(
            request.inline_stdout, request.inline_stderr, frozenset(request.inline_output_files)
        )
        if not request.skip_cache_lookup:
            result = await self._look_up(instance, action, hints)
            if result is not None:
                await call.send(self._hit(instance, action, result, call))
                return
        metadata = request_metadata(call.metadata)
        parent = parent_of(call.metadata.get(HEADER, ""), metadata.tool_invocation_id)
        with self._tracer.span("Execute", parent, _attributes(action, metadata)) as span:
            asked = self._asked(request, instance, action, queued_ns, call)
            spec = await self._admission.admit(replace(asked, traceparent=span.traceparent))
            ended = await self._follow(self._scheduler.submit(instance, spec), call, hints)
            if self._tracer.on:
                _tell(span, ended)

    async def wait(self, call: Call) -> None:
        request = await only(pb.WaitExecutionRequest, call)
        await self._follow(self._scheduler.attach(request.name), call, Hints())

    async def _look_up(self, instance: str, action: Digest, hints: Hints) -> bytes | None:
        """The serialized result, with what is wanted inline."""
        result = await self._stores.cache.lookup(instance, action)
        if result is None:
            self._figures.missed_by_execute += 1
            return None
        await inlined(self._stores.blobs, result, hints, action.function)
        return result.SerializeToString()

    def _hit(self, instance: str, action: Digest, result: bytes, context: Context) -> bytes:
        """The serialized Operation; remembered, for those who look at the client's build."""
        self._figures.hits += 1
        name = self._scheduler.history.hit_name(instance, action.hash)
        key = ActionKey(instance, action.function, action.hash, action.size_bytes)
        metadata = context.metadata.get(METADATA_HEADER, b"")
        self._scheduler.history.hit(
            Hit(
                name,
                key,
                metadata if isinstance(metadata, bytes) else b"",
                result,
                trio.current_time(),
            )
        )
        return cached_operation(name, action, result)

    async def _follow(self, watcher: Watcher, call: Call, hints: Hints) -> operations_pb2.Operation:
        """Tell the client of the operation until it has ended; how it ended."""
        try:
            while True:
                view = await watcher.next()
                message = operation_message(view)
                if message.done and any(hints):
                    await self._inline(message, hints, view.key.function)
                await call.send(message.SerializeToString())
                if message.done:
                    return message
        finally:
            self._scheduler.leave(watcher)

    async def _inline(self, message: operations_pb2.Operation, hints: Hints, function: str) -> None:
        response = pb.ExecuteResponse.FromString(message.response.value)
        await inlined(self._stores.blobs, response.result, hints, function)
        message.response.value = response.SerializeToString()


class _Client:
    """One that hears of its operation without a task of its own."""

    __slots__ = ("_last", "_lasting", "_told", "operation")

    def __init__(self, told: Told, operation: str) -> None:
        self.operation = operation
        self._told = told
        self._last: OperationView | None = None
        self._lasting: Lasting | None = None

    def tell(self, view: OperationView) -> None:
        lasting = self._lasting
        if lasting is None:
            lasting = self._lasting = lasting_of(view.name, view.key)
        if view.ending is not None:
            self._told.end(operation_bytes(view, lasting))
        elif view != self._last:
            self._last = view
            self._told.tell(operation_bytes(view, lasting))

    def refuse(self, error: StatusError) -> None:
        self._told.fail(error)

    def flush(self) -> None:
        self._told.flush()


def _asks_more(request: pb.ExecuteRequest) -> bool:
    """Than for the result as it is in the cache."""
    return request.skip_cache_lookup or _wants_inline(request)


def _wants_inline(request: pb.ExecuteRequest) -> bool:
    return bool(request.inline_stdout or request.inline_stderr or request.inline_output_files)


def _out_of_range(priority: int, allowed: tuple[int, int]) -> InvalidArgumentError:
    low, high = allowed
    return InvalidArgumentError(f"priority {priority} is out of range: {low} (soonest) to {high}")


def _attributes(digest: Digest, metadata: pb.RequestMetadata) -> dict[str, str | int | bool]:
    return {
        "builder.action": digest.hash,
        "builder.target": metadata.target_id,
        "builder.mnemonic": metadata.action_mnemonic,
        "builder.invocation": metadata.tool_invocation_id,
    }


def _tell(span: Span, ended: operations_pb2.Operation) -> None:
    """What has come of it. An action that fails is no failure of the call, but one to look at."""
    response = pb.ExecuteResponse()
    ended.response.Unpack(response)
    status = ended.error if ended.HasField("error") else response.status
    told: dict[str, str | int | bool] = {
        "builder.operation": ended.name,
        "builder.worker": response.result.execution_metadata.worker,
        "builder.exit_code": response.result.exit_code,
    }
    failure = status.message or ("failed" if status.code else "")
    span.tell(told, failure)
    tell_queue(span, response)
