"""The server among its clients: hooks, cancellation, fairness, attacks, sockets, the end."""

import contextlib
import logging
import socket
import struct
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import trio
import trio.testing
from hpack import Encoder

from builder.base.errors import (
    DeadlineExceededError,
    NotFoundError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UsageError,
)
from builder.net.channel import Channel
from builder.net.hooks import Hooks
from builder.net.listeners import open_listeners, split_address
from builder.net.rpc import Call, ClientCall, Context, Method, Service
from builder.net.server import routes_of, serve
from builder.wire import frames
from builder.wire.frames import ErrorCode
from builder.wire.limits import Limits
from tests.net.echo import ECHO, serving
from tests.wire.peers import block, error_of, frame, read, request


async def plain(address: str) -> trio.SocketStream:
    return await trio.open_tcp_stream(*split_address(address))


async def until_closed(stream: trio.SocketStream) -> bytes:
    data = b""
    with trio.fail_after(60):
        try:
            while part := await stream.receive_some():
                data += part
        except trio.BrokenResourceError:
            pass
    return data


async def test_hooks_see_every_call() -> None:
    """authorize may refuse; observe gets path and code of calls of every kind."""
    seen: list[tuple[str, int]] = []

    def authorize(context: Context) -> None:
        if context.metadata.get("token") != "right":
            raise UnauthenticatedError("send a token")

    def observe(path: str, code: int, seconds: float, calls: int) -> None:
        assert seconds >= 0
        seen.append((path.rpartition("/")[2], code))

    async with (
        serving(hooks=Hooks(authorize, observe)) as server,
        Channel(server.addresses[0]) as channel,
    ):
        right = {"token": "right"}
        for method in ("Echo", "SlowEcho", "Up"):
            await channel.unary(f"/test.Echo/{method}", b"", metadata=right)
            with pytest.raises(UnauthenticatedError, match="send a token"):
                await channel.unary(f"/test.Echo/{method}", b"")
    assert seen == [(m, c) for m in ("Echo", "SlowEcho", "Up") for c in (0, 16)]


@pytest.mark.parametrize("request_", [b"0 0", b"1 0", b"1 10", b"1 300000", b"3 10", b"20 300000"])
async def test_a_single_request_is_answered_in_place_or_by_a_task(request_: bytes) -> None:
    """A client sees the same messages from a `single` handler as from a streaming one."""
    async with serving() as server, Channel(server.addresses[0]) as channel:
        answers = []
        for method in ("Either", "Down"):
            async with channel.stream(f"/test.Echo/{method}") as call:
                await call.send(request_)
                await call.done_sending()
                answers.append([message async for message in _messages(call)])
        assert answers[0] == answers[1]


async def _messages(call: ClientCall) -> AsyncIterator[bytes]:
    while (message := await call.receive()) is not None:
        yield message


@pytest.mark.parametrize(
    "messages", [[], [b""], [b"x" * 10], [b"x" * 2000], [b"x" * 200_000], [b"a", b"b"], [b"a"] * 30]
)
async def test_a_short_call_is_answered_in_place_or_by_a_task(messages: list[bytes]) -> None:
    """Many of them at once: the answers are those of the streaming handler."""
    answers: list[bytes | None] = []

    async def one(channel: Channel) -> None:
        async with channel.stream("/test.Echo/ShortUp") as call:
            for message in messages:
                await call.send(message)
            await call.done_sending()
            answers.append(await call.receive())
            assert await call.receive() is None

    async with serving() as server, Channel(server.addresses[0]) as channel:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one, channel)
    assert answers == [str(sum(map(len, messages))).encode()] * 20


@pytest.mark.parametrize("size", [5, 2000])
@pytest.mark.parametrize("cut", [*range(1, 60, 7), 80, 100])
async def test_a_short_call_may_come_in_pieces(size: int, cut: int) -> None:
    """Its end in another receive than its beginning, and a reset behind it."""
    config = h2.config.H2Configuration(client_side=True)
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    headers = [(":method", "POST"), (":scheme", "http"), (":path", "/test.Echo/ShortUp")]
    headers += [(":authority", "x"), ("te", "trailers"), ("content-type", "application/grpc")]
    async with serving() as server:
        stream = await plain(server.addresses[0])
        await stream.send_all(connection.data_to_send())
        for number in (1, 3):
            connection.send_headers(number, headers)
            connection.send_data(number, b"\0" + size.to_bytes(4, "big") + b"x" * size)
            connection.end_stream(number)
            if number == 1:
                connection.reset_stream(1)
            data = connection.data_to_send()
            for part in (data[:cut], data[cut:]):
                await stream.send_all(part)
                await trio.testing.wait_all_tasks_blocked(0.001)
        body = b""
        with trio.fail_after(60):
            while not body.endswith(str(size).encode()):
                for event in connection.receive_data(await stream.receive_some()):
                    if isinstance(event, h2.events.DataReceived):
                        assert event.stream_id == 3
                        body += event.data
        await stream.aclose()


async def test_short_calls_are_guarded_and_counted() -> None:
    """As others are, in whatever way they are answered."""
    seen: list[tuple[str, int, int]] = []

    def authorize(context: Context) -> None:
        if "token" not in context.metadata:
            raise UnauthenticatedError("send a token")

    def observe(path: str, code: int, seconds: float, calls: int) -> None:
        seen.append((path.rpartition("/")[2], code, calls))

    async with (
        serving(hooks=Hooks(authorize, observe)) as server,
        Channel(server.addresses[0]) as channel,
    ):
        for message, token, expected in (
            (b"x", {"token": "a"}, None),
            (b"x" * 2000, {"token": "a"}, None),
            (b"bad", {"token": "a"}, NotFoundError),
            (b"x", {}, UnauthenticatedError),
        ):
            passes = contextlib.nullcontext() if expected is None else pytest.raises(expected)
            with passes:
                await channel.unary("/test.Echo/ShortUp", message, metadata=token)
    assert seen == [("ShortUp", code, 1) for code in (0, 0, 5, 16)]


@pytest.mark.parametrize("method", ["Echo", "SlowEcho", "Up", "ShortUp"])
async def test_who_may_not_call_is_told_before_the_message_is_whole(method: str) -> None:
    """And is asked to send no more of it; who may is not."""
    seen: list[int] = []

    def authorize(context: Context) -> None:
        if "token" not in context.metadata:
            raise UnauthenticatedError("send a token")

    def observe(path: str, code: int, seconds: float, calls: int) -> None:
        seen.append(code)

    start, rest = b"\0\0\0\0\x09abc", b"defghi"
    async with serving(hooks=Hooks(authorize, observe)) as server:
        stream = await plain(server.addresses[0])
        encoder, path = Encoder(), f"/test.Echo/{method}"
        allowed = block(request(path, ("token", "a")), encoder)
        opening = frame(frames.HEADERS, 4, 1, allowed) + frame(frames.DATA, 0, 1, start)
        refused = block(request(path), encoder)
        opening += frame(frames.HEADERS, 4, 3, refused) + frame(frames.DATA, 0, 3, start)
        await stream.send_all(frames.PREFACE + frames.settings({}) + opening)
        said = await frames_until(stream, "RST_STREAM", 3)
        assert [name for name, _, at, _ in said if at] == ["HEADERS", "RST_STREAM"]
        assert error_of(said[-1][3]) == ErrorCode.NO_ERROR
        more = frame(frames.DATA, 0, 3, rest) + frame(frames.DATA, 1, 1, rest)
        await stream.send_all(more)
        assert {at for _, _, at, _ in await frames_until(stream, "DATA", 1) if at} == {1}
        await stream.aclose()
    assert seen == [16, 0]


async def frames_until(
    stream: trio.SocketStream, name: str, stream_id: int
) -> list[tuple[str, int, int, bytes]]:
    """What comes up to such a frame."""
    data = b""
    with trio.fail_after(60):
        while True:
            data += await stream.receive_some()
            with contextlib.suppress(AssertionError, struct.error):  # a frame is cut
                found = read(data)
                if any((kind, at) == (name, stream_id) for kind, _, at, _ in found):
                    return found


async def test_calls_of_one_receive_are_told_together() -> None:
    """Runs of calls that were answered in place are counted whole, whatever lies between them."""
    seen: dict[tuple[str, int], int] = {}

    def observe(path: str, code: int, seconds: float, calls: int) -> None:
        key = (path.rpartition("/")[2], code)
        seen[key] = seen.get(key, 0) + calls

    order = ["Echo", "Echo", "Missing", "Echo", "SlowEcho", "Metadata", "Metadata", "Echo"] * 5
    async with serving(hooks=Hooks(observe=observe)) as server:
        async with Channel(server.addresses[0]) as channel, trio.open_nursery() as nursery:
            for method in order:
                nursery.start_soon(_ask, channel, f"/test.Echo/{method}")
    assert seen == {
        ("Echo", 0): 20, ("Missing", 5): 5, ("SlowEcho", 0): 5, ("Metadata", 0): 10,
    }  # fmt: skip


async def test_limits_that_refuse_something_are_told() -> None:
    """By their names, for each connection anew."""
    hit: list[str] = []
    async with serving(hooks=Hooks(limit_hit=hit.append)) as server:
        for _ in range(2):
            async with Channel(server.addresses[0]) as channel:
                with pytest.raises(ResourceExhaustedError):
                    await channel.unary("/test.Echo/Echo", b"x", metadata={"a": "b" * 100_000})
                await channel.unary("/test.Echo/Echo", b"x")
    assert hit == ["max_header_list"] * 2


async def _ask(channel: Channel, path: str) -> None:
    with contextlib.suppress(NotFoundError):
        await channel.unary(path, b"x")


@pytest.mark.parametrize("how", ["reset", "disconnect", "deadline"])
@pytest.mark.parametrize("kind", ["stream", "unary", "single"])
async def test_handlers_are_cancelled(how: str, kind: str) -> None:
    """A handler whose client left, reset the stream, or is out of time ends."""
    entered, ended = trio.Event(), trio.Event()

    async def wait() -> bytes:
        entered.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()
        return b""

    async def stream(call: Call) -> None:
        await wait()

    def unary(request: bytes, context: Context):
        return wait()

    methods = {
        "stream": Method("/t/W", stream=stream),
        "unary": Method("/t/W", unary=unary),
        "single": Method("/t/W", single=lambda _request, _context: stream),
    }
    method = methods[kind]
    with trio.fail_after(60):
        async with serving(Service("t", (method,))) as server:
            async with Channel(server.addresses[0]) as channel:
                if how == "deadline":
                    await _run_out_of_time(channel, entered)
                else:
                    async with channel.stream("/t/W") as opened:
                        await opened.send(b"")
                        await opened.done_sending()
                        await entered.wait()
                if how == "reset":
                    await ended.wait()
            await ended.wait()


async def _run_out_of_time(channel: Channel, entered: trio.Event) -> None:
    """In a time that is long enough for the handler to begin."""
    timeout_s = 0.05
    while not entered.is_set():
        timeout_s *= 2
        with pytest.raises(DeadlineExceededError):
            async with channel.stream("/t/W", timeout_s=timeout_s) as opened:
                await opened.send(b"")
                await opened.done_sending()
                await opened.receive()


async def test_a_client_that_does_not_read_slows_nobody() -> None:
    """Streams to a stuck client wait; calls of another one are answered."""
    async with serving() as server:
        stuck = await plain(server.addresses[0])
        config = h2.config.H2Configuration(client_side=True)
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        connection.increment_flow_control_window(2**31 - 1 - 65535)
        connection.update_settings({4: 2**31 - 1})
        headers = [(":method", "POST"), (":scheme", "http"), (":path", "/test.Echo/Down")]
        headers += [(":authority", "x"), ("te", "trailers"), ("content-type", "application/grpc")]
        for stream_id in (1, 3, 5, 7):
            connection.send_headers(stream_id, headers)
            request = b"1000 1000000"
            connection.send_data(stream_id, b"\0\0\0\0\x0c" + request, end_stream=True)
        await stuck.send_all(connection.data_to_send())
        async with Channel(server.addresses[0]) as channel:
            with trio.fail_after(60):
                for _ in range(100):
                    assert await channel.unary("/test.Echo/SlowEcho", b"x") == b"x"
        await stuck.aclose()


async def test_a_slow_handler_delays_nobody() -> None:
    async with (
        serving() as server,
        Channel(server.addresses[0]) as channel,
        channel.stream("/test.Echo/Hang") as hanging,
    ):
        await hanging.send(b"")
        with trio.fail_after(60):
            assert await channel.unary("/test.Echo/Echo", b"x") == b"x"


ATTACKS = {
    "http/1.1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "pings": frames.PREFACE + frames.settings({}) + frames.ping(bytes(8)) * 30_000,
    "settings": frames.PREFACE + frames.settings({}) * 30_000,
    "noise": frames.PREFACE + bytes(range(256)) * 1000,
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_attackers_are_sent_away_and_others_unharmed(name: str) -> None:
    async with serving() as server, Channel(server.addresses[0]) as channel:
        assert await channel.unary("/test.Echo/Echo", b"before") == b"before"
        attacker = await plain(server.addresses[0])
        async with trio.open_nursery() as nursery:

            async def attack() -> None:
                with contextlib.suppress(trio.BrokenResourceError):  # sent away in the middle
                    await attacker.send_all(ATTACKS[name])

            nursery.start_soon(attack)
            got = await until_closed(attacker)
            nursery.cancel_scope.cancel()
        if got:  # a reset may have overtaken the GOAWAY
            assert [n for n, *_ in read(got[: len(got)])][-1] == "GOAWAY"
        assert await channel.unary("/test.Echo/Echo", b"after") == b"after"
        await attacker.aclose()


async def test_goaway_says_why() -> None:
    async with serving(limits=Limits(max_control=10)) as server:
        attacker = await plain(server.addresses[0])
        await attacker.send_all(ATTACKS["pings"][:600])
        name, _, _, payload = read(await until_closed(attacker))[-1]
        assert name == "GOAWAY"
        assert error_of(payload) == ErrorCode.ENHANCE_YOUR_CALM
        await attacker.aclose()


async def test_unix_socket(tmp_path: Path) -> None:
    """A socket in the file system; a dead one is replaced, a live one is not."""
    address = f"unix:{tmp_path / 'socket'}"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "socket"))
    left.close()
    listeners = await open_listeners(address)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, [ECHO], listeners)
        with pytest.raises(UsageError, match="in use"):
            await open_listeners(address)
        async with Channel(address) as channel:
            assert await channel.unary("/test.Echo/Echo", b"x") == b"x"
        await server.drain()
    assert not (tmp_path / "socket").exists()


async def test_addresses() -> None:
    assert split_address("[::1]:9000") == ("::1", 9000)
    assert split_address(":9000") == ("", 9000)
    for wrong in ("9000", "host:", "host:x", "host:99999"):
        with pytest.raises(UsageError, match="write for example"):
            split_address(wrong)
    taken = await open_listeners("127.0.0.1:0")
    with pytest.raises(UsageError, match="in use"):
        await open_listeners(taken[0].address)
    for listener in taken:
        listener.close()


@pytest.mark.parametrize(("path", "asked"), [("Hang", b""), ("Down", b"100 1000000")])
async def test_drain_ends_what_hangs_after_its_grace(path: str, asked: bytes) -> None:
    """Its client is told so, in the middle of an answer too: the connection is not just cut."""
    async with serving() as server, Channel(server.addresses[0]) as channel:
        async with channel.stream(f"/test.Echo/{path}") as call:
            await call.send(asked)
            with trio.fail_after(60):
                if path == "Down":
                    await call.receive()
                await server.drain(grace_s=0.05)
                with pytest.raises(UnavailableError, match="shutting down"):
                    while True:
                        await call.receive()
        assert server.connections == 0


async def test_drain_waits_longer_for_what_is_busy() -> None:
    """A call of such a path ends in peace after the grace of the others, which are told."""

    def is_busy(path: str) -> bool:
        return path == "/test.Echo/Up"

    async with serving() as server, Channel(server.addresses[0]) as channel:
        async with (
            channel.stream("/test.Echo/Up") as up,
            channel.stream("/test.Echo/Both") as both,
            trio.open_nursery() as nursery,
        ):
            for call in (up, both):
                await call.send(b"one")
            assert await both.receive() == b"one"
            nursery.start_soon(partial(server.drain, 0.05, 120.0, is_busy))
            with trio.fail_after(60):
                await trio.sleep(0.5)  # well after the grace
                await both.send(b"two")
                assert await both.receive() == b"two"  # nobody is cut while one is waited for
                await up.send(b"two")
                await up.done_sending()
                assert await up.receive() == b"6"
                with pytest.raises(UnavailableError, match="shutting down"):
                    await both.receive()
        assert server.connections == 0


async def test_a_bug_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with serving() as server, Channel(server.addresses[0]) as channel:
        with pytest.raises(Exception, match="see the log"):
            await channel.unary("/test.Echo/Broken", b"")
    assert "a bug" in caplog.text
    assert "/test.Echo/Broken" in caplog.text


def test_services_are_checked() -> None:

    with pytest.raises(ValueError, match="twice"):
        routes_of([ECHO, ECHO])
    with pytest.raises(ValueError, match="one handler"):
        routes_of([Service("x", (Method("/x/Y"),))])


async def test_a_client_that_never_reads_its_answers_is_not_read_from() -> None:
    """Pipelined calls whose answers nobody takes stop at the socket, not in memory."""
    async with serving() as server:
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await sock.connect(split_address(server.addresses[0]))
        stuck = trio.SocketStream(sock)
        await stuck.send_all(frames.PREFACE + frames.settings({}))
        encoder = Encoder()
        encoder.encode(request("/no/Where"))
        first = frame(frames.HEADERS, 5, 1, block(request("/no/Where")))
        again = encoder.encode(request("/no/Where"))
        await stuck.send_all(first)
        sent_octets, stream_id = 0, 3
        with trio.move_on_after(5) as scope:
            while True:
                batch = b"".join(
                    frame(frames.HEADERS, 5, n, again)
                    for n in range(stream_id, stream_id + 2000, 2)
                )
                stream_id += 2000
                scope.deadline = trio.current_time() + 0.5
                await stuck.send_all(batch)
                sent_octets += len(batch)
        assert scope.cancelled_caught
        assert sent_octets < 50_000_000
        async with Channel(server.addresses[0]) as channel:
            assert await channel.unary("/test.Echo/Echo", b"x") == b"x"
        await stuck.aclose()
