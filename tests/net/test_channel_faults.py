"""The channel and servers that go away, refuse, stay silent, or say nonsense. The server is h2."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import trio

from builder.base.backoff import Backoff
from builder.base.errors import (
    CancelledError,
    InternalError,
    InvalidArgumentError,
    UnavailableError,
    UnknownError,
)
from builder.net.calling import ClientLink
from builder.net.channel import Channel
from builder.wire import frames
from builder.wire.client import ClientConnection
from builder.wire.limits import Limits
from tests.net.echo import serving

HEAD = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]


class Peer:
    """One connection of an h2 server that follows a script."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.complete: list[int] = []
        self.begun: list[int] = []
        self.sizes: dict[int, int] = {}

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def ended(self) -> int:
        """The id of the next stream whose request is complete."""
        while not self.complete:
            await self.more()
        return self.complete.pop(0)

    async def opened(self) -> int:
        """The id of the next stream that has begun."""
        while not self.begun:
            await self.more()
        return self.begun.pop(0)

    async def body(self) -> tuple[int, int]:
        """The id of the next stream whose request is complete, and the octets of its body."""
        stream_id = await self.ended()
        return stream_id, self.sizes.get(stream_id, 0)

    async def more(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise trio.BrokenResourceError
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.begun.append(event.stream_id)
            elif isinstance(event, h2.events.DataReceived):
                size = self.sizes.get(event.stream_id, 0) + len(event.data)
                self.sizes[event.stream_id] = size
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.complete.append(event.stream_id)
        await self.flush()

    def answer(self, stream_id: int, body: bytes) -> None:
        self.h2.send_headers(stream_id, HEAD)
        self.h2.send_data(stream_id, b"\0" + len(body).to_bytes(4, "big") + body)
        self.h2.send_headers(stream_id, OK, end_stream=True)


@asynccontextmanager
async def scripted(script: Callable) -> AsyncIterator[str]:
    """A server; `script(peer, number)` serves each connection."""
    numbers = iter(range(1000))

    async def handler(stream: trio.SocketStream) -> None:
        peer = Peer(stream)
        try:
            await script(peer, next(numbers))
        except trio.BrokenResourceError:
            await stream.aclose()  # the client closed first

    async with trio.open_nursery() as nursery:
        serve_tcp = partial(trio.serve_tcp, handler, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve_tcp)
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def start(peer: Peer) -> None:
    peer.h2.initiate_connection()
    await peer.flush()


@pytest.mark.parametrize("how", ["refused", "goaway"])
async def test_unprocessed_calls_are_tried_again(how: str) -> None:
    """REFUSED_STREAM, and GOAWAY with a lower stream: the caller does not notice."""
    calls = []

    async def script(peer: Peer, number: int) -> None:
        await start(peer)
        while True:
            stream_id = await peer.ended()
            calls.append((number, stream_id))
            if len(calls) > 1:
                peer.answer(stream_id, b"answer")
            elif how == "refused":
                peer.h2.reset_stream(stream_id, 7)
            else:
                peer.h2.close_connection(0, last_stream_id=0)
            await peer.flush()

    with trio.fail_after(60):
        async with scripted(script) as address, Channel(address) as channel:
            assert await channel.unary("/x/Y", b"question") == b"answer"
    assert calls == [(0, 1), (0, 3) if how == "refused" else (1, 1)]


async def test_calls_below_a_goaway_end() -> None:
    """A call that the server does process is answered after its GOAWAY."""

    async def script(peer: Peer, number: int) -> None:
        await start(peer)
        stream_id = await peer.ended()
        if number == 0:
            await peer.stream.send_all(
                b"\0\0\x08\x07\0\0\0\0\0" + stream_id.to_bytes(4, "big") + bytes(4)
            )
        peer.answer(stream_id, b"%d" % number)
        await peer.flush()
        await peer.stream.receive_some()

    with trio.fail_after(60):
        async with scripted(script) as address, Channel(address) as channel:
            assert await channel.unary("/x/Y", b"") == b"0"
            assert await channel.unary("/x/Y", b"") == b"1"


async def test_a_lost_connection_is_unavailable_and_comes_back() -> None:
    async def script(peer: Peer, number: int) -> None:
        await start(peer)
        stream_id = await peer.ended()
        if number:
            peer.answer(stream_id, b"back")
            await peer.flush()
            await peer.stream.receive_some()

    with trio.fail_after(60):
        async with scripted(script) as address, Channel(address) as channel:
            with pytest.raises(UnavailableError, match="was lost"):
                await channel.unary("/x/Y", b"")
            assert await channel.unary("/x/Y", b"") == b"back"


@pytest.mark.parametrize(
    ("headers", "end", "kind"),
    [
        ([(":status", "503")], True, UnavailableError),
        ([(":status", "404"), ("content-type", "text/html")], False, None),
        ([(":status", "200"), ("content-type", "application/grpc")], True, UnknownError),
        ([*HEAD, ("grpc-status", "77")], True, UnknownError),
        ([*HEAD, ("grpc-status", "1")], True, CancelledError),
        ([*HEAD, ("grpc-status", "0")], True, InternalError),
        ([*HEAD, ("x-bin", "$")], True, InternalError),
    ],
)
async def test_strange_answers(headers: list, end: bool, kind: type | None) -> None:
    """HTTP statuses without gRPC, no status, unknown codes, OK without a message."""

    async def script(peer: Peer, number: int) -> None:
        await start(peer)
        stream_id = await peer.ended()
        peer.h2.send_headers(stream_id, headers, end_stream=end)
        await peer.flush()
        await peer.stream.receive_some()

    with trio.fail_after(60):
        async with scripted(script) as address, Channel(address) as channel:
            with pytest.raises(kind or Exception, match=None if end else "404"):
                await channel.unary("/x/Y", b"")


async def test_a_server_that_speaks_no_http2() -> None:
    async def script(peer: Peer, number: int) -> None:
        await peer.stream.send_all(b"220 mail.example ESMTP\r\n")

    with trio.fail_after(60):
        async with scripted(script) as address, Channel(address) as channel:
            with pytest.raises(UnavailableError, match="is it a gRPC server"):
                await channel.unary("/x/Y", b"")


async def test_a_limit_of_streams_is_kept() -> None:
    """With room for two calls on each of two connections, the fifth waits for the first to end."""
    most: dict[int, int] = {}

    async def script(peer: Peer, number: int) -> None:
        values = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 2}
        peer.h2.local_settings = h2.settings.Settings(client=False, initial_values=values)
        await start(peer)
        while True:
            stream_id = await peer.ended()
            most[number] = max(most.get(number, 0), peer.h2.open_inbound_streams)
            await trio.lowlevel.checkpoint()
            peer.answer(stream_id, b"")
            await peer.flush()

    with trio.fail_after(60):
        async with (
            scripted(script) as address,
            Channel(address, max_connections=2) as channel,
            trio.open_nursery() as nursery,
        ):
            for _ in range(50):
                nursery.start_soon(channel.unary, "/x/Y", b"")
    assert set(most) == {0, 1}
    assert max(most.values()) <= 2


async def test_silence_is_noticed(autojump_clock: trio.testing.MockClock) -> None:
    """No answer to a keepalive PING: the call ends with UNAVAILABLE, and says why."""
    client, server = trio.testing.memory_stream_pair()
    link = ClientLink(ClientConnection(Limits(), "x", "http", "test"), "memory", 30.0)
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run, Memory(client), trio.lowlevel.ParkingLot())
        await server.send_all(frames.settings({}))
        await link.ready.wait()
        call = link.start("/x/Y", None, None)
        with pytest.raises(UnavailableError, match="PING"):
            await call.receive()
    assert 40 < trio.current_time() - started < 100


def _wire(channel: Channel):
    from builder.wire.client import ClientConnection

    return ClientConnection(channel._limits, "x", "http", "test")


class Memory:
    """A transport over trio's memory streams, where the mock clock is all the time there is."""

    def __init__(self, stream: trio.StapledStream) -> None:
        self.stream = stream

    async def receive(self, bulky: bool = True) -> bytes:
        return bytes(await self.stream.receive_some(65536))

    def write(self, buffers: list) -> bool:
        return True  # nobody reads it

    def flush(self) -> bool:
        return True

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        pass


async def test_back_off_after_a_failure() -> None:
    """The first failure is told at once; the next attempt waits."""
    slow = Backoff(first_s=0.2, jitter=0.0)
    async with Channel("127.0.0.1:1", backoff=slow) as channel:
        for waited in (0.0, 0.2):
            before = trio.current_time()
            with pytest.raises(UnavailableError):
                await channel.unary("/x/Y", b"")
            assert trio.current_time() - before >= waited


async def test_callers_share_one_attempt() -> None:
    """A hundred calls to nobody fail together, not one back-off after the other."""
    failed = []

    async def one() -> None:
        with pytest.raises(UnavailableError):
            await channel.unary("/x/Y", b"")
        failed.append(1)

    with trio.fail_after(60):
        async with Channel("127.0.0.1:1") as channel, trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(one)
    assert len(failed) == 100


async def test_metadata_that_cannot_be_sent() -> None:
    async with serving() as server, Channel(server.addresses[0]) as channel:
        for wrong in ({"a b": "x"}, {"x": "a\nb"}, {"grpc-x": "y"}, {"te": "x"}):
            with pytest.raises(InvalidArgumentError, match="metadata"):
                await channel.unary("/test.Echo/Echo", b"", metadata=wrong)


async def test_the_exception_of_the_block_is_not_in_a_group() -> None:
    with pytest.raises(ZeroDivisionError):
        async with Channel("127.0.0.1:1"):
            raise ZeroDivisionError
