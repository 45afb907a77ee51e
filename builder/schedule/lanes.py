"""Lanes: one queue for each platform and size that is asked for, tied to those who can serve it.

This is what keeps a decision's cost apart from the length of the queues: a new action looks at the
classes of workers of its own lane, a free worker at the heads of the lanes that it serves. Whatever
decides if a task can run at all (platform, resources, an instance's quota) is part of the lane, so
within one lane any task will do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from builder.reapi.limits import LIMIT_PROPERTIES
from builder.reapi.persistent import PERSISTENT_PROPERTIES
from builder.reapi.resources import is_resource
from builder.schedule.counters import PoolCounters
from builder.schedule.fair import FairQueue
from builder.schedule.fleet import Worker, WorkerClass
from builder.schedule.platform import (
    ALWAYS_COUNT,
    Offer,
    Properties,
    Requirement,
    canonical,
    described,
)
from builder.schedule.quotas import Account
from builder.schedule.resources import Amounts, amount_text
from builder.schedule.task import Task

NOT_OF_A_POOL = LIMIT_PROPERTIES | PERSISTENT_PROPERTIES
MOST_REMEMBERED = 1024  # what clients wrote, and what it means
MOST_EMPTY = 256  # lanes that are kept although no task is in them
LaneKey = tuple[Requirement, Amounts, Account | None]


class Lane:
    """`pools` are configured and may start workers; `classes` are workers that are here; `counters`
    are those of the first pool.

    `tasks` counts all that belong to it, waiting or not. It is `stuck` while no worker that is free
    has room for its needs: then only a worker that gets more room is worth a look.
    """

    __slots__ = (
        "account",
        "classes",
        "counters",
        "crowd",
        "holder",
        "need",
        "number",
        "pools",
        "queue",
        "requirement",
        "stuck",
        "tasks",
        "unserved_at",
        "wanted",
        "watched",
    )

    def __init__(
        self, number: int, requirement: Requirement, need: Amounts, account: Account | None
    ) -> None:
        self.number = number
        self.requirement = requirement
        self.need = need
        self.account = account
        self.wanted = ", ".join(
            [
                *([described(requirement)] if requirement or not need else []),
                *(amount_text(*pair) for pair in need),
            ]
        )
        self.queue = FairQueue()
        self.pools: tuple[Offer, ...] = ()
        self.counters = PoolCounters()
        self.classes: list[WorkerClass] = []
        self.crowd = (-1, 0, 0, 0)  # changes of the fleet that it counts; workers, slots, resting
        self.tasks = 0
        self.stuck = False
        self.holder: Worker | None = None  # keeps room for what waits here
        self.watched = False  # whether somebody looks at shares when the time comes
        self.unserved_at: float | None = None

    @property
    def served(self) -> bool:
        """Whether a worker that serves it is here, whatever it does, or a pool promises one."""
        return bool(self.pools or self.classes)

    @property
    def may_run(self) -> bool:
        return self.account is None or self.account.may_run

    def others(self, task: Task) -> bool:
        """Whether a worker that it need not avoid takes leases."""
        failed = sum(name in kind.workers for kind in self.classes for name in task.avoid)
        return sum(len(kind.workers) for kind in self.classes) > failed

    def elsewhere(self, task: Task) -> bool:
        """Whether such a worker, and a well one, is on a host where the task has not failed."""
        able = 0
        for kind in self.classes:
            able += kind.able - sum(kind.hosts.get(host, 0) for host in task.hosts)
            known = (kind.workers.get(name) for name in task.avoid)
            able -= sum(one is not None and _counts(one, task) for one in known)
        return able > 0

    def bars(self, task: Task, worker: Worker) -> bool:
        """Whether the task is kept from it: it, or its host, has failed the task, and others are
        there. What brings one worker down may well bring its neighbour down."""
        if not task.avoid:
            return False
        if worker.info.host in task.hosts and self.elsewhere(task):
            return True
        return worker.info.name in task.avoid and self.others(task)


def _counts(worker: Worker, task: Task) -> bool:
    return bool(worker.room) and worker.info.host not in task.hosts


class Lanes:
    def __init__(self, pools: Iterable[Offer], strict: bool) -> None:
        self.pools = tuple(pools)
        self.counters = {pool.name: PoolCounters() for pool in self.pools}
        self.strict = strict
        self.names = {name for pool in self.pools for name, _ in pool.properties} | ALWAYS_COUNT
        self._requirements: dict[Properties, tuple[Requirement, Properties]] = {}
        self._asked: dict[tuple[Properties, Amounts, Account | None], Lane] = {}
        self._lanes: dict[LaneKey, Lane] = {}
        self.numbered: dict[int, Lane] = {}
        self._opened = 0
        self._by_class: dict[WorkerClass, list[Lane]] = {}
        self._by_account: dict[Account, list[Lane]] = {}

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
        every = canonical(
            pair for pair in properties if pair[0] not in NOT_OF_A_POOL and not is_resource(pair[0])
        )
        if self.names.issuperset(name for name, _ in every):
            return every, ()
        return (
            tuple(pair for pair in every if pair[0] in self.names),
            tuple(pair for pair in every if pair[0] not in self.names),
        )

    def of(self, properties: Properties, need: Amounts, account: Account | None) -> Lane:
        """That of a request as its client wrote it."""
        found = self._asked.get((properties, need, account))
        if found is None:
            if len(self._asked) >= MOST_REMEMBERED:
                self._asked.clear()
            found = self.lane(self.requirement(properties)[0], need, account)
            self._asked[properties, need, account] = found
        return found

    def lane(
        self, requirement: Requirement, need: Amounts = (), account: Account | None = None
    ) -> Lane:
        found = self._lanes.get((requirement, need, account))
        return found if found is not None else self._open(requirement, need, account)

    def of_class(self, kind: WorkerClass) -> list[Lane]:
        return self._by_class.get(kind, [])

    def of_account(self, account: Account) -> list[Lane]:
        return self._by_account.get(account, [])

    def add_class(self, kind: WorkerClass) -> None:
        self.names |= {name for name, _ in kind.offer.properties}
        self._requirements.clear()
        self._asked.clear()
        self._by_class[kind] = []
        for lane in self._lanes.values():
            if kind.offer.serves(lane.requirement, lane.need):
                self._tie(lane, kind)

    def remove_class(self, kind: WorkerClass) -> None:
        for lane in self._by_class.pop(kind):
            lane.classes.remove(kind)

    def offers(self) -> list[Offer]:
        """Everybody who could be named as the nearest."""
        pools = (replace(pool, name=f"pool {pool.name}") for pool in self.pools)
        return [*pools, *(kind.offer for kind in self._by_class)]

    def _open(self, requirement: Requirement, need: Amounts, account: Account | None) -> Lane:
        if len(self._lanes) >= MOST_EMPTY:
            self._close_empty()
        self._opened += 1
        lane = Lane(self._opened, requirement, need, account)
        self._lanes[requirement, need, account] = self.numbered[lane.number] = lane
        lane.pools = tuple(pool for pool in self.pools if pool.serves(requirement, need))
        if lane.pools:
            lane.counters = self.counters[lane.pools[0].name]
        for kind in self._by_class:
            if kind.offer.serves(requirement, need):
                self._tie(lane, kind)
        if account is not None:
            self._by_account.setdefault(account, []).append(lane)
        return lane

    def _tie(self, lane: Lane, kind: WorkerClass) -> None:
        lane.classes.append(kind)
        lane.stuck = False
        self._by_class[kind].append(lane)

    def _close_empty(self) -> None:
        self._asked.clear()
        for lane in [lane for lane in self._lanes.values() if not lane.tasks]:
            del self._lanes[lane.requirement, lane.need, lane.account]
            del self.numbered[lane.number]
            for kind in lane.classes:
                self._by_class[kind].remove(lane)
            if lane.account is not None:
                self._by_account[lane.account].remove(lane)
