"""Machines for a simulation: what they cost, how fast they start, how often they are taken back.

Theory of operation. The offers are the world; the market that chooses among them is the providers'
own, and knows of the world what a configuration tells of it. What it is not told (which machines
are taken back, of which there are no more) it finds out as it does in the service. A buyer is one
way to choose: by price, by price without spot machines, or in the order that is written.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log
from typing import NamedTuple

from builder.scale.market import Candidate, Goods, Market, Placed, Price

NOTICE_S = 120.0  # from a spot machine's notice until it is gone


@dataclass(frozen=True, slots=True)
class Offer:
    """A kind of machine in one place. `interruptions` of a spot machine in an hour; `most` is how
    many there are of it, as spot machines and on demand each."""

    kind: str
    price: Price
    place: str = ""
    interruptions: float = 0.05
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    placed: Placed
    slots: int
    hour: float  # its price
    ready_at: float
    noticed_at: float  # when it is taken back


@dataclass(frozen=True, slots=True)
class Buyer:
    by_price: bool
    spot: bool


BUYERS: dict[str, Buyer] = {
    "cost-aware": Buyer(by_price=True, spot=True),
    "on demand, by price": Buyer(by_price=True, spot=False),
    "spot, in order": Buyer(by_price=False, spot=True),
    "on demand, in order": Buyer(by_price=False, spot=False),
}


class Bought(NamedTuple):
    """A configured pool: its bounds, its policy, and its machines, if their prices are told."""

    minimum: int
    maximum: int
    policy: str
    spot: bool
    offers: tuple[Offer, ...]


class Vendor:
    """`chance` gives numbers in [0, 1)."""

    def __init__(self, offers: Sequence[Offer], buyer: Buyer, chance: Callable[[], float]) -> None:
        self._offers = {(offer.kind, offer.place): offer for offer in offers}
        self._chance = chance
        self._there: Counter[Candidate] = Counter()
        wants = [True, False] if buyer.spot and buyer.by_price else [buyer.spot]
        candidates = [Candidate(*goods, spot) for spot in wants for goods in self._offers]
        prices: dict[Goods, Price] = {goods: one.price for goods, one in self._offers.items()}
        self._market = Market(candidates, prices if buyer.by_price else None)

    def launch(self, count: int, now: float, *, urgent: bool) -> list[Machine]:
        """As many of them as there are, in the market's order."""
        made: list[Machine] = []
        for candidate in self._market.ranked(now, urgent=urgent):
            missing = count - len(made)
            most = self._offers[candidate.kind, candidate.place].most
            left = missing if most is None else min(missing, most - self._there[candidate])
            if missing and not left:
                self._market.refused([candidate], now)
            elif left:
                self._market.granted(candidate, left, now)
                self._there[candidate] += left
                made += [self._machine(candidate, now) for _ in range(left)]
        return made

    def _machine(self, candidate: Candidate, now: float) -> Machine:
        offer = self._offers[candidate.kind, candidate.place]
        price, noticed_at = offer.price, inf
        hour = price.spot if candidate.spot else price.hour
        if candidate.spot and offer.interruptions:
            noticed_at = now - log(1.0 - self._chance()) / offer.interruptions * 3600
        return Machine(
            Placed(candidate, now), price.slots, hour, now + price.start_up_s, noticed_at
        )

    def joined(self, machine: Machine) -> None:
        self._market.joined(machine.placed, machine.ready_at)

    def ended(self, machine: Machine, now: float) -> None:
        """By us, or because it was taken back."""
        candidate = machine.placed.candidate
        self._there[candidate] -= 1
        tell = self._market.interrupted if now >= machine.noticed_at else self._market.ended
        tell(candidate, now)


def alike(slots: int, start_up_s: float, hour: float = 0.0) -> Vendor:
    """Of one kind, as many as are wanted."""
    offer = Offer("worker", Price(hour, slots=slots, start_up_s=start_up_s))
    return Vendor([offer], Buyer(by_price=False, spot=False), lambda: 0.0)
