"""Logs that a foreign client writes while another reads; and outputs of actions that run."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from builder.base.digest import digest_of
from builder.base.errors import NotFoundError, OutOfRangeError
from builder.reapi.digests import to_proto
from builder.reapi.pb import bytestream_pb2 as bs
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.server import logstreams
from builder.server.bytestream import ByteStreamService
from builder.server.instances import Instances
from builder.server.logs import Logs
from builder.server.logstreams import LogStreams
from builder.server.uploads import Uploads
from builder.stores.memory import MemoryBlobStore
from tests.server.conftest import Start, ask, refused
from tests.server.farm import Farm, farming, metadata_of

MIB = 1024 * 1024
READ = "/google.bytestream.ByteStream/Read"


class Client:
    def __init__(self, f: SimpleNamespace, channel: Any) -> None:
        self.f = f
        self.logs = f.logstream_grpc.LogStreamServiceStub(channel)
        self.bs = f.bs_grpc.ByteStreamStub(channel)

    async def create(self, parent: str = "") -> Any:
        request = self.f.logstream.CreateLogStreamRequest(parent=parent)
        return await ask(self.logs.CreateLogStream, request)

    async def write(self, name: str, data: bytes, offset: int = 0, finish: bool = False) -> int:
        request = self.f.bs.WriteRequest(
            resource_name=name, data=data, write_offset=offset, finish_write=finish
        )
        return int((await ask(self.bs.Write, iter([request]))).committed_size)

    async def read(self, name: str, offset: int = 0, limit: int = 0) -> bytes:
        request = self.f.bs.ReadRequest(resource_name=name, read_offset=offset, read_limit=limit)
        return b"".join(piece.data for piece in await ask(self.bs.Read, request))


@pytest.fixture
async def client(start: Start, foreign: SimpleNamespace) -> Client:
    numbers = itertools.count(1)
    blobs, streams = MemoryBlobStore(MIB), LogStreams(lambda: f"id-{next(numbers)}")
    logs = Logs(streams)
    bytestream = ByteStreamService(blobs, Uploads(blobs), Instances(), logs=logs)
    return Client(foreign, await start(streams.service(), bytestream.service()))


async def test_a_log_is_read_while_it_is_written(client: Client) -> None:
    """A reader gets what is there, waits for more, and ends when the log is finished."""
    log = await client.create("builds/7")
    assert log.name == "builds/7/logstreams/id-1"
    assert log.write_resource_name != log.name
    assert await client.write(log.write_resource_name, b"one ") == 4
    request = client.f.bs.ReadRequest(resource_name=log.name)
    stream = client.bs.Read(request, timeout=60)
    assert (await trio.to_thread.run_sync(next, stream)).data == b"one "
    assert await client.write(log.write_resource_name, b"two", 4, finish=True) == 7
    rest = await trio.to_thread.run_sync(list, stream)
    assert b"".join(piece.data for piece in rest) == b"two"
    assert await client.read(log.name) == b"one two"
    assert await client.read(log.name, offset=4) == b"two"
    assert await client.read(log.name, offset=7) == b""
    assert await client.read(log.name, offset=2, limit=3) == b"e t"


async def test_a_writer_that_comes_back_asks_where_it_was(client: Client) -> None:
    """QueryWriteStatus tells; another offset is refused, and so is more after the end."""
    log = await client.create()
    name = log.write_resource_name
    await client.write(name, b"abc")
    query = client.f.bs.QueryWriteStatusRequest(resource_name=name)
    status = await ask(client.bs.QueryWriteStatus, query)
    assert (status.committed_size, status.complete) == (3, False)
    wrong = client.f.bs.WriteRequest(resource_name=name, data=b"x", write_offset=2)
    code, said = await refused(client.bs.Write, iter([wrong]))
    assert code == "INVALID_ARGUMENT"
    assert "3 bytes" in said
    await client.write(name, b"", 3, finish=True)
    status = await ask(client.bs.QueryWriteStatus, query)
    assert (status.committed_size, status.complete) == (3, True)
    late = client.f.bs.WriteRequest(resource_name=name, data=b"x", write_offset=3)
    assert (await refused(client.bs.Write, iter([late])))[0] == "INVALID_ARGUMENT"
    beyond = client.f.bs.ReadRequest(resource_name=log.name, read_offset=4)
    assert (await refused(client.bs.Read, beyond))[0] == "OUT_OF_RANGE"


async def test_only_the_writers_name_writes(client: Client) -> None:
    """And names that nobody was given are NOT_FOUND, to read and to write."""
    log = await client.create()
    for name in (log.name, "logstreams/none"):
        write = client.f.bs.WriteRequest(resource_name=name, data=b"x", finish_write=True)
        assert (await refused(client.bs.Write, iter([write])))[0] == "NOT_FOUND"
    read = client.f.bs.ReadRequest(resource_name="logstreams/none")
    assert (await refused(client.bs.Read, read))[0] == "NOT_FOUND"


async def test_logs_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """In size each; in number all: the oldest finished one is forgotten first."""
    monkeypatch.setattr(logstreams, "MOST_LOG_BYTES", 10)
    monkeypatch.setattr(logstreams, "MOST_LOGS", 2)
    first, second = await client.create(), await client.create()
    large = client.f.bs.WriteRequest(resource_name=first.write_resource_name, data=b"x" * 11)
    assert (await refused(client.bs.Write, iter([large])))[0] == "RESOURCE_EXHAUSTED"
    await client.write(second.write_resource_name, b"done", finish=True)
    await client.create()
    read = client.f.bs.ReadRequest(resource_name=second.name)
    assert (await refused(client.bs.Read, read))[0] == "NOT_FOUND"
    await client.write(first.write_resource_name, b"here", finish=True)
    assert await client.read(first.name) == b"here"


async def read_on(farm: Farm, name: str, got: list[bytes], offset: int = 0) -> None:
    request = bs.ReadRequest(resource_name=name, read_offset=offset)
    async with farm.channel.stream(READ) as call:
        await call.send(request.SerializeToString())
        await call.done_sending()
        while (data := await call.receive()) is not None:
            got.append(bs.ReadResponse.FromString(data).data)


async def test_output_of_an_action_that_runs() -> None:
    """The worker is asked only when somebody reads; the end comes from the result."""
    with trio.fail_after(60):
        async with farming() as here, here.worker() as worker, trio.open_nursery() as nursery:
            async with here.execute(await here.put_action()) as stream:
                lease = await worker.granted()
                await worker.say(progress=workers_pb2.LeaseProgress(lease_id=lease.lease_id))
                while not (name := metadata_of(await stream.next()).stdout_stream_name):
                    pass
                assert name.endswith("/logstreams/stdout")
                got: list[bytes] = []
                ended = trio.Event()

                async def reader() -> None:
                    await read_on(here, name, got)
                    ended.set()

                nursery.start_soon(reader)
                wanted = (await worker.take("output_wanted")).output_wanted
                assert (wanted.lease_id, wanted.offset, wanted.stderr) == (lease.lease_id, 0, False)
                await worker.say(output=workers_pb2.Output(request_id="old", data=b"no"))
                answer = workers_pb2.Output(request_id=wanted.request_id, data=b"one ")
                await worker.say(output=answer)
                again = (await worker.take("output_wanted")).output_wanted
                assert again.offset == 4
                await worker.say(output=workers_pb2.Output(request_id=again.request_id))
                more = (await worker.take("output_wanted")).output_wanted
                assert more.offset == 4
                end = workers_pb2.Output(request_id=more.request_id, ended=True)
                await worker.say(output=end)
                response = pb.ExecuteResponse(result=pb.ActionResult(stdout_raw=b"one two"))
                response.result.execution_metadata.worker = "w1"
                await worker.finish(lease.lease_id, response)
                await ended.wait()
                assert b"".join(got) == b"one two"
                late: list[bytes] = []
                await read_on(here, name, late, offset=4)
                assert late == [b"two"]


async def test_output_of_a_large_result_and_of_no_operation() -> None:
    """What was too large for the result comes from the storage; unknown names are NOT_FOUND."""
    with trio.fail_after(60):
        async with farming() as here, here.worker() as worker:
            async with here.execute(await here.put_action()) as stream:
                lease = await worker.granted()
                data = b"large" * 1000
                await here.blobs.put(digest_of(data), data)
                response = pb.ExecuteResponse()
                response.result.stderr_digest.CopyFrom(to_proto(digest_of(data)))
                response.result.execution_metadata.worker = "w1"
                await worker.finish(lease.lease_id, response)
                while not (operation := await stream.next()).done:
                    pass
            told = metadata_of(operation)
            assert told.stdout_stream_name == f"{operation.name}/logstreams/stdout"
            assert told.stderr_stream_name == f"{operation.name}/logstreams/stderr"
            got: list[bytes] = []
            await read_on(here, told.stderr_stream_name, got, offset=5)
            assert b"".join(got) == data[5:]
            with pytest.raises(OutOfRangeError):
                await read_on(here, f"{operation.name}/logstreams/stdout", [], offset=1)
            with pytest.raises(NotFoundError):
                await read_on(here, "operations/none/logstreams/stdout", [])
