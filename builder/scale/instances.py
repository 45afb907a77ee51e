"""The life of an instance, and the pool's instances.

    LAUNCHING --launched--> STARTING --ready--> READY --retire--> LEAVING
        |                      |                  |                 |
        '------ gone ----------+------------------+-----------------+--> (forgotten)

A launch is counted from the moment it is asked for, so a slow provider is never asked twice. One
that was refused stays counted as wanted, and is asked for again after a pause.
"""

from collections.abc import Iterator
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
    """Which instances there are, by state."""

    def __init__(self) -> None:
        self.launches: dict[str, PendingLaunch] = {}
        self.known: dict[str, Instance] = {}

    @property
    def starting(self) -> int:
        """Asked for or booting."""
        booting = sum(1 for _ in self.of(State.STARTING))
        return booting + sum(launch.count for launch in self.launches.values())

    @property
    def ready(self) -> int:
        return sum(1 for _ in self.of(State.READY))

    @property
    def total(self) -> int:
        """What counts against the pool's bounds: all but those that leave."""
        return self.starting + self.ready

    def of(self, state: State) -> Iterator[Instance]:
        return (instance for instance in self.known.values() if instance.state is state)

    def put(self, instance: str, state: State, now: float) -> None:
        old = self.known.get(instance)
        running = old.running if old else 0
        self.known[instance] = Instance(instance, state, now, running)

    def set_running(self, instance: str, running: int) -> None:
        if old := self.known.get(instance):
            self.known[instance] = replace(old, running=running)

    def most_idle(self, count: int) -> list[str]:
        """Whom to send away: idle workers only, the youngest first.

        The old ones have the fuller caches. A busy worker is never taken: its actions would have
        to run again elsewhere, just when the pool is made smaller.
        """
        idle = [instance for instance in self.of(State.READY) if not instance.running]
        idle.sort(key=lambda instance: instance.since, reverse=True)
        return [instance.id for instance in idle[:count]]
