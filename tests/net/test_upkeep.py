"""Connections in the course of time: silence, dribbling, stalling and age, on a mock clock."""

import itertools
import math
from collections.abc import Sequence

import pytest
import trio

from builder.net.hooks import Hooks
from builder.net.rpc import Peer
from builder.net.server import routes_of
from builder.net.serving import ServerLink
from builder.net.upkeep import Upkeep, watch
from builder.wire import frames
from builder.wire.limits import Limits
from builder.wire.server import ServerConnection
from tests.net.echo import ECHO
from tests.wire.peers import START, block, frame, message, read, request

NEVER = Upkeep(math.inf, math.inf, math.inf, math.inf)
CALL = frame(frames.HEADERS, 4, 1, block(request("/test.Echo/Down"))) + frame(
    frames.DATA, 1, 1, message(b"9 100000")
)


class Wire:
    """A transport whose other end is the test."""

    def __init__(self) -> None:
        self.send, self._receive = trio.open_memory_channel[bytes](math.inf)
        self.out = b""
        self.limits: list[str] = []
        self.ended: list[int] = []

    async def receive(self, bulky: bool = True) -> bytes:
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

    def goaway(self) -> int:
        """The code of the last frame."""
        assert self.names()[-1] == "GOAWAY"
        return int.from_bytes(self.said[-1][-1][4:8], "big")

    def names(self) -> list[str]:
        self.said = read(self.out)
        found = [name for name, *_ in self.said]
        self.out = b""
        return found


async def lifetime(
    upkeep: Upkeep,
    sent: bytes,
    *,
    answers: bool = False,
    drops: Sequence[bytes] = (),
    chance: float = 0.5,
) -> tuple[float, Wire]:
    """How long a connection lives on which a client says this, the drops in the course of time,
    and no more."""
    wire = Wire()
    links: dict[ServerLink, None] = {}
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, links, upkeep, lambda: chance)
        connection = ServerConnection(Limits(), routes_of([ECHO]))
        link = ServerLink(
            connection, Peer("test"), Hooks(ended=wire.ended.append, limit_hit=wire.limits.append)
        )
        links[link] = None
        wire.send.send_nowait(sent)

        async def answer() -> None:
            while True:
                await trio.sleep(1)
                if "PING" in wire.names():
                    wire.send.send_nowait(frames.ping(b"are you?", 1))

        async def drip() -> None:
            for drop in drops:
                await trio.sleep(4)
                wire.send.send_nowait(drop)

        nursery.start_soon(drip)
        if answers:
            nursery.start_soon(answer)
        with trio.move_on_after(10_000):
            await link.run(wire)
        nursery.cancel_scope.cancel()
    return trio.current_time() - started, wire


@pytest.mark.parametrize(
    "sent",
    [
        b"PRI",
        frames.PREFACE,
        START + frame(frames.HEADERS, 0, 1),
        START + frame(frames.HEADERS, 4, 1, block(request("/test.Echo/Down")))[:20],
        START + b"\0\0",
        START + frame(frames.PING, 0, 0, bytes(8))[:3],
    ],
)
async def test_slow_headers(autojump_clock: trio.testing.MockClock, sent: bytes) -> None:
    """A preface, a header block or a frame of one that does not come to an end is not waited
    for."""
    lived, wire = await lifetime(Upkeep(headers_s=15, stall_s=math.inf), sent)
    assert 15 <= lived < 18
    assert wire.goaway() == frames.ErrorCode.ENHANCE_YOUR_CALM
    assert wire.limits == ["headers_timeout"]
    assert wire.ended == [frames.ErrorCode.ENHANCE_YOUR_CALM]


async def test_headers_in_drops(autojump_clock: trio.testing.MockClock) -> None:
    """An octet now and then is no sign of life; frames that come to their end are."""
    head = frame(frames.HEADERS, 4, 1, block(request("/test.Echo/Hang")))
    upkeep = Upkeep(headers_s=15, ping_after_s=math.inf)
    lived, wire = await lifetime(upkeep, START, drops=[bytes([octet]) for octet in head])
    assert 15 <= lived < 34
    assert wire.limits == ["headers_timeout"]
    ping = frame(frames.PING, 0, 0, bytes(8))
    drops = [ping[:2], *[ping[2:] + ping[:2]] * 50, ping[2:]]
    lived, wire = await lifetime(upkeep, START, drops=drops)
    assert lived == pytest.approx(10_000, abs=1)
    assert wire.names().count("PING") == 51


async def test_a_body_may_take_its_time(autojump_clock: trio.testing.MockClock) -> None:
    """Half a frame of one is no header."""
    lived, _ = await lifetime(Upkeep(headers_s=15, ping_after_s=math.inf), START + CALL[:-1])
    assert lived == pytest.approx(10_000, abs=1)


async def test_silence(autojump_clock: trio.testing.MockClock) -> None:
    lived, wire = await lifetime(Upkeep(ping_after_s=60, ping_answer_s=20), START)
    assert 80 <= lived < 83
    assert wire.limits == ["keepalive_timeout"]
    assert "PING" in wire.names()


async def test_an_answer_to_ping_is_a_sign_of_life(autojump_clock: trio.testing.MockClock) -> None:
    lived, _ = await lifetime(Upkeep(), START, answers=True)
    assert lived == pytest.approx(10_000, abs=1)


async def test_a_window_that_stays_shut(autojump_clock: trio.testing.MockClock) -> None:
    """The client takes 65535 octets and opens no window."""
    lived, wire = await lifetime(Upkeep(math.inf, math.inf, math.inf, stall_s=300), START + CALL)
    assert 300 <= lived < 303
    assert wire.limits == ["stall_timeout"]
    assert wire.goaway() == frames.ErrorCode.ENHANCE_YOUR_CALM


async def test_age(autojump_clock: trio.testing.MockClock) -> None:
    """Half of the jitter of 10 %: 95 s, then GOAWAY twice, and the end."""
    lived, wire = await lifetime(
        Upkeep(math.inf, math.inf, math.inf, math.inf, max_age_s=100), START
    )
    assert 95 <= lived < 103
    assert wire.names()[-3:] == ["GOAWAY", "PING", "GOAWAY"]


@pytest.mark.parametrize(
    ("age_s", "jitter", "every_s"),
    [
        (math.inf, 0.1, 2.5),
        (math.inf, 0.0, 2.5),
        (3600.0, 0.1, 2.5),
        (10.0, 0.1, 0.05),
        (20.0, 0.5, 0.5),
        (10.0, 0.0, 0.5),
        (0.5, 0.1, 0.05),
    ],
)
def test_the_shorter_the_spread_of_ages_the_more_passes(
    age_s: float, jitter: float, every_s: float
) -> None:
    """So that chance decides when a connection ends, and not which pass is the next."""
    assert Upkeep(max_age_s=age_s, age_jitter=jitter).every_s == pytest.approx(every_s)


async def test_short_ages_differ(autojump_clock: trio.testing.MockClock) -> None:
    """Of connections that come together, and live 3 s at the most."""
    upkeep = Upkeep(math.inf, math.inf, math.inf, math.inf, max_age_s=3, drain_answer_s=0)
    lives = [(await lifetime(upkeep, START, chance=n / 8))[0] for n in range(9)]
    assert len(set(lives)) >= 5
    assert all(2.5 < life < 3.5 for life in lives)


async def test_an_old_connection_waits_for_its_calls(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hang = frame(frames.HEADERS, 4, 1, block(request("/test.Echo/Hang")))
    lived, _ = await lifetime(
        Upkeep(math.inf, math.inf, math.inf, math.inf, max_age_s=100), START + hang
    )
    assert lived == pytest.approx(10_000, abs=1)


async def test_what_all_keep_of_unfinished_requests_is_bounded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Of many connections, each within its own bound: the largest calls of those that keep most
    end, silent as they are; those of others go on."""
    limits = Limits(all_unfinished=100_000, initial_window=1 << 20)
    hit: list[str] = []
    links: dict[ServerLink, None] = {}
    wires = [Wire() for _ in range(3)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, links, Upkeep())
        for wire, sizes in zip(wires, ([30_000], [5_000, 60_000], [20_000]), strict=True):
            connection = ServerConnection(limits, routes_of([ECHO]))
            link = ServerLink(connection, Peer("test"), Hooks(limit_hit=hit.append))
            links[link] = None
            nursery.start_soon(link.run, wire)
            wire.send.send_nowait(START + b"".join(map(_unfinished, itertools.count(1, 2), sizes)))
        await trio.sleep(10)
        assert hit == ["all_unfinished"]
        refusals = [[at for name, _, at, _ in read(one.out) if name == "HEADERS"] for one in wires]
        assert refusals == [[], [3], []]
        assert [link.wire.unfinished for link in links] == [30_000, 5_000, 20_000]
        nursery.cancel_scope.cancel()


def _unfinished(stream_id: int, size: int) -> bytes:
    """A call, and so much of a larger message."""
    head = frame(frames.HEADERS, 4, stream_id, block(request("/test.Echo/Up")))
    start = (b"\0" + (1 << 20).to_bytes(4, "big")) + bytes(size)
    parts = [start[at : at + 16_384] for at in range(0, size + 5, 16_384)]
    return head + b"".join(frame(frames.DATA, 0, stream_id, part) for part in parts)
