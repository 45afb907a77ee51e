"""The worker's end of work stealing: it asks others for work, and answers those who ask.

The decisions are those of `thief` and `backlog`; this is where they meet the network. A call is
short, to an address and with a token that the coordinator has told; whoever does not answer in
time may have yielded something all the same, which then comes as a lease like any other.
"""

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import trio
from google.protobuf.message import DecodeError

from builder.base.errors import BuilderError, InvalidArgumentError, UnavailableError
from builder.net.rpc import Channel, Context, Method, Service
from builder.reapi.pb import workers_pb2
from builder.telemetry.log import get_logger
from builder.worker.thief import (
    Answered,
    AskForPeers,
    Event,
    Failed,
    Introduced,
    Outcomes,
    Peer,
    RoomChanged,
    Steal,
    Terms,
    Thief,
    TimePassed,
)

NAME = "builder.workers.Stealing"
STEAL = f"/{NAME}/Steal"
MOST_LEASES = 1000  # of one request
Dial = Callable[[str, str], AbstractAsyncContextManager[Channel]]
Asked = Callable[[str, tuple[str, ...], int], list[str]]
log = get_logger()


@dataclass(frozen=True, slots=True)
class Reachable:
    """Where other workers find this one, and what they have to show."""

    address: str
    token: str


class Stealing:
    """`dial(address, token)` opens a channel to a worker; `chance` gives numbers in [0, 1)."""

    def __init__(self, terms: Terms, dial: Dial, chance: Callable[[], float]) -> None:
        self.terms = terms
        self.reachable = Reachable("", "")  # nobody asks who does not know where
        self._dial = dial
        self._thief = Thief(terms, chance)
        self._told = Outcomes()
        self._news = trio.Event()
        self._calls: trio.Nursery | None = None
        self._asked: Asked = lambda _thief, _leases, _most: []
        self._ask_for_peers: Callable[[], None] = lambda: None
        self._name = ""

    def attach(self, name: str, asked: Asked, ask_for_peers: Callable[[], None]) -> None:
        """The program of this name answers other thieves, and reaches the coordinator."""
        self._name, self._asked, self._ask_for_peers = name, asked, ask_for_peers

    def service(self) -> Service:
        return Service(NAME, (Method(STEAL, unary=self.steal),))

    def steal(self, data: bytes, _context: Context) -> bytes:
        """Another worker wants something."""
        try:
            request = workers_pb2.StealRequest.FromString(data)
        except DecodeError:
            raise InvalidArgumentError("this is no StealRequest") from None
        if not request.thief or len(request.lease_ids) > MOST_LEASES:
            raise InvalidArgumentError(
                f"a StealRequest names a thief, and up to {MOST_LEASES} leases"
            )
        given = self._asked(request.thief, tuple(request.lease_ids), request.most)
        return workers_pb2.StealResponse(lease_ids=given).SerializeToString()

    def room(self, free: int) -> None:
        """So many slots are free while nothing waits here."""
        self._handle(RoomChanged(free))

    def introduced(self, peers: workers_pb2.Peers) -> None:
        found = (
            Peer(one.worker_name, one.address, one.token, tuple(one.lease_ids))
            for one in peers.peer
        )
        self._handle(Introduced(tuple(found)))

    def outcomes(self) -> workers_pb2.Steals:
        """Of the calls that ended since this was last asked for."""
        now, before = self._thief.snapshot(), self._told
        self._told = now
        attempted, succeeded, empty, failed = (a - b for a, b in zip(now, before, strict=True))
        return workers_pb2.Steals(
            attempted=attempted, succeeded=succeeded, empty=empty, failed=failed
        )

    async def run(self) -> None:
        """For as long as the worker wants more."""
        async with trio.open_nursery() as self._calls:
            while True:
                self._news = trio.Event()
                self._handle(TimePassed())
                deadline = self._thief.next_deadline()
                with trio.move_on_at(math.inf if deadline is None else deadline):
                    await self._news.wait()

    def _handle(self, event: Event) -> None:
        if self._calls is None:  # not yet
            return
        for effect in self._thief.handle(event, trio.current_time()):
            match effect:
                case Steal():
                    self._calls.start_soon(self._call, effect)
                case AskForPeers():
                    self._ask_for_peers()
        self._news.set()

    async def _call(self, steal: Steal) -> None:
        victim = steal.victim
        try:
            given = await self._ask(steal)
        except* BuilderError as group:
            log.debug("Not answered", victim=victim.name, why=str(group.exceptions[0]))
            self._handle(Failed(victim.name))
        else:
            log.debug("Took waiting actions", victim=victim.name, leases=given)
            self._handle(Answered(victim.name, given))

    async def _ask(self, steal: Steal) -> tuple[str, ...]:
        request = workers_pb2.StealRequest(
            thief=self._name, lease_ids=steal.leases, most=steal.most
        )
        limit_s = self.terms.timeout_s
        with trio.move_on_after(limit_s):
            async with self._dial(steal.victim.address, steal.victim.token) as channel:
                answer = await channel.unary(STEAL, request.SerializeToString(), timeout_s=limit_s)
                try:
                    return tuple(workers_pb2.StealResponse.FromString(answer).lease_ids)
                except DecodeError:
                    raise UnavailableError(f"{steal.victim.name} answers nonsense") from None
        raise UnavailableError(f"{steal.victim.name} did not answer within {limit_s:g} s")
