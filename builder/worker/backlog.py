"""The backlog of one worker: leases beyond its slots, which it starts when a slot comes free.

    grant --> WAITING --start--> RUNNING --ended--> (gone)
                 |--yield, to a worker that asked, or recalled--> (gone)
                 `--hand back, when cancelled or drained--> (gone)

Theory of operation. What is granted starts at once while a slot is free, else it waits; of those
that wait the one with the lowest place in the order is next, the first that came among equals. A
lease leaves by one way only, in one step: whoever is given it in an answer, or told of its return,
can rely on it that it is not started here afterwards. A thief gets what is next in the order, for
it has nothing to do and starts it at once.
"""

from bisect import insort
from collections.abc import Iterable
from typing import NamedTuple


class Granted(NamedTuple):
    lease: str
    order: float = 0.0


class Ended(NamedTuple):
    """What has been started is over."""

    lease: str


class Asked(NamedTuple):
    """A worker with nothing to do wants at most so many of these."""

    thief: str
    leases: tuple[str, ...]
    most: int


class Recalled(NamedTuple):
    lease: str


class Dropped(NamedTuple):
    """Nobody wants it any more."""

    lease: str
    why: str


class Drained(NamedTuple):
    """From now on nothing that waits is started."""

    why: str


Event = Granted | Ended | Asked | Recalled | Dropped | Drained


class Start(NamedTuple):
    lease: str


class Yield(NamedTuple):
    """To the thief; or to the coordinator, who has recalled it."""

    lease: str
    thief: str = ""


class HandBack(NamedTuple):
    lease: str
    why: str


Effect = Start | Yield | HandBack


class Snapshot(NamedTuple):
    running: tuple[str, ...]
    waiting: tuple[str, ...]
    free: int


class Backlog:
    """Without `slots` everything starts at once: who may hold how many is the coordinator's."""

    def __init__(self, slots: int | None = None) -> None:
        self._slots = slots
        self._running: dict[str, None] = {}
        self._waiting: list[tuple[float, int, str]] = []  # the next one first
        self._count = 0

    def handle(self, event: Event, _now: float) -> list[Effect]:
        match event:
            case Granted(lease, order):
                self._count += 1
                insort(self._waiting, (order, self._count, lease))
            case Ended(lease):
                self._running.pop(lease, None)
            case Asked(thief, leases, most):
                return [Yield(lease, thief) for lease in self._take(leases, most)]
            case Recalled(lease):
                return [Yield(lease) for lease in self._take((lease,), 1)]
            case Dropped(lease, why):
                return [HandBack(lease, why) for lease in self._take((lease,), 1)]
            case Drained(why):
                every = [lease for _, _, lease in self._waiting]
                return [HandBack(lease, why) for lease in self._take(every, len(every))]
        return self._start()

    def next_deadline(self) -> float | None:
        """Nothing here waits for the time."""
        return None

    def check(self) -> None:
        """Raises AssertionError."""
        waiting = [lease for _, _, lease in self._waiting]
        assert len(set(waiting)) == len(waiting)
        assert not self._running.keys() & set(waiting), "it runs and waits"
        assert self._waiting == sorted(self._waiting)
        assert not waiting or not self.free, "it waits while a slot is free"

    def snapshot(self) -> Snapshot:
        return Snapshot(
            tuple(self._running), tuple(lease for _, _, lease in self._waiting), self.free
        )

    @property
    def waiting(self) -> list[str]:
        return [lease for _, _, lease in self._waiting]

    @property
    def free(self) -> int:
        return 1 if self._slots is None else max(self._slots - len(self._running), 0)

    def _start(self) -> list[Effect]:
        started: list[Effect] = []
        while self._waiting and self.free:
            _, _, lease = self._waiting.pop(0)
            self._running[lease] = None
            started.append(Start(lease))
        return started

    def _take(self, leases: Iterable[str], most: int) -> list[str]:
        """Out of those that wait, in their order."""
        wanted = set(leases)
        taken = [lease for _, _, lease in self._waiting if lease in wanted][: max(most, 0)]
        self._waiting = [one for one in self._waiting if one[2] not in taken]
        return taken
