"""Executions on a server that breaks off, forgets and refuses; over a real connection."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio

from builder.base.digest import digest_of
from builder.base.errors import (
    BuilderError,
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    StatusError,
    UnauthenticatedError,
    UnavailableError,
)
from builder.client.executor import Ticket
from builder.client.remote import (
    AVOID,
    CANCEL,
    CAPABILITIES,
    EXECUTION,
    METADATA,
    RemoteExecutor,
    first_contact,
    served_function,
    served_priority,
)
from builder.client.retry import patient
from builder.client.upload import missing_of
from builder.net.channel import Channel
from builder.net.listeners import open_listeners
from builder.net.rpc import Call, Context, Method, Service
from builder.net.server import serve
from builder.reapi.pb import empty_pb2, error_details_pb2, operations_pb2, status_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.status import missing

ACTION = digest_of(b"action")
Script = list[operations_pb2.Operation | StatusError | str]


def running(name: str, worker: str = "") -> operations_pb2.Operation:
    operation = operations_pb2.Operation(name=name)
    metadata = pb.ExecuteOperationMetadata(stage=pb.ExecutionStage.EXECUTING)
    metadata.partial_execution_metadata.worker = worker
    operation.metadata.Pack(metadata)
    return operation


def done(name: str, exit_code: int = 0) -> operations_pb2.Operation:
    operation = running(name)
    operation.done = True
    operation.response.Pack(pb.ExecuteResponse(result=pb.ActionResult(exit_code=exit_code)))
    return operation


@dataclass
class Scripted:
    """Each call plays the next script: operations, then an error, `wait` or the stream's end."""

    scripts: list[Script]
    calls: list[str] = field(default_factory=list)
    requests: list[pb.ExecuteRequest] = field(default_factory=list)
    metadata: pb.RequestMetadata | None = None
    avoided: object = None
    cancelled: list[str] = field(default_factory=list)
    waiting: trio.Event = field(default_factory=trio.Event)
    capabilities: pb.ServerCapabilities = field(
        default_factory=lambda: pb.ServerCapabilities(
            execution_capabilities=pb.ExecutionCapabilities(exec_enabled=True)
        )
    )
    refusal: StatusError | None = None

    async def execute(self, call: Call) -> None:
        request = pb.ExecuteRequest.FromString(await call.receive() or b"")
        self.requests.append(request)
        raw = call.metadata.get(METADATA, b"")
        assert isinstance(raw, bytes)
        self.metadata = pb.RequestMetadata.FromString(raw)
        self.avoided = call.metadata.get(AVOID)
        await self._play("execute", call)

    async def wait(self, call: Call) -> None:
        request = pb.WaitExecutionRequest.FromString(await call.receive() or b"")
        await self._play(f"wait {request.name}", call)

    async def _play(self, what: str, call: Call) -> None:
        self.calls.append(what)
        for step in self.scripts.pop(0):
            if isinstance(step, StatusError):
                raise step
            if step == "wait":
                self.waiting.set()
                await trio.sleep_forever()
            elif isinstance(step, str):
                await call.send(step.encode())
            else:
                await call.send(step.SerializeToString())

    def cancel(self, data: bytes, _context: Context) -> bytes:
        self.cancelled.append(operations_pb2.CancelOperationRequest.FromString(data).name)
        return empty_pb2.Empty().SerializeToString()

    def services(self) -> list[Service]:
        def capabilities(_data: bytes, _context: Context) -> bytes:
            if self.refusal is not None:
                raise self.refusal
            return self.capabilities.SerializeToString()

        methods = (
            Method(EXECUTION + "Execute", stream=self.execute),
            Method(EXECUTION + "WaitExecution", stream=self.wait),
            Method(CANCEL, unary=self.cancel),
            Method(CAPABILITIES, unary=capabilities),
        )
        return [Service("test", methods)]


@asynccontextmanager
async def connected(scripted: Scripted) -> AsyncIterator[tuple[Channel, str]]:
    async with trio.open_nursery() as nursery:
        listeners = await open_listeners("127.0.0.1:0")
        server = await nursery.start(partial(serve, scripted.services(), listeners))
        address = server.addresses[0]
        with trio.fail_after(60):
            async with Channel(address) as channel:
                yield channel, address
        nursery.cancel_scope.cancel()


def at_once(times: int = 5) -> Iterator[float]:
    yield from [0.0] * times


async def run(
    scripted: Scripted, heard: list[str] | None = None, ticket: Ticket | None = None
) -> pb.ExecuteResponse:
    async with connected(scripted) as (channel, _):
        executor = RemoteExecutor(channel, scripted.capabilities, "main", "build-1", pauses=at_once)
        watch = (
            (lambda metadata: None)
            if heard is None
            else (lambda metadata: heard.append(metadata.worker))
        )
        try:
            return await executor.execute(ticket or Ticket(ACTION, "app"), watch)
        except StatusError as caught:
            error = caught  # raised below, outside of the nursery that would wrap it
    raise error


async def test_the_whole_way() -> None:
    """The request says everything, progress is heard, the response comes back."""
    scripted = Scripted([[running("op/1"), running("op/1", "worker-1"), done("op/1", 7)]])
    scripted.capabilities.execution_capabilities.execution_priority_capabilities.priorities.add(
        min_priority=-10, max_priority=10
    )
    heard: list[str] = []
    ticket = Ticket(ACTION, "app", priority=-100, skip_cache_lookup=True, avoid=("w1", "w2"))
    response = await run(scripted, heard, ticket)
    assert response.result.exit_code == 7
    assert heard == ["", "worker-1", ""]
    request = scripted.requests[0]
    assert request.instance_name == "main"
    assert request.action_digest.hash == ACTION.hash
    assert request.digest_function == pb.DigestFunction.SHA256
    assert request.skip_cache_lookup
    assert request.execution_policy.priority == -10
    assert scripted.metadata is not None
    assert scripted.metadata.target_id == "app"
    assert scripted.metadata.tool_invocation_id == "build-1"
    assert scripted.metadata.action_id == ACTION.hash
    assert scripted.avoided == "w1,w2"
    assert scripted.cancelled == []


@pytest.mark.parametrize("ending", [[], [UnavailableError("restarting")]])
async def test_a_broken_stream_is_taken_up_again(ending: Script) -> None:
    """An execution that has a name is not started twice."""
    scripted = Scripted([[running("op/1"), *ending], [running("op/1"), *ending], [done("op/1")]])
    await run(scripted)
    assert scripted.calls == ["execute", "wait op/1", "wait op/1"]


async def test_a_server_that_forgot_is_asked_anew() -> None:
    """NOT_FOUND from WaitExecution leads to another Execute, and its new name counts."""
    scripted = Scripted(
        [
            [running("op/1")],
            [NotFoundError("op/1 is not known")],
            [running("op/2")],
            [done("op/2")],
        ]
    )
    await run(scripted)
    assert scripted.calls == ["execute", "wait op/1", "execute", "wait op/2"]


async def test_unavailable_before_it_has_a_name() -> None:
    """Execute itself is tried again, and in the end the last error is told."""
    scripted = Scripted([[UnavailableError("busy")], [done("op/1")]])
    await run(scripted)
    assert scripted.calls == ["execute", "execute"]
    scripted = Scripted([[UnavailableError(f"busy {n}")] for n in range(10)])
    with pytest.raises(UnavailableError, match="busy 5"):
        await run(scripted)
    assert len(scripted.calls) == 6


async def test_a_server_that_never_ends_anything() -> None:
    """Streams that name an execution and break at once are not followed for ever."""
    scripted = Scripted([[running("op/1")] for _ in range(10)])
    with pytest.raises(UnavailableError, match="before the action's end"):
        await run(scripted)
    assert len(scripted.calls) == 6


@pytest.mark.parametrize("error", [InvalidArgumentError("bad"), NotFoundError("no instance")])
async def test_refusals_are_final(error: StatusError) -> None:
    """What trying again cannot help is raised at once."""
    scripted = Scripted([[error]])
    with pytest.raises(type(error), match=error.message):
        await run(scripted)


async def test_answers_that_are_none() -> None:
    """Bytes that are no Operation, an end without a response, an Operation with an error."""
    bare = operations_pb2.Operation(name="op/1", done=True)
    failed = operations_pb2.Operation(name="op/1", done=True)
    failed.error.code, failed.error.message = 3, "no"
    for step, kind in (("\xff\xff", DataLossError), (bare, DataLossError)):
        with pytest.raises(kind):
            await run(Scripted([[step]]))
    with pytest.raises(InvalidArgumentError, match="no"):
        await run(Scripted([[failed]]))


async def test_missing_blobs_are_named() -> None:
    """What the server says is missing comes through as digests."""
    lost = [digest_of(b"1"), digest_of(b"2", "blake3")]
    with pytest.raises(FailedPreconditionError) as caught:
        await run(Scripted([[missing(lost)]]))
    assert missing_of(caught.value) == lost


def test_other_preconditions_name_nothing() -> None:
    """One violation of another type, another detail or none at all: no upload would help."""
    failure = error_details_pb2.PreconditionFailure()
    failure.violations.add(type="MISSING", subject=f"blobs/{ACTION.hash}/6")
    failure.violations.add(type="INVALID", subject="platform")
    status = status_pb2.Status(code=9)
    status.details.add().Pack(failure)
    other = status_pb2.Status(code=9)
    other.details.add().Pack(error_details_pb2.RetryInfo())
    for details in (b"", b"\xff", status.SerializeToString(), other.SerializeToString()):
        assert missing_of(FailedPreconditionError("x", details)) == []


async def test_cancelling_cancels_the_execution() -> None:
    """Ctrl-C stops the action on the server at once."""
    scripted = Scripted([[running("op/1"), "wait"]])
    async with connected(scripted) as (channel, _), trio.open_nursery() as nursery:
        executor = RemoteExecutor(channel, scripted.capabilities)
        nursery.start_soon(executor.execute, Ticket(ACTION), lambda metadata: None)
        await scripted.waiting.wait()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert scripted.cancelled == ["op/1"]


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (InvalidArgumentError("instance '' is not served here"), "BUILDER_INSTANCE"),
        (UnauthenticatedError("a token is needed"), "a token is needed"),
        (PermissionDeniedError("readers cannot build"), "readers cannot build"),
    ],
)
async def test_a_coordinator_that_refuses_is_there(refusal: StatusError, says: str) -> None:
    """Nobody is told to start another one."""
    scripted = Scripted([], refusal=refusal)
    async with connected(scripted) as (channel, address):
        with pytest.raises(BuilderError) as caught:
            await first_contact(channel, address, "")
    said = str(caught.value)
    assert said.startswith(f"the coordinator at {address} refuses: {refusal.message}")
    assert said.endswith(says)
    assert "start one" not in said


async def test_first_contact() -> None:
    """A server that executes is taken; one that does not, or none at all, is told plainly."""
    scripted = Scripted([])
    async with connected(scripted) as (channel, address):
        assert (await first_contact(channel, address, "")).execution_capabilities.exec_enabled
        scripted.capabilities.execution_capabilities.exec_enabled = False
        with pytest.raises(BuilderError, match="does not execute"):
            await first_contact(channel, address, "")
    async with Channel(address) as channel:
        with pytest.raises(BuilderError) as caught:
            await first_contact(channel, address, "")
    said = str(caught.value)
    assert said.startswith(f"no coordinator answers at {address}: ")
    assert "start one with 'builder serve'" in said
    assert "\n" not in said


def test_priorities_that_a_server_takes() -> None:
    """The nearest one in its ranges, and none where it announces none."""
    capabilities = pb.ServerCapabilities()
    assert served_priority(capabilities, -100) == 0
    priorities = capabilities.execution_capabilities.execution_priority_capabilities.priorities
    priorities.add(min_priority=-10, max_priority=-5)
    priorities.add(min_priority=20, max_priority=30)
    assert [served_priority(capabilities, n) for n in (-100, -7, -1, 24, 50)] == [
        -10,
        -7,
        0,
        24,
        30,
    ]


async def test_patience() -> None:
    """A call is asked again while the server is away; other errors pass at once."""
    left = [3]

    async def ask() -> str:
        await trio.lowlevel.checkpoint()
        if left[0]:
            left[0] -= 1
            raise UnavailableError("away")
        return "here"

    assert await patient(ask, at_once) == "here"
    left[0] = 100
    with pytest.raises(UnavailableError):
        await patient(ask, at_once)
    assert left[0] == 94


@pytest.mark.parametrize(
    ("announced", "chosen"),
    [
        ([pb.DigestFunction.BLAKE3, pb.DigestFunction.SHA256], "sha256"),
        ([pb.DigestFunction.VSO, pb.DigestFunction.BLAKE3, pb.DigestFunction.SHA1], "blake3"),
    ],
)
def test_the_digest_function_is_one_that_the_server_has(
    announced: list[pb.DigestFunction.Value], chosen: str
) -> None:
    """SHA-256 where it is served, else the first that is known here."""
    cache = pb.CacheCapabilities(digest_functions=announced)
    assert served_function(pb.ServerCapabilities(cache_capabilities=cache)) == chosen


def test_a_server_with_no_digest_function_that_is_known_here() -> None:
    """An error that lists what it has and what it should have."""
    cache = pb.CacheCapabilities(digest_functions=[pb.DigestFunction.VSO])
    with pytest.raises(BuilderError, match=r"\(vso\).*sha256"):
        served_function(pb.ServerCapabilities(cache_capabilities=cache))
