"""Idle connections in a crowd: a PING waits for the round, everything else does not."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel

from builder.net.dozing import CROWD, SILENT_S, go_round
from builder.net.hooks import Hooks
from builder.net.rpc import Peer
from builder.net.server import routes_of
from builder.net.serving import ServerLink
from builder.net.transport import SocketTransport
from builder.wire import frames
from builder.wire.limits import Limits
from builder.wire.server import ServerConnection
from tests.net.echo import ECHO
from tests.wire.peers import START, block, frame, message, read, request

PING = frames.ping(b"12345678")
CALL = frame(frames.HEADERS, 4, 1, block(request("/test.Echo/Echo"))) + frame(
    frames.DATA, 1, 1, message(b"hello")
)


class Client:
    """The other end of a link."""

    def __init__(self, sock: trio.socket.SocketType, server: socket.socket) -> None:
        self.sock = sock
        self._server = server

    async def say(self, data: bytes) -> None:
        """Returns when it has arrived."""
        await self.sock.send(data)
        while True:
            try:
                if len(self._server.recv(100_000, socket.MSG_PEEK)) >= len(data):
                    return
            except BlockingIOError:
                pass
            await trio.lowlevel.checkpoint()

    async def hears(self, name: str) -> None:
        """Returns when such a frame has come."""
        heard = b""
        while name not in [one for one, *_ in read(heard)]:
            heard += await self.sock.recv(65536)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[ServerLink, Client]]:
    """A link over TCP that has said its SETTINGS, and its client."""
    with socket.create_server(("127.0.0.1", 0)) as listener, trio.fail_after(60):
        sock = trio.socket.socket()
        await sock.connect(listener.getsockname())
        server, _ = listener.accept()
        server.setblocking(False)
        transport = SocketTransport(server)
        link = ServerLink(ServerConnection(Limits(), routes_of([ECHO])), Peer("test"), Hooks())
        client = Client(sock, server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run, transport)
            await sock.send(START + PING)
            await client.hears("PING")
            yield link, client
            sock.close()
        transport.close()


def crowd(link: ServerLink, others: int) -> list[ServerLink]:
    """It, and so many that were never opened."""
    wires = (ServerConnection(Limits(), {}) for _ in range(others))
    return [link, *(ServerLink(wire, Peer("other"), Hooks()) for wire in wires)]


async def test_a_ping_alone_waits_for_the_round() -> None:
    """It wakes nobody; the round answers it, and the connection sleeps on."""
    async with connected() as (link, client):
        links = crowd(link, CROWD)
        go_round(links, link.heard_at + SILENT_S + 1)
        assert link.dozes
        assert not any(other.dozes for other in links[1:])
        before = link.heard_at
        await client.say(PING)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert link.heard_at == before
        go_round(links, before + 7)
        await client.hears("PING")
        assert link.dozes


async def test_a_call_is_answered_at_once() -> None:
    """And then everything is, until it is silent again."""
    async with connected() as (link, client):
        go_round(crowd(link, CROWD), link.heard_at + SILENT_S + 1)
        await client.sock.send(CALL)
        await client.hears("DATA")
        assert not link.dozes
        await client.sock.send(PING)
        await client.hears("PING")


async def test_what_is_half_said_wakes_it() -> None:
    """A call whose first octets were fewer than a PING's."""
    async with connected() as (link, client):
        go_round(crowd(link, CROWD), link.heard_at + SILENT_S + 1)
        await client.say(CALL[:10])
        go_round(crowd(link, CROWD), link.heard_at + 1)
        await client.sock.send(CALL[10:])
        await client.hears("DATA")


async def test_without_a_crowd_nobody_dozes() -> None:
    """Who dozes when the others leave is woken; who is not silent does not begin."""
    async with connected() as (link, client):
        go_round(crowd(link, CROWD - 1), link.heard_at + SILENT_S + 1)
        assert not link.dozes
        go_round(crowd(link, CROWD), link.heard_at + SILENT_S - 1)
        assert not link.dozes
        go_round(crowd(link, CROWD), link.heard_at + SILENT_S + 1)
        assert link.dozes
        go_round([link], link.heard_at + 1)
        assert not link.dozes
        await client.sock.send(PING)
        await client.hears("PING")


async def test_who_has_a_stream_does_not_doze() -> None:
    """Its client's WINDOW_UPDATE is shorter than a PING."""
    async with connected() as (link, client):
        head = block(request("/test.Echo/Both"))
        await client.sock.send(frame(frames.HEADERS, 4, 1, head) + PING)
        await client.hears("PING")
        go_round(crowd(link, CROWD), link.heard_at + SILENT_S + 1)
        assert not link.dozes


@pytest.mark.parametrize("how", ["end", "drain"])
async def test_the_end_wakes_it(how: str) -> None:
    """The client's, and ours, which asks by a PING."""
    async with connected() as (link, client):
        go_round(crowd(link, CROWD), link.heard_at + SILENT_S + 1)
        if how == "drain":
            link.start_drain()
            await client.hears("GOAWAY")
            await client.sock.send(frames.ping(b"draining", 1))
            await client.hears("GOAWAY")
