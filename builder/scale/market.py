"""Which machine to ask for: of what kind, in which place, spot or not.

Theory of operation. Every candidate has the price of an hour of one slot, and that of a spot
machine is raised by what its interruptions cost: each one throws away work and waits for another
machine, a quarter of an hour in all. The rate of interruptions is learned, from the hours that
machines of that kind were there in that place and how many of them were taken back; what is long
ago counts less and less. The cheapest comes first. Who was refused for want of capacity rests, at
the end of the order and not out of it, and longer with each time in a row. While work waits,
who starts much later than the quickest comes after the others, whatever it costs; how long a start
takes is learned from those that were seen, of the same candidate, else of its kind anywhere. Where
no prices are known the order of the configuration stands.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf
from typing import NamedTuple

from builder.scale.load import Learned

FIRST_REST_S = 60.0
LONGEST_REST_S = 900.0
LOSS_H = 0.25  # of an interruption
MEMORY_S = 6 * 3600.0
PRIOR_H, PRIOR_RATE = 10.0, 0.05  # before anything was seen: one in twenty hours
SPOT_PART = 0.4  # of the price, where that of spot machines is not told
PATIENCE_S = 30.0  # work that waits takes a cheaper machine that starts so much later


@dataclass(frozen=True, slots=True)
class Price:
    """Of an hour of one machine, in any one currency, with `slots` of equal worth.

    `start_up_s` is how long it takes from its launch until it works, until that was seen; 0: as
    quick as any.
    """

    hour: float
    spot_hour: float | None = None
    slots: int = 1
    start_up_s: float = 0.0

    @property
    def spot(self) -> float:
        """Of an hour of a spot machine."""
        return self.hour * SPOT_PART if self.spot_hour is None else self.spot_hour


Goods = str | tuple[str, str]  # a kind anywhere, or a kind in one place


@dataclass(frozen=True, slots=True)
class Candidate:
    kind: str
    place: str
    spot: bool

    def __str__(self) -> str:
        where = f" in {self.place}" if self.place else ""
        return f"{self.kind}{where} ({'spot' if self.spot else 'on demand'})"


@dataclass(frozen=True, slots=True)
class Memory:
    """What a restart should not forget of one candidate; `start_up_s` is None if none was seen."""

    kind: str
    place: str
    spot: bool
    hours: float
    interruptions: float
    start_up_s: float | None = None


class Placed(NamedTuple):
    """A machine that was granted: what it is, and when it was asked for."""

    candidate: Candidate
    since: float


@dataclass(slots=True)
class History:
    """What is remembered of one candidate; hours and interruptions fade."""

    machines: int = 0  # that are there
    at: float = 0.0  # when the figures below were brought up to date
    hours: float = 0.0
    interruptions: float = 0.0
    refusals: int = 0  # in a row
    rests_until: float = -inf


class Market:
    """Candidates in the order of preference, and what is known of each. Times in seconds."""

    def __init__(
        self, candidates: Sequence[Candidate], prices: Mapping[Goods, Price] | None = None
    ) -> None:
        self._prices = prices or {}
        self._known = {candidate: History() for candidate in candidates}
        self._starts: dict[Candidate | str, Learned] = {}  # of a candidate, and of its kind

    # ---- what has happened

    def granted(self, candidate: Candidate, machines: int, now: float) -> None:
        one = self._until(candidate, now)
        one.machines += machines
        one.refusals, one.rests_until = 0, -inf

    def joined(self, machine: Placed, now: float) -> None:
        """It works."""
        candidate, since = machine
        for whose in (candidate, candidate.kind):
            self._starts.setdefault(whose, Learned(0.0)).add(max(0.0, now - since))

    def refused(self, candidates: Iterable[Candidate], now: float) -> None:
        """No capacity, or no quota left."""
        for candidate in candidates:
            one = self._until(candidate, now)
            one.refusals += 1
            one.rests_until = now + min(LONGEST_REST_S, FIRST_REST_S * 2 ** (one.refusals - 1))

    def ended(self, candidate: Candidate, now: float) -> None:
        """A machine that we have ended ourselves."""
        one = self._until(candidate, now)
        one.machines = max(0, one.machines - 1)

    def interrupted(self, candidate: Candidate, now: float) -> None:
        """A machine was taken back."""
        self.ended(candidate, now)
        self._known[candidate].interruptions += 1

    # ---- over a restart

    def memories(self, now: float) -> list[Memory]:
        """Of the candidates of which something is known."""
        found = []
        for candidate in self._known:
            one, start = self._until(candidate, now), self._starts.get(candidate)
            if one.hours or one.interruptions or start:
                start_up_s = start.value_s if start else None
                place = candidate.kind, candidate.place, candidate.spot
                found.append(Memory(*place, one.hours, one.interruptions, start_up_s))
        return found

    def recall(self, memories: Iterable[Memory], age_s: float, now: float) -> None:
        """What was so some time ago counts less; who is no candidate any more is forgotten."""
        kept = exp(-max(0.0, age_s) / MEMORY_S)
        for one in memories:
            candidate = Candidate(one.kind, one.place, one.spot)
            if candidate not in self._known:
                continue
            known = self._until(candidate, now)
            known.hours += one.hours * kept
            known.interruptions += one.interruptions * kept
            if one.start_up_s is not None:
                self.joined(Placed(candidate, now - one.start_up_s), now)

    # ---- what follows

    def ranked(self, now: float, *, urgent: bool = False) -> list[Candidate]:
        """The one to ask first, first; `urgent` while work waits."""
        preferred = {candidate: number for number, candidate in enumerate(self._known)}
        timely_s = self._quickest(now) + PATIENCE_S if urgent else inf

        def key(candidate: Candidate) -> tuple[bool, bool, float, int]:
            price = self.price(candidate, now)
            resting = self._known[candidate].rests_until > now
            late = self.start_up_s(candidate) > timely_s
            return resting, late, inf if price is None else price, preferred[candidate]

        return sorted(self._known, key=key)

    def price(self, candidate: Candidate, now: float) -> float | None:
        """Of an hour of one slot, interruptions included; None where it is not told."""
        found = self._told(candidate)
        if found is None:
            return None
        if not candidate.spot:
            return found.hour / found.slots
        return found.spot / found.slots * (1 + LOSS_H * self.rate(candidate, now))

    def rate(self, candidate: Candidate, now: float) -> float:
        """Interruptions in an hour of one machine, as far as that is known."""
        one = self._until(candidate, now)
        return (one.interruptions + PRIOR_RATE * PRIOR_H) / (one.hours + PRIOR_H)

    def why(self, candidate: Candidate, now: float, *, urgent: bool = False) -> str:
        """One sentence on where it stands in the order."""
        one, price = self._until(candidate, now), self.price(candidate, now)
        if price is None:
            said = f"{candidate}: as the configuration prefers"
        else:
            said = f"{candidate}: {price:.4f} an hour for each slot"
        if candidate.spot and price is not None:
            said += f", with {self.rate(candidate, now):.2f} interruptions an hour"
        if one.rests_until > now:
            said += f"; refused {one.refusals} times, rests {one.rests_until - now:.0f} s more"
        return said + (self._passed_over(candidate, now) if urgent else "")

    def start_up_s(self, candidate: Candidate) -> float:
        """From its launch until it works: learned, else as it is told."""
        for whose in (candidate, candidate.kind):
            if whose in self._starts:
                return self._starts[whose].value_s
        told = self._told(candidate)
        return told.start_up_s if told else 0.0

    def _passed_over(self, chosen: Candidate, now: float) -> str:
        """The cheapest of those that would have started too late."""
        quickest, price = self._quickest(now), self.price(chosen, now)
        for one in self.ranked(now):
            less, starts_s = self.price(one, now), self.start_up_s(one)
            if one == chosen or price is None or less is None or less >= price:
                break
            if starts_s > quickest + PATIENCE_S >= self.start_up_s(chosen):
                late = f"{one} is cheaper ({less:.4f}) but starts in {starts_s:.0f} s"
                return f"; {late}, and work waits"
        return ""

    def _told(self, candidate: Candidate) -> Price | None:
        here = self._prices.get((candidate.kind, candidate.place))
        return here or self._prices.get(candidate.kind)

    def _quickest(self, now: float) -> float:
        """The shortest start of those that do not rest. Where none is told, those that nobody has
        seen are no measure for the others."""
        told = any(price.start_up_s for price in self._prices.values())
        awake = [one for one, known in self._known.items() if known.rests_until <= now]
        starts = [self.start_up_s(one) for one in awake if told or one.kind in self._starts]
        return min(starts, default=0.0)

    def _until(self, candidate: Candidate, now: float) -> History:
        one = self._known[candidate]
        passed = max(0.0, now - one.at)
        kept = exp(-passed / MEMORY_S)
        one.hours = one.hours * kept + one.machines * passed / 3600
        one.interruptions *= kept
        one.at = max(one.at, now)
        return one
