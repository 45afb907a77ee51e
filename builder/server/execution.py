"""build.bazel.remote.execution.v2.Execution: Execute and WaitExecution.

Execute looks into the action cache first; a hit is one Operation, ended already. Otherwise the
action is checked, goes to the scheduler, and the client hears of each change of its stage. What is
wrong with the request is the call's status; how the action went is inside the last Operation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError
from builder.net.rpc import Call, Method, Service
from builder.reapi.digests import DEFAULT_FUNCTIONS, from_proto, function_of
from builder.reapi.pb import operations_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.schedule.spec import ActionKey, ActionSpec
from builder.server.admission import Admission, request_metadata
from builder.server.inlining import Hints, inlined
from builder.server.instances import Instances
from builder.server.messages import bytes_field, only
from builder.server.operation_messages import finished_message, operation_message
from builder.server.scheduler import Scheduler, Watcher
from builder.server.specs import client_of
from builder.stores.interface import ActionCache, BlobStore, InlineActionCache

NAME = "build.bazel.remote.execution.v2.Execution"
RESULT = pb.ExecuteResponse.DESCRIPTOR.fields_by_name["result"].number
HIT = pb.ExecuteResponse(cached_result=True).SerializeToString()


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


class ExecutionService:
    """`wall_ns` is the time for people; `priorities` as announced, both ends allowed."""

    def __init__(
        self,
        scheduler: Scheduler,
        stores: ExecutionStores,
        admission: Admission,
        wall_ns: Callable[[], int],
        priorities: tuple[int, int] = (-100, 100),
        figures: CacheFigures | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._stores = stores
        self._admission = admission
        self._wall_ns = wall_ns
        self._priorities = priorities
        self._figures = figures or CacheFigures()
        self._cached = 0
        cache = stores.cache
        self._at_once = cache if isinstance(cache, InlineActionCache) else None

    def service(self) -> Service:
        return Service(
            NAME,
            (
                Method(f"/{NAME}/Execute", stream=self.execute),
                Method(f"/{NAME}/WaitExecution", stream=self.wait),
            ),
        )

    async def execute(self, call: Call) -> None:
        queued_ns = self._wall_ns()
        request = await only(pb.ExecuteRequest, call)
        instance = self._stores.instances.check(request.instance_name)
        number, hash_ = request.digest_function, request.action_digest.hash
        function = function_of(number, hash_, self._stores.functions)
        digest = from_proto(request.action_digest, function)
        self._check_priority(request.execution_policy.priority)
        hints = Hints(
            request.inline_stdout, request.inline_stderr, frozenset(request.inline_output_files)
        )
        if not request.skip_cache_lookup:
            cached = await self._look_up(instance, digest, hints)
            if cached is not None:
                self._remember(cached, instance, digest, call)
                await call.send(cached.SerializeToString())
                return
        metadata = request_metadata(call.metadata)
        spec = await self._admission.admit(instance, digest, request, metadata, queued_ns)
        await self._follow(self._scheduler.submit(instance, spec), call, hints)

    async def wait(self, call: Call) -> None:
        request = await only(pb.WaitExecutionRequest, call)
        await self._follow(self._scheduler.attach(request.name), call, Hints())

    async def _look_up(
        self, instance: str, digest: Digest, hints: Hints
    ) -> operations_pb2.Operation | None:
        data = None if self._at_once is None else self._at_once.peek(instance, digest)
        if data is None or any(hints):
            result = await self._stores.cache.lookup(instance, digest)
            if result is None:
                self._figures.missed_by_execute += 1
                return None
            await inlined(self._stores.blobs, result, hints, digest.function)
            data = result.SerializeToString()
        self._figures.hits += 1
        self._cached += 1
        prefix = f"{instance}/" if instance else ""
        name = f"{prefix}operations/cached-{self._cached}"
        return finished_message(name, digest, b"".join((bytes_field(RESULT, len(data)), data, HIT)))

    def _remember(
        self, cached: operations_pb2.Operation, instance: str, digest: Digest, call: Call
    ) -> None:
        """A hit, for those who look at the client's build."""
        key = ActionKey(instance, digest.function, digest.hash, digest.size_bytes)
        spec = ActionSpec(key, client=client_of(request_metadata(call.metadata)))
        history = self._scheduler.history
        history.hit(cached.name, spec, cached.response.value, trio.current_time())

    async def _follow(self, watcher: Watcher, call: Call, hints: Hints) -> None:
        """Tell the client of the operation until it has ended."""
        try:
            while True:
                view = await watcher.next()
                message = operation_message(view)
                if message.done and any(hints):
                    await self._inline(message, hints, view.key.function)
                await call.send(message.SerializeToString())
                if message.done:
                    return
        finally:
            self._scheduler.leave(watcher)

    async def _inline(self, message: operations_pb2.Operation, hints: Hints, function: str) -> None:
        response = pb.ExecuteResponse.FromString(message.response.value)
        await inlined(self._stores.blobs, response.result, hints, function)
        message.response.value = response.SerializeToString()

    def _check_priority(self, priority: int) -> None:
        low, high = self._priorities
        if not low <= priority <= high:
            raise InvalidArgumentError(
                f"priority {priority} is out of range: {low} (soonest) to {high}"
            )
