"""Running actions on a coordinator: Execute, and WaitExecution when the stream breaks.

An execution belongs to the server once it has a name: a broken connection is no reason to run it
again, so the stream is taken up by WaitExecution, and only a server that no longer knows the name
is asked to execute anew. Source: REAPI v2 `Execution`, google.longrunning `Operation`.
"""

import contextlib

import trio
from google.protobuf.message import DecodeError

from builder.base.digest import HASHERS
from builder.base.errors import (
    BuilderError,
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    StatusError,
    UnauthenticatedError,
    UnavailableError,
    from_status,
)
from builder.client.executor import Ticket, Watch
from builder.client.retry import Pauses, pauses
from builder.net.rpc import Channel
from builder.reapi.digests import NAMES, NUMBERS, to_proto
from builder.reapi.pb import operations_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.telemetry.tracing import HEADER, OFF, Tracer

EXECUTION = "/build.bazel.remote.execution.v2.Execution/"
CAPABILITIES = "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"
METADATA = "build.bazel.remote.execution.v2.requestmetadata-bin"
AVOID = "builder-avoid-workers"
CANCEL = "/google.longrunning.Operations/CancelOperation"
FIRST_CONTACT_S = 5.0
GOODBYE_S = 1.0
LASTED_S = 10.0  # a stream that lasted so long was a working one


class RemoteExecutor:
    """Executions of one instance. `invocation` names this build in the server's logs."""

    def __init__(
        self,
        channel: Channel,
        capabilities: pb.ServerCapabilities,
        instance: str = "",
        invocation: str = "",
        tracer: Tracer = OFF,
        traceparent: str = "",
        pauses: Pauses = pauses,
    ) -> None:
        self._channel = channel
        self._capabilities = capabilities
        self._instance = instance
        self._invocation = invocation
        self._tracer = tracer
        self._traceparent = traceparent
        self._pauses = pauses

    async def execute(self, ticket: Ticket, watch: Watch) -> pb.ExecuteResponse:
        with self._tracer.span("action", self._traceparent, _attributes(ticket)) as span:
            follow = _Follow(watch, span.traceparent)
            return await self._to_its_end(ticket, follow)

    async def _to_its_end(self, ticket: Ticket, follow: "_Follow") -> pb.ExecuteResponse:
        waits = self._pauses()
        try:
            while True:
                began = trio.current_time()
                broken = await self._attempt(ticket, follow)
                if follow.response is not None:
                    return follow.response
                if trio.current_time() - began > LASTED_S:
                    waits = self._pauses()  # this is another breakage than the one before
                if (pause := next(waits, None)) is None:
                    raise broken
                await trio.sleep(pause)
        except trio.Cancelled:
            await self._cancel(follow.name)
            raise

    async def _attempt(self, ticket: Ticket, follow: "_Follow") -> StatusError:
        """One stream to its end; why it ended, if not with a response."""
        try:
            await self._follow(ticket, follow)
        except NotFoundError as error:
            if not follow.name:
                raise
            follow.name = ""  # the server has forgotten it: execute anew
            return error
        except UnavailableError as error:
            return error
        return UnavailableError("the server ended the stream before the action's end")

    async def _cancel(self, name: str) -> None:
        """Stop it at once; else the server would wait a while for us to come back."""
        if not name:
            return
        request = operations_pb2.CancelOperationRequest(name=name).SerializeToString()
        deadline = trio.current_time() + GOODBYE_S
        with trio.CancelScope(shield=True, deadline=deadline), contextlib.suppress(StatusError):
            await self._channel.unary(CANCEL, request)  # if it fails it finds out by itself

    async def _follow(self, ticket: Ticket, follow: "_Follow") -> None:
        method, request = "Execute", self._request(ticket).SerializeToString()
        if follow.name:
            again = pb.WaitExecutionRequest(name=follow.name)
            method, request = "WaitExecution", again.SerializeToString()
        metadata = pb.RequestMetadata(
            tool_details=pb.ToolDetails(tool_name="bldr"),
            action_id=ticket.action.hash,
            tool_invocation_id=self._invocation,
            target_id=ticket.target,
        )
        headers: dict[str, str | bytes] = {METADATA: metadata.SerializeToString()}
        if ticket.avoid:
            headers[AVOID] = ",".join(filter(str.isascii, ticket.avoid))
        if follow.traceparent:
            headers[HEADER] = follow.traceparent
        async with self._channel.stream(EXECUTION + method, metadata=headers) as call:
            await call.send(request)
            await call.done_sending()
            while follow.response is None and (message := await call.receive()) is not None:
                follow.take(message)

    def _request(self, ticket: Ticket) -> pb.ExecuteRequest:
        request = pb.ExecuteRequest(
            instance_name=self._instance,
            skip_cache_lookup=ticket.skip_cache_lookup,
            action_digest=to_proto(ticket.action),
            digest_function=NUMBERS[ticket.action.function],
        )
        if priority := served_priority(self._capabilities, ticket.priority):
            request.execution_policy.priority = priority
        return request


class _Follow:
    """What an execution's Operations have said so far."""

    def __init__(self, watch: Watch, traceparent: str) -> None:
        self._watch = watch
        self.traceparent = traceparent
        self.name = ""
        self.response: pb.ExecuteResponse | None = None

    def take(self, message: bytes) -> None:
        try:
            operation = operations_pb2.Operation.FromString(message)
        except DecodeError as error:
            raise DataLossError(f"the server sent no Operation: {error}") from error
        self.name = operation.name or self.name
        metadata = pb.ExecuteOperationMetadata()
        if operation.metadata.Unpack(metadata):
            self._watch(metadata.partial_execution_metadata)
        if not operation.done:
            return
        if operation.HasField("error"):
            raise from_status(operation.error.code, operation.error.message)
        response = pb.ExecuteResponse()
        if not operation.response.Unpack(response):
            raise DataLossError(f"operation {self.name} is done and has no ExecuteResponse")
        self.response = response


def _attributes(ticket: Ticket) -> dict[str, str | int | bool]:
    return {"builder.action": ticket.action.hash, "builder.target": ticket.target}


async def first_contact(channel: Channel, address: str, instance: str) -> pb.ServerCapabilities:
    """What the server can do. Raises BuilderError that says how to get one when none answers."""
    request = pb.GetCapabilitiesRequest(instance_name=instance).SerializeToString()
    try:
        with trio.fail_after(FIRST_CONTACT_S):
            answer = await channel.unary(CAPABILITIES, request, timeout_s=FIRST_CONTACT_S)
    except (InvalidArgumentError, PermissionDeniedError, UnauthenticatedError) as error:
        hint = ""
        if isinstance(error, InvalidArgumentError):
            hint = "; the instance is set by client.instance or BUILDER_INSTANCE"
        raise BuilderError(
            f"the coordinator at {address} refuses: {error.message}{hint}"
        ) from error
    except (StatusError, trio.TooSlowError) as error:
        said = error.message if isinstance(error, StatusError) else "no answer in 5s"
        reason = said.removeprefix(f"cannot connect to {address}: ")
        raise BuilderError(
            f"no coordinator answers at {address}: {reason}; start one with 'builder serve', "
            "name another with --coordinator HOST:PORT, or build here without --remote"
        ) from error
    capabilities = pb.ServerCapabilities.FromString(answer)
    if not capabilities.execution_capabilities.exec_enabled:
        raise BuilderError(
            f"the server at {address} stores results but does not execute; "
            "name a coordinator with --coordinator HOST:PORT, or build here without --remote"
        )
    return capabilities


def served_function(capabilities: pb.ServerCapabilities) -> str:
    """SHA-256 where it is served, else the first that we know. Raises BuilderError for none.

    What SHA-256 names is found again by every other client.
    """
    served = [NAMES.get(n, "") for n in capabilities.cache_capabilities.digest_functions]
    known = [name for name in served if name in HASHERS]
    if not known:
        raise BuilderError(
            f"the server's digest functions ({', '.join(filter(None, served)) or 'none'}) are not "
            f"known here; it has to serve one of {', '.join(HASHERS)}"
        )
    return "sha256" if "sha256" in known else known[0]


def served_priority(capabilities: pb.ServerCapabilities, wanted: int) -> int:
    """The nearest priority that the server takes; 0 is always taken."""
    ranges = capabilities.execution_capabilities.execution_priority_capabilities.priorities
    candidates = [0] + [min(max(wanted, r.min_priority), r.max_priority) for r in ranges]
    return min(candidates, key=lambda priority: abs(priority - wanted))
