"""A coordinator's services over a real connection, with workers that a test moves by hand."""

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from builder.base.digest import Digest, digest_of
from builder.net.channel import Channel
from builder.net.rpc import ClientCall
from builder.reapi.digests import to_proto
from builder.reapi.pb import control_pb2, operations_pb2, workers_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.schedule import events
from builder.schedule.machine import Machine
from builder.schedule.platform import Offer
from builder.schedule.policy import Policy
from builder.server.admission import Admission, Timeouts
from builder.server.bytestream import ByteStreamService
from builder.server.control import Around, ControlService
from builder.server.execution import CacheFigures, ExecutionService, ExecutionStores
from builder.server.instances import Instances
from builder.server.journal import FileJournal
from builder.server.live_output import LiveOutput
from builder.server.logs import Logs
from builder.server.logstreams import LogStreams
from builder.server.operations import OperationsService
from builder.server.scheduler import Scheduler
from builder.server.uploads import Uploads
from builder.server.workers import WorkersService
from builder.stores.action_cache import CheckedActionCache
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from tests.net.echo import serving

MIB = 1024 * 1024
LINUX = {"OSFamily": "linux", "ISA": "x86-64", "Pool": "default"}
EXECUTION = "/build.bazel.remote.execution.v2.Execution/"
OPERATIONS = "/google.longrunning.Operations/"
WALL_NS = 1_700_000_000_000_000_000


@dataclass
class Farm:
    """What a test may look at and talk to."""

    address: str
    channel: Channel
    blobs: MemoryBlobStore
    cache: CheckedActionCache
    machine: Machine
    scheduler: Scheduler
    joined: list[str]

    async def put(self, data: bytes) -> Digest:
        await self.blobs.put(digest_of(data), data)
        return digest_of(data)

    async def put_action(
        self,
        *arguments: str,
        platform: Mapping[str, str] | None = None,
        do_not_cache: bool = False,
        timeout_s: int = 0,
    ) -> Digest:
        command = pb.Command(arguments=arguments or ("true",), output_paths=["out"])
        root = await self.put(pb.Directory().SerializeToString())
        action = pb.Action(
            command_digest=to_proto(await self.put(command.SerializeToString())),
            input_root_digest=to_proto(root),
            do_not_cache=do_not_cache,
        )
        for name, value in sorted((LINUX if platform is None else platform).items()):
            action.platform.properties.add(name=name, value=value)
        if timeout_s:
            action.timeout.FromSeconds(timeout_s)
        return await self.put(action.SerializeToString())

    @asynccontextmanager
    async def execute(
        self, action: Digest, headers: Mapping[str, str] | None = None, **fields: object
    ) -> AsyncIterator["Stream"]:
        request = pb.ExecuteRequest(action_digest=to_proto(action), **fields)
        async with self._stream("Execute", request.SerializeToString(), headers) as stream:
            yield stream

    @asynccontextmanager
    async def wait_execution(self, name: str) -> AsyncIterator["Stream"]:
        request = pb.WaitExecutionRequest(name=name).SerializeToString()
        async with self._stream("WaitExecution", request) as stream:
            yield stream

    @asynccontextmanager
    async def _stream(
        self, method: str, request: bytes, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator["Stream"]:
        async with self.channel.stream(EXECUTION + method, metadata=headers or {}) as call:
            await call.send(request)
            await call.done_sending()
            yield Stream(call)

    async def operations(self, method: str, request: object) -> bytes:
        return await self.channel.unary(OPERATIONS + method, request.SerializeToString())

    async def status(self, details: bool = True) -> control_pb2.Status:
        request = control_pb2.GetStatusRequest(details=details).SerializeToString()
        answer = await self.channel.unary("/builder.control.Control/GetStatus", request)
        return control_pb2.Status.FromString(answer)

    @asynccontextmanager
    async def worker(
        self,
        name: str = "w1",
        slots: int = 1,
        platform: Mapping[str, str] = LINUX,
        running: tuple[str, ...] = (),
        token: str = "",
        pid: int = 1,
    ) -> AsyncIterator["HandWorker"]:
        hello = workers_pb2.Hello(
            worker_name=name,
            slots=slots,
            join_token=token,
            running_lease_ids=running,
            backend="hand",
            host="here",
            pid=pid,
        )
        for key, value in sorted(platform.items()):
            hello.platform.properties.add(name=key, value=value)
        async with self.channel.stream("/builder.workers.Workers/Connect") as call:
            await call.send(workers_pb2.FromWorker(hello=hello).SerializeToString())
            worker = HandWorker(call)
            worker.welcome = (await worker.take("welcome")).welcome
            yield worker


class Stream:
    """A client's view of one Execute or WaitExecution."""

    def __init__(self, call: ClientCall) -> None:
        self.call = call

    async def next(self) -> operations_pb2.Operation:
        data = await self.call.receive()
        assert data is not None, "the stream ended"
        return operations_pb2.Operation.FromString(data)

    async def result(self) -> pb.ExecuteResponse:
        """The response of the last operation; the stream ends after it."""
        while not (operation := await self.next()).done:
            assert not operation.HasField("response")
        assert not operation.HasField("error")
        assert await self.call.receive() is None
        return response_of(operation)


def response_of(operation: operations_pb2.Operation) -> pb.ExecuteResponse:
    response = pb.ExecuteResponse()
    assert operation.response.Unpack(response)
    return response


def metadata_of(operation: operations_pb2.Operation) -> pb.ExecuteOperationMetadata:
    metadata = pb.ExecuteOperationMetadata()
    assert operation.metadata.Unpack(metadata)
    return metadata


class HandWorker:
    """A worker that does what the test says. Messages of another kind wait for their turn."""

    def __init__(self, call: ClientCall) -> None:
        self.call = call
        self.welcome = workers_pb2.Welcome()
        self._mail: list[workers_pb2.ToWorker] = []
        self._taken: set[str] = set()

    async def granted(self) -> workers_pb2.LeaseGranted:
        return (await self.take("granted")).granted

    async def cancelled(self) -> workers_pb2.LeaseCancelled:
        return (await self.take("cancelled")).cancelled

    async def say(self, **message: object) -> None:
        await self.call.send(workers_pb2.FromWorker(**message).SerializeToString())

    async def finish(self, lease: str, response: pb.ExecuteResponse | None = None) -> None:
        """Report a result and have it acknowledged."""
        if response is None:
            response = pb.ExecuteResponse(result=pb.ActionResult(exit_code=0))
            response.result.execution_metadata.worker = "w1"
        await self.say(finished=workers_pb2.LeaseFinished(lease_id=lease, response=response))
        await self.acknowledged(lease)

    async def acknowledged(self, lease: str) -> None:
        """Wait until the coordinator has taken the result."""
        while lease not in self._taken:
            self._mail.append(await self._next())

    async def give_back(self, lease: str, reason: str) -> None:
        await self.say(returned=workers_pb2.LeaseReturned(lease_id=lease, reason=reason))

    async def heartbeat(self, *running: str) -> None:
        await self.say(heartbeat=workers_pb2.Heartbeat(running_lease_ids=running))

    async def take(self, kind: str) -> workers_pb2.ToWorker:
        for message in self._mail:
            if message.WhichOneof("kind") == kind:
                self._mail.remove(message)
                return message
        while True:
            message = await self._next()
            if message.WhichOneof("kind") == kind:
                return message
            self._mail.append(message)

    async def _next(self) -> workers_pb2.ToWorker:
        data = await self.call.receive()
        assert data is not None, "the stream ended"
        message = workers_pb2.ToWorker.FromString(data)
        self._taken.update(message.acknowledged.lease_ids)
        return message


NUMBERS = itertools.count(1)


@asynccontextmanager
async def farming(
    policy: Policy | None = None,
    pools: tuple[Offer, ...] = (Offer.of("default", LINUX.items()),),
    join_token: str = "",
    journal: FileJournal | None = None,
    blobs: MemoryBlobStore | None = None,
    patience_s: float = 60,
) -> AsyncIterator[Farm]:
    """The services on a free port; nothing runs for longer than `patience_s`."""
    blobs = blobs or MemoryBlobStore(64 * MIB)
    cache = CheckedActionCache(blobs, MemoryRecords(MIB), now=lambda: WALL_NS / 1e9)
    machine = Machine(policy, pools)
    joined: list[str] = []
    scheduler = Scheduler(machine, cache, lambda: f"id{next(NUMBERS)}", joined.append, journal)
    if journal is not None:
        scheduler.post(events.OperationsRestored(journal.load()))
    figures = CacheFigures()
    live = LiveOutput(scheduler, lambda _: blobs, lambda: f"question{next(NUMBERS)}")
    logs = Logs(LogStreams(lambda: f"log{next(NUMBERS)}"), live)
    services = (
        ExecutionService(
            scheduler,
            ExecutionStores(blobs, cache, Instances()),
            Admission(blobs, Timeouts(60.0, 600.0)),
            lambda: WALL_NS,
            figures=figures,
        ).service(),
        OperationsService(scheduler).service(),
        ByteStreamService(blobs, Uploads(blobs), Instances(), logs=logs).service(),
        WorkersService(scheduler, join_token, live.answer).service(),
        ControlService(
            scheduler,
            figures,
            Around("0.0", lambda: WALL_NS, kept=cache.about),
            lambda _: blobs,
        ).service(),
    )
    with trio.fail_after(patience_s):
        async with trio.open_nursery() as nursery:
            await nursery.start(scheduler.run)
            async with serving(*services) as server, Channel(server.addresses[0]) as channel:
                address = server.addresses[0]
                yield Farm(address, channel, blobs, cache, machine, scheduler, joined)
            nursery.cancel_scope.cancel()
    machine.check()
