"""The instances that this pool has launched, and what is known of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from builder.schedule.demand import Demand

SILENT_S = 120.0  # a worker that has been here and is not any more may come back for so long


@dataclass(slots=True)
class Ours:
    """One instance. Times are trio's."""

    since: float
    joined: bool = False
    leaving: bool = False  # it drains
    ended: bool = False  # the provider was told to terminate it
    gone: bool = False  # the provider does not list it any more
    missed_at: float | None = None  # since when its worker is not here


class Fleet:
    """Who joined, who drains, who is missing: told from what the coordinator sees."""

    def __init__(self) -> None:
        self._ours: dict[str, Ours] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._ours

    def __getitem__(self, name: str) -> Ours:
        return self._ours[name]

    def add(self, names: Iterable[str], now: float) -> None:
        for name in names:
            self._ours.setdefault(name, Ours(now))

    def remove(self, name: str) -> None:
        self._ours.pop(name, None)

    def present(self) -> Iterator[tuple[str, Ours]]:
        return ((name, one) for name, one in list(self._ours.items()) if not one.gone)

    @property
    def joined(self) -> int:
        return sum(one.joined for one in self._ours.values())

    def newly_joined(self, demand: Demand) -> list[str]:
        names = [name for name, one in self.present() if not one.joined and name in demand.workers]
        for name in names:
            self._ours[name].joined = True
        return names

    def newly_leaving(self, demand: Demand) -> list[str]:
        """Those that drain for another reason than ours: an operator, a notice of their cloud."""
        names = [
            name
            for name, one in self.present()
            if not one.leaving and name in demand.workers and demand.workers[name].draining
        ]
        for name in names:
            self._ours[name].leaving = True
        return names

    def drained(self, demand: Demand) -> list[str]:
        """Those that leave and hold nothing any more; each is told of once."""
        names = [
            name
            for name, one in self.present()
            if one.leaving and not one.ended and _is_empty(demand, name)
        ]
        for name in names:
            self._ours[name].ended = True
        return names

    def busy(self, demand: Demand) -> dict[str, int]:
        return {
            name: demand.workers[name].held if name in demand.workers else 0
            for name, _ in self.present()
        }

    def slots(self, demand: Demand) -> int | None:
        """Of a worker; their mean, where they differ."""
        found = [demand.workers[name].slots for name, _ in self.present() if name in demand.workers]
        return max(1, round(sum(found) / len(found))) if found else None

    def overdue(self, demand: Demand, patience_s: float, now: float) -> list[str]:
        """Instances whose worker has not been here for too long, though they cost something.

        One that is to come has `patience_s`; one that was here and hangs, or is cut off, is not
        waited for as long: it counts as ready all the time, and nobody starts in its place. Where
        all of several are silent, it is rather we who are cut off: they have `patience_s`, too.
        """
        found = []
        here = [name in demand.workers for name, one in self.present() if one.joined]
        silent_s = patience_s if len(here) > 1 and not any(here) else min(patience_s, SILENT_S)
        for name, one in self.present():
            if name in demand.workers:
                one.missed_at = None
                continue
            since = one.missed_at = now if one.missed_at is None else one.missed_at
            waited_s, limit_s = now - since, silent_s
            if not one.joined:
                waited_s, limit_s = now - one.since, patience_s
            if not one.ended and waited_s > limit_s:
                found.append(name)
        return found


def _is_empty(demand: Demand, name: str) -> bool:
    worker = demand.workers.get(name)
    return worker is None or (worker.draining and not worker.held)
