"""HTTP ports under clients that mean harm: raw bytes, to a real server."""

import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from builder.base.digest import digest_of
from builder.base.errors import DeadlineExceededError
from builder.net.listeners import open_listeners
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from builder.web import artifacts
from builder.web.artifacts import Artifacts, Shelf
from builder.web.bounded import Bounded
from builder.web.serving import serve_app
from builder.wire.frames import PREFACE
from tests.net.certificates import make

DATA = b"some bytes that are stored"
NAME = f"/cas/{digest_of(DATA).hash}".encode()
PUT = b"PUT " + NAME + b" HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(DATA), DATA)
NEXT = b"GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n"
DEADLINE_S = 120


@pytest.fixture
async def port(nursery: trio.Nursery) -> AsyncIterator[int]:
    shelf = Shelf(MemoryBlobStore(2**20), MemoryRecords(2**20))
    [listener] = await open_listeners("127.0.0.1:0")
    await nursery.start(serve_app, Artifacts(lambda _: shelf).app(), [listener])
    yield int(listener.address.rpartition(":")[2])
    nursery.cancel_scope.cancel()


async def said(port: int, sent: bytes) -> bytes:
    """All that is answered until the server closes."""
    with trio.fail_after(DEADLINE_S):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(sent)
            answer = b""
            try:
                async for data in stream:
                    answer += data
            except trio.BrokenResourceError:
                pass  # closed while something of ours was not read yet
            return answer


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(DATA),
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"content-length: 0\r\ntransfer-encoding: CHUNKED\r\n",
    ],
)
async def test_two_lengths_are_none(port: int, fields: bytes) -> None:
    """RFC 9112, 6.1 and 6.3: refused, and what comes after it is no request. (Who sends more than
    one request may lose the answer: the connection is closed before all of it was read.)"""
    answer = await said(port, PUT + fields + b"\r\n" + CHUNKED)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert (await said(port, PUT + fields + b"\r\n" + CHUNKED + NEXT)).count(b"HTTP/1.1") <= 1


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        (b"Content-Length: +5\r\n", 400),
        (b"Content-Length: -1\r\n", 400),
        (b"Content-Length: " + b"9" * 30 + b"\r\n", 400),
        (b"Transfer-Encoding : chunked\r\n", 400),
        (b"Transfer-Encoding: xchunked\r\n", 501),
        (b"Transfer-Encoding: chunked, identity\r\n", 501),
        (b"X: a\0b\r\n", 400),
    ],
)
async def test_heads_that_are_refused(port: int, fields: bytes, status: int) -> None:
    """And the connection is closed."""
    answer = await said(port, PUT + fields + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1") == 1


async def test_http_2_is_not_spoken_there(port: int) -> None:
    """Who begins with it is told so; an offer to change to it is not taken up, and no fault."""
    assert (await said(port, PREFACE)).startswith(b"HTTP/1.1 505 ")
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n"
    request = b"GET " + NAME + b" HTTP/1.1\r\nHost: localhost\r\n" + offer + b"\r\n"
    with trio.fail_after(DEADLINE_S):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            for _ in range(2):
                await stream.send_all(request)
                answer = b""
                while b"is not stored here\n" not in answer:
                    data = await stream.receive_some()
                    assert data
                    answer += data
                assert answer.startswith(b"HTTP/1.1 404 ")


async def test_a_body_that_does_not_go_on(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is waited for, and then refused."""
    monkeypatch.setattr(artifacts, "BODY_STALL_S", 0.05)
    for name in (NAME, b"/ac/" + b"a" * 64):
        head = b"PUT " + name + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 26\r\n\r\n"
        assert (await said(port, head + b"some")).startswith(b"HTTP/1.1 408 ")


class Slow:
    """A request whose body comes piece by piece."""

    def __init__(self, piece: bytes, pieces: int, pause_s: float) -> None:
        self._piece, self._pieces, self._pause_s = piece, pieces, pause_s

    async def stream(self) -> AsyncIterator[bytes]:
        for _ in range(self._pieces):
            await trio.sleep(self._pause_s)
            yield self._piece


@pytest.mark.parametrize(
    ("piece", "pause_s", "comes"),
    [(b"x", 10.0, False), (b"x" * 100, 0.2, False), (b"x" * 2048, 1.0, True), (b"x", 0.01, False)],
)
async def test_a_body_that_drips(
    piece: bytes, pause_s: float, comes: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """Is not waited for longer than for one that does not go on; one that flows may take hours."""
    request: Any = Slow(piece, 10_000, pause_s)
    taken = 0
    slow = pytest.raises(DeadlineExceededError, match="1024 bytes per second or more")
    with nullcontext() if comes else slow:
        async with aclosing(artifacts._body(request)) as body:
            async for chunk in body:
                taken += len(chunk)
                await trio.sleep(1.0)  # our own time is not the client's
    assert (taken == 10_000 * len(piece)) is comes


async def test_a_refusal_waits_for_a_short_body(port: int) -> None:
    """So that the connection lives on, and the client reads why."""
    head = b"PUT /cas/nohash HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
    with trio.fail_after(DEADLINE_S):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            for _ in range(3):
                await stream.send_all(head)
                await trio.testing.wait_all_tasks_blocked()
                await stream.send_all(b"body")
                answer = b""
                while b"hex digits\n" not in answer:
                    data = await stream.receive_some()
                    assert data
                    answer += data
                assert answer.startswith(b"HTTP/1.1 400 ")


class Endless:
    """An answer without end; no generator, which somebody would have to close."""

    def __aiter__(self) -> "Endless":
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return bytes(2**20)


async def endless(_request: object) -> StreamingResponse:
    return StreamingResponse(Endless())


@pytest.mark.parametrize("stall_s", [0.05, 10_000.0])
async def test_who_takes_nothing_holds_up_nothing(
    nursery: trio.Nursery, stall_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He is cut off after a while, and at the end of the service, which comes."""
    monkeypatch.setattr("builder.web.serving.OurConfig.graceful_timeout", 0.05)
    cuts, cut = [], Bounded.cut
    gone = trio.Event()

    def counted(stream: Bounded) -> None:
        cuts.append(stream)
        cut(stream)
        gone.set()

    monkeypatch.setattr(Bounded, "cut", counted)
    [listener] = await open_listeners("127.0.0.1:0")
    stop, ended = trio.Event(), trio.Event()

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        app = Starlette(routes=[Route("/", endless)])
        await serve_app(app, [listener], stop=stop, stall_s=stall_s, task_status=task_status)
        ended.set()

    await nursery.start(serve)
    port = int(listener.address.rpartition(":")[2])
    with trio.fail_after(DEADLINE_S):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if stall_s < 1:
            await gone.wait()
        else:
            assert await stream.receive_some(10)
        stop.set()
        await ended.wait()
    assert len(set(cuts)) == 1
    await stream.aclose()


async def test_a_handshake_of_tls_has_its_time(nursery: trio.Nursery, tmp_path: Path) -> None:
    """Who says nothing on a port of HTTPS does not stay."""
    [listener] = await open_listeners("127.0.0.1:0")
    app, tls = Starlette(), make(tmp_path).server()
    run = partial(serve_app, app, [listener], tls=tls, handshake_s=0.05)
    await nursery.start(run)
    with trio.fail_after(DEADLINE_S):
        stream = await trio.open_tcp_stream("127.0.0.1", int(listener.address.rpartition(":")[2]))
        assert await stream.receive_some() == b""
    await stream.aclose()
