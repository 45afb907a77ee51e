"""Lanes: one queue for each platform that is asked for, tied to those who can serve it.

This is what keeps a decision's cost apart from the length of the queues: a new action looks at the
classes of workers of its own lane, a free worker at the heads of the lanes that it serves.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from builder.reapi.limits import LIMIT_PROPERTIES
from builder.schedule.fleet import WorkerClass
from builder.schedule.platform import (
    ALWAYS_COUNT,
    Offer,
    Properties,
    Requirement,
    canonical,
    described,
)
from builder.schedule.queue import Queue
from builder.schedule.task import Task

MOST_REMEMBERED = 1024  # what clients wrote, and what it means
MOST_EMPTY = 256  # lanes that are kept although nothing waits in them


class Lane:
    """`pools` are configured and may start workers; `classes` are workers that are here."""

    __slots__ = ("classes", "pools", "queue", "requirement", "unserved_at", "wanted")

    def __init__(self, requirement: Requirement) -> None:
        self.requirement = requirement
        self.wanted = described(requirement)
        self.queue = Queue()
        self.pools: tuple[Offer, ...] = ()
        self.classes: list[WorkerClass] = []
        self.unserved_at: float | None = None

    @property
    def served(self) -> bool:
        """Whether a worker that serves it is here, whatever it does, or a pool promises one."""
        return bool(self.pools or self.classes)

    def others(self, task: Task) -> bool:
        """Whether a worker that has not failed the task takes leases."""
        failed = sum(name in kind.workers for kind in self.classes for name in task.avoid)
        return sum(len(kind.workers) for kind in self.classes) > failed


class Lanes:
    def __init__(self, pools: Iterable[Offer], strict: bool) -> None:
        self.pools = tuple(pools)
        self.strict = strict
        self.names = {name for pool in self.pools for name, _ in pool.properties} | ALWAYS_COUNT
        self._requirements: dict[Properties, tuple[Requirement, Properties]] = {}
        self._lanes: dict[Requirement, Lane] = {}
        self._by_class: dict[WorkerClass, list[Lane]] = {}

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def requirement(self, properties: Properties) -> tuple[Requirement, Properties]:
        """What counts of the properties of an action, and those that nobody declares."""
        known = self._requirements.get(properties)
        if known is None:
            if len(self._requirements) >= MOST_REMEMBERED:
                self._requirements.clear()
            known = self._requirements[properties] = self._requirement(properties)
        return known

    def _requirement(self, properties: Properties) -> tuple[Requirement, Properties]:
        every = canonical(pair for pair in properties if pair[0] not in LIMIT_PROPERTIES)
        if self.names.issuperset(name for name, _ in every):
            return every, ()
        return (
            tuple(pair for pair in every if pair[0] in self.names),
            tuple(pair for pair in every if pair[0] not in self.names),
        )

    def lane(self, requirement: Requirement) -> Lane:
        found = self._lanes.get(requirement)
        return found if found is not None else self._open(requirement)

    def of_class(self, kind: WorkerClass) -> list[Lane]:
        return self._by_class.get(kind, [])

    def add_class(self, kind: WorkerClass) -> None:
        self.names |= {name for name, _ in kind.offer.properties}
        self._requirements.clear()
        self._by_class[kind] = []
        for lane in self._lanes.values():
            if kind.offer.serves(lane.requirement):
                self._tie(lane, kind)

    def remove_class(self, kind: WorkerClass) -> None:
        for lane in self._by_class.pop(kind):
            lane.classes.remove(kind)

    def offers(self) -> list[Offer]:
        """Everybody who could be named as the nearest."""
        pools = (replace(pool, name=f"pool {pool.name}") for pool in self.pools)
        return [*pools, *(kind.offer for kind in self._by_class)]

    def _open(self, requirement: Requirement) -> Lane:
        if len(self._lanes) >= MOST_EMPTY:
            self._close_empty()
        lane = self._lanes[requirement] = Lane(requirement)
        lane.pools = tuple(pool for pool in self.pools if pool.serves(requirement))
        for kind in self._by_class:
            if kind.offer.serves(requirement):
                self._tie(lane, kind)
        return lane

    def _tie(self, lane: Lane, kind: WorkerClass) -> None:
        lane.classes.append(kind)
        self._by_class[kind].append(lane)

    def _close_empty(self) -> None:
        for lane in [lane for lane in self._lanes.values() if not lane.queue]:
            del self._lanes[lane.requirement]
            for kind in lane.classes:
                self._by_class[kind].remove(lane)
