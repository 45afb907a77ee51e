"""The other end of a worker's stream, played by a test: no network, no clock."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from builder.base.errors import StatusError, UnavailableError
from builder.net.rpc import Buffer, Metadata
from builder.reapi.pb import workers_pb2


class Stream:
    """One stream: what the worker said, and what the coordinator says."""

    def __init__(self) -> None:
        self._to_worker, self._incoming = trio.open_memory_channel[bytes | StatusError | None](100)
        self._outgoing, self._from_worker = trio.open_memory_channel[bytes | None](100)
        self.broken = False

    # the worker's side: net.rpc.ClientCall
    async def send(self, message: Buffer | Sequence[Buffer]) -> None:
        if self.broken:
            raise UnavailableError("connection lost")
        assert isinstance(message, bytes)
        await self._outgoing.send(message)

    async def done_sending(self) -> None:
        await self._outgoing.send(None)

    async def receive(self) -> bytes | None:
        message = await self._incoming.receive()
        if isinstance(message, StatusError):
            raise message
        return message

    # the coordinator's side
    async def heard(self) -> workers_pb2.FromWorker | None:
        """The next message that is no heartbeat; None at the end of the worker's side."""
        while (data := await self._from_worker.receive()) is not None:
            message = workers_pb2.FromWorker.FromString(data)
            if not message.HasField("heartbeat"):
                return message
        return None

    async def beat(self) -> workers_pb2.Heartbeat:
        """The next message, which has to be a heartbeat."""
        data = await self._from_worker.receive()
        message = workers_pb2.FromWorker.FromString(data or b"")
        assert message.HasField("heartbeat"), message
        return message.heartbeat

    async def say(self, **kind: object) -> None:
        message = workers_pb2.ToWorker(**kind)  # type: ignore[arg-type]
        await self._to_worker.send(message.SerializeToString())

    async def welcome(self, *unknown: str) -> workers_pb2.Hello:
        """Take the Hello and answer it."""
        first = await self.heard()
        assert first is not None
        assert first.HasField("hello")
        welcome = workers_pb2.Welcome(unknown_lease_ids=unknown)
        welcome.heartbeat_interval.FromSeconds(1)
        await self.say(welcome=welcome)
        return first.hello

    async def end(self) -> None:
        await self._to_worker.send(None)

    async def cut(self) -> None:
        self.broken = True
        await self._to_worker.send(UnavailableError("connection lost"))


class Coordinator:
    """`net.rpc.Channel` whose streams the test gets one after another."""

    def __init__(self) -> None:
        self._opened, self._streams = trio.open_memory_channel[Stream](10)

    async def next_stream(self) -> Stream:
        return await self._streams.receive()

    async def unary(
        self,
        path: str,
        request: Buffer,
        *,
        metadata: Metadata | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        raise UnavailableError("this coordinator serves streams only")

    @asynccontextmanager
    async def stream(
        self, path: str, *, metadata: Metadata | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[Stream]:
        assert path == "/builder.workers.Workers/Connect"
        stream = Stream()
        await self._opened.send(stream)
        yield stream
