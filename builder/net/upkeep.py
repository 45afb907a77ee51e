"""What a server does about connections in the course of time: one pass over all of them every few
seconds, instead of a task for each, which would be most of what an idle connection costs. Where
they are to end within seconds of each other, passes come more often, so that they do not end at
the same one.

Who is closed for what it does not do gets a GOAWAY, and is counted.

- A client that does not finish its preface, or a header block, in `headers_s` is closed.
- After `ping_after_s` of silence it gets a PING; no sound for `ping_answer_s` more, and it is gone.
- One that takes none of what waits for it for `stall_s` (a zero window, a full socket) is closed.
- Where more is kept of requests that have not ended than the limits allow for all connections, the
  largest calls end.
- One older than `max_age_s` (less a share of chance) is drained: GOAWAY twice, open calls end.
"""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import trio

from builder.net.serving import ServerLink
from builder.wire.frames import ErrorCode
from builder.wire.server import ServerConnection

EVERY_S = 2.5
LEAST_EVERY_S = 0.05
AT_ONCE = 64  # connections, before calls get their turn: a thousand take 6 ms
PASSES = 20  # at least, in the time over which the ends of connections of one age are spread
KEEPALIVE_PING = b"are you?"  # eight octets


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Times in seconds; `math.inf` means never. `handshake_s` is for TLS, before there is a
    connection to be watched: `net.server` keeps it."""

    headers_s: float = 15.0
    ping_after_s: float = 60.0
    ping_answer_s: float = 20.0
    stall_s: float = 300.0
    max_age_s: float = math.inf
    age_jitter: float = 0.1
    drain_answer_s: float = 2.0  # between the two GOAWAYs, if the client does not answer PING
    handshake_s: float = 10.0

    @property
    def every_s(self) -> float:
        spread_s = self.max_age_s * self.age_jitter if self.age_jitter else math.inf
        return min(EVERY_S, max(LEAST_EVERY_S, min(spread_s, self.max_age_s) / PASSES))


@dataclass(slots=True)
class Watched:
    """What is remembered of one connection between two passes."""

    born: float
    max_age_s: float
    moved: int = 0
    moving_at: float = 0.0
    headers_at: float | None = None
    frame: int = 0
    pinged_at: float | None = None
    drained_at: float | None = None


class Away(NamedTuple):
    """Why a client is sent away: which time it did not keep (as in `reapi.connections`)."""

    limit: str
    code: ErrorCode
    why: str


HANDSHAKE_LIMIT = "handshake_timeout"
LIMITS = (HANDSHAKE_LIMIT, "headers_timeout", "stall_timeout", "keepalive_timeout")


def judge(link: ServerLink, seen: Watched, upkeep: Upkeep, now: float) -> Away | None:
    """Why this connection should be closed now, if so. Sends PINGs and GOAWAYs that are due."""
    if link.sent_octets != seen.moved or not link.has_waiting:
        seen.moved, seen.moving_at = link.sent_octets, now
    elif now - seen.moving_at >= upkeep.stall_s:
        why = f"it took nothing for {upkeep.stall_s:g} s"
        return Away("stall_timeout", ErrorCode.ENHANCE_YOUR_CALM, why)
    if _headers_for(link.wire, seen, now) >= upkeep.headers_s:
        why = f"its headers took longer than {upkeep.headers_s:g} s"
        return Away("headers_timeout", ErrorCode.ENHANCE_YOUR_CALM, why)
    if now - link.heard_at < upkeep.ping_after_s:
        seen.pinged_at = None
    elif seen.pinged_at is None:
        seen.pinged_at = now
        link.ping(KEEPALIVE_PING)
    elif now - seen.pinged_at >= upkeep.ping_answer_s:
        why = f"it did not answer a PING within {upkeep.ping_answer_s:g} s"
        return Away("keepalive_timeout", ErrorCode.NO_ERROR, why)
    _age(link, seen, upkeep, now)
    return None


def _headers_for(wire: ServerConnection, seen: Watched, now: float) -> float:
    """How long we have been waiting for the end of a header block, of a frame of one, or of the
    preface."""
    if wire.in_headers:
        seen.headers_at = now if seen.headers_at is None else seen.headers_at
    elif not wire.in_headers_frame:
        seen.headers_at = None
    elif seen.headers_at is None or seen.frame != wire.completed:  # it is another one
        seen.headers_at = now
    seen.frame = wire.completed
    return 0.0 if seen.headers_at is None else now - seen.headers_at


def _age(link: ServerLink, seen: Watched, upkeep: Upkeep, now: float) -> None:
    if seen.drained_at is not None:
        if now - seen.drained_at >= upkeep.drain_answer_s:
            link.finish_drain()
    elif now - seen.born >= seen.max_age_s:
        seen.drained_at = now
        link.start_drain()


async def watch(
    links: dict[ServerLink, None], upkeep: Upkeep, chance: Callable[[], float] = random.random
) -> None:
    """Judge every connection every few seconds, for ever."""
    seen: dict[ServerLink, Watched] = {}
    while True:
        await trio.sleep(upkeep.every_s)
        now = trio.current_time()
        looked = 0
        for link in list(links):
            if link not in links:
                continue  # it ended while others were looked at
            if link not in seen:
                age = upkeep.max_age_s * (1 - upkeep.age_jitter * chance())
                seen[link] = Watched(now, age, moving_at=now)
            if why := judge(link, seen[link], upkeep, now):
                link.send_away(*why)
            looked += 1
            if looked % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        for gone in seen.keys() - links.keys():
            del seen[gone]
        relieve(links)


def relieve(links: Iterable[ServerLink]) -> None:
    """End the largest calls of those connections that keep most, while it is too much in all."""
    kept = {link: link.wire.unfinished for link in links}
    total = sum(kept.values())
    for link in sorted(kept, key=kept.__getitem__, reverse=True):
        over = total - link.wire.limits.all_unfinished
        if over <= 0:
            return
        link.relieve(over)
        total -= kept[link] - link.wire.unfinished
