"""The life of an instance, and the pool's instances.

    LAUNCHING --launched--> STARTING --ready--> READY --retire--> LEAVING
        |                      |                  |                 |
        '------ gone ----------+------------------+-----------------+--> (forgotten)

A launch is counted from the moment it is asked for, so a slow provider is never asked twice. One
that was refused stays counted as wanted, and is asked for again after a pause.
"""

from dataclasses import dataclass, replace
from enum import Enum


class State(Enum):
    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Instance:
    id: str
    state: State
    since: float
    running: int = 0


@dataclass(frozen=True, slots=True)
class PendingLaunch:
    token: str
    count: int
    since: float
    again_at: float | None = None  # refused: when to ask again


class Instances:
    """Which instances there are, by state. Counts are kept: every event asks for them."""

    def __init__(self) -> None:
        self.launches: dict[str, PendingLaunch] = {}
        self._known: dict[str, Instance] = {}
        self._counts = dict.fromkeys(State, 0)

    def __contains__(self, instance: str) -> bool:
        return instance in self._known

    @property
    def starting(self) -> int:
        """Asked for or booting."""
        asked = sum(launch.count for launch in self.launches.values())
        return self._counts[State.STARTING] + asked

    @property
    def refused(self) -> int:
        """Of those asked for, what the provider would not give; it is asked again."""
        return sum(one.count for one in self.launches.values() if one.again_at is not None)

    @property
    def ready(self) -> int:
        return self._counts[State.READY]

    @property
    def leaving(self) -> int:
        return self._counts[State.LEAVING]

    @property
    def total(self) -> int:
        """What counts against the pool's bounds: all but those that leave."""
        return self.starting + self.ready

    def get(self, instance: str) -> Instance | None:
        return self._known.get(instance)

    def put(self, instance: str, state: State, now: float) -> None:
        old = self.forget(instance)
        running = old.running if old else 0
        self._known[instance] = Instance(instance, state, now, running)
        self._counts[state] += 1

    def forget(self, instance: str) -> Instance | None:
        old = self._known.pop(instance, None)
        if old is not None:
            self._counts[old.state] -= 1
        return old

    def set_running(self, instance: str, running: int) -> None:
        old = self._known.get(instance)
        if old is not None and old.running != running:
            self._known[instance] = replace(old, running=running)

    def check(self) -> None:
        """The counts are those of the instances."""
        states = [instance.state for instance in self._known.values()]
        assert self._counts == {state: states.count(state) for state in State}
        assert all(launch.count > 0 for launch in self.launches.values())

    def most_idle(self, count: int) -> list[str]:
        """Whom to send away: idle workers only, the youngest first.

        The old ones have the fuller caches. A busy worker is never taken: its actions would have
        to run again elsewhere, just when the pool is made smaller.
        """
        ready = (one for one in self._known.values() if one.state is State.READY)
        idle = [instance for instance in ready if not instance.running]
        idle.sort(key=lambda instance: instance.since, reverse=True)
        return [instance.id for instance in idle[:count]]
