"""Whom a worker with nothing to do asks for work, and when.

    (busy) --slot comes free--> WANTING --asks--> ASKING --answer, failure--> RESTING --> WANTING
                                   `--nobody left--> asks the coordinator, once

Theory of operation. The coordinator names some workers with a backlog. Of those that have enough of
it, as many as `victims` are drawn by lot and the one with the longest backlog is asked: with two,
no news travels far and yet the thieves spread well (the power of two choices; Mitzenmacher, IEEE
TPDS 12(10), 2001). At most half of what it has is asked for, so that it keeps something to start
without a pause, and never more than there is room for here. What is given comes as a lease from the
coordinator. After each answer the worker rests for the interval; whoever had nothing or did not
answer is asked again only when the coordinator names it again.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Terms:
    """`victims` are compared before one is asked; who has less than `threshold` waiting is left
    alone; `batch` is the most that is asked for at once. Seconds."""

    backlog: int = 2
    victims: int = 2
    threshold: int = 1
    batch: int = 4
    interval_s: float = 0.2
    timeout_s: float = 2.0


class Peer(NamedTuple):
    """Another worker, and what it may be asked for."""

    name: str
    address: str
    token: str
    leases: tuple[str, ...]


class RoomChanged(NamedTuple):
    """So many slots are free, and nothing waits here; or none."""

    free: int


class Introduced(NamedTuple):
    peers: tuple[Peer, ...]


class Answered(NamedTuple):
    """What the victim has yielded."""

    victim: str
    leases: tuple[str, ...]


class Failed(NamedTuple):
    """The victim could not be reached, or did not answer in time, or would not."""

    victim: str


class TimePassed(NamedTuple):
    pass


Event = RoomChanged | Introduced | Answered | Failed | TimePassed


class Steal(NamedTuple):
    victim: Peer
    leases: tuple[str, ...]
    most: int


class AskForPeers(NamedTuple):
    """Of the coordinator: nobody is left of those that it has named."""


Effect = Steal | AskForPeers


class Outcomes(NamedTuple):
    attempted: int = 0
    succeeded: int = 0
    empty: int = 0
    failed: int = 0


class Thief:
    """`chance` gives numbers in [0, 1)."""

    def __init__(self, terms: Terms, chance: Callable[[], float]) -> None:
        self._terms = terms
        self._chance = chance
        self._free = 0
        self._peers: dict[str, Peer] = {}
        self._asking = ""  # the victim
        self._rested_at = 0.0
        self._has_asked = True  # for peers, since it was told of any
        self._outcomes = Outcomes()

    def handle(self, event: Event, now: float) -> list[Effect]:
        match event:
            case RoomChanged(free):
                self._free = free
            case Introduced(peers):
                self._peers = {one.name: one for one in peers}
                self._has_asked = False
            case Answered(victim, leases) if victim == self._asking:
                self._answered(victim, leases, now)
            case Failed(victim) if victim == self._asking:
                self._ended(now, failed=1)
                self._peers.pop(victim, None)
            case _:
                pass
        return self._next(now)

    def next_deadline(self) -> float | None:
        """When to send TimePassed at the latest."""
        wants = self._free and not self._asking and (self._peers or not self._has_asked)
        return self._rested_at if wants else None

    def check(self) -> None:
        """Raises AssertionError."""
        assert self._free >= 0
        told = self._outcomes
        under_way = bool(self._asking)
        assert told.attempted == told.succeeded + told.empty + told.failed + under_way

    def snapshot(self) -> Outcomes:
        """Of all calls so far."""
        return self._outcomes

    def _answered(self, victim: str, leases: tuple[str, ...], now: float) -> None:
        self._ended(now, succeeded=bool(leases), empty=not leases)
        peer = self._peers.pop(victim, None)
        left = tuple(one for one in peer.leases if one not in leases) if peer and leases else ()
        if peer and left:
            self._peers[victim] = peer._replace(leases=left)

    def _ended(self, now: float, *, succeeded: int = 0, empty: int = 0, failed: int = 0) -> None:
        told = self._outcomes
        self._outcomes = Outcomes(
            told.attempted, told.succeeded + succeeded, told.empty + empty, told.failed + failed
        )
        self._asking = ""
        self._rested_at = now + self._terms.interval_s

    def _next(self, now: float) -> list[Effect]:
        if not self._free or self._asking or now < self._rested_at:
            return []
        threshold = max(self._terms.threshold, 1)
        worth = [one for one in self._peers.values() if len(one.leases) >= threshold]
        if worth:
            return [self._steal(worth)]
        self._peers.clear()
        if self._has_asked:
            return []
        self._has_asked = True
        return [AskForPeers()]

    def _steal(self, worth: list[Peer]) -> Steal:
        lots = range(min(self._terms.victims, len(worth)))
        drawn = [worth.pop(math.floor(self._chance() * len(worth))) for _ in lots]
        victim = max(drawn, key=lambda one: len(one.leases))
        self._asking = victim.name
        told = self._outcomes
        self._outcomes = told._replace(attempted=told.attempted + 1)
        half = (len(victim.leases) + 1) // 2
        room = self._free + self._terms.backlog
        most = min(max(half, self._free), self._terms.batch, room)
        return Steal(victim, victim.leases, most)
