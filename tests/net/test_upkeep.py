"""Connections in the course of time: silence, dribbling, stalling and age, on a mock clock."""

import math

import pytest
import trio

from builder.net.rpc import Peer
from builder.net.server import routes_of
from builder.net.serving import Hooks, ServerLink
from builder.net.upkeep import Upkeep, watch
from builder.wire import frames
from builder.wire.limits import Limits
from builder.wire.server import ServerConnection
from tests.net.echo import ECHO
from tests.wire.peers import START, block, frame, message, read, request

NEVER = Upkeep(math.inf, math.inf, math.inf, math.inf)


class Wire:
    """A transport whose other end is the test."""

    def __init__(self) -> None:
        self.send, self._receive = trio.open_memory_channel[bytes](math.inf)
        self.out = b""

    async def receive(self) -> bytes:
        return await self._receive.receive()

    def write(self, buffers: list) -> bool:
        self.out += b"".join(buffers)
        return True

    def flush(self) -> bool:
        return True

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        pass

    def names(self) -> list[str]:
        found = [name for name, *_ in read(self.out)]
        self.out = b""
        return found


async def lifetime(upkeep: Upkeep, sent: bytes, *, answers: bool = False) -> tuple[float, Wire]:
    """How long a connection lives on which a client says this and no more."""
    wire = Wire()
    links: dict[ServerLink, None] = {}
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, links, upkeep, lambda: 0.5)
        connection = ServerConnection(Limits(), routes_of([ECHO]))
        link = ServerLink(connection, Peer("test"), Hooks())
        links[link] = None
        wire.send.send_nowait(sent)

        async def answer() -> None:
            while True:
                await trio.sleep(1)
                if "PING" in wire.names():
                    wire.send.send_nowait(frames.ping(b"are you?", 1))

        if answers:
            nursery.start_soon(answer)
        with trio.move_on_after(10_000):
            await link.run(wire)
        nursery.cancel_scope.cancel()
    return trio.current_time() - started, wire


CALL = frame(frames.HEADERS, 4, 1, block(request("/test.Echo/Down"))) + frame(
    frames.DATA, 1, 1, message(b"9 100000")
)


@pytest.mark.parametrize("sent", [b"PRI", frames.PREFACE, START + frame(frames.HEADERS, 0, 1)])
async def test_slow_headers(autojump_clock: trio.testing.MockClock, sent: bytes) -> None:
    """A preface or a header block that does not come to an end is not waited for."""
    lived, _ = await lifetime(Upkeep(headers_s=15), sent)
    assert 15 <= lived < 18


async def test_silence(autojump_clock: trio.testing.MockClock) -> None:
    lived, wire = await lifetime(Upkeep(ping_after_s=60, ping_answer_s=20), START)
    assert 80 <= lived < 83
    assert "PING" in wire.names()


async def test_an_answer_to_ping_is_a_sign_of_life(autojump_clock: trio.testing.MockClock) -> None:
    lived, _ = await lifetime(Upkeep(), START, answers=True)
    assert lived == pytest.approx(10_000, abs=1)


async def test_a_window_that_stays_shut(autojump_clock: trio.testing.MockClock) -> None:
    """The client takes 65535 octets and opens no window."""
    lived, _ = await lifetime(Upkeep(math.inf, math.inf, math.inf, stall_s=300), START + CALL)
    assert 300 <= lived < 303


async def test_age(autojump_clock: trio.testing.MockClock) -> None:
    """Half of the jitter of 10 %: 95 s, then GOAWAY twice, and the end."""
    lived, wire = await lifetime(
        Upkeep(math.inf, math.inf, math.inf, math.inf, max_age_s=100), START
    )
    assert 95 <= lived < 103
    assert wire.names()[-3:] == ["GOAWAY", "PING", "GOAWAY"]


async def test_an_old_connection_waits_for_its_calls(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hang = frame(frames.HEADERS, 4, 1, block(request("/test.Echo/Hang")))
    lived, _ = await lifetime(
        Upkeep(math.inf, math.inf, math.inf, math.inf, max_age_s=100), START + hang
    )
    assert lived == pytest.approx(10_000, abs=1)
