"""What the actions ask of one configured pool: what its autoscaler looks at.

An action that several pools could serve is asked of one of them, so that they do not all start
workers for it: of the first in the configuration that can still grow.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from builder.schedule.books import Books
from builder.schedule.counters import PoolCounters
from builder.schedule.fleet import Worker
from builder.schedule.lanes import Lane


@dataclass(frozen=True, slots=True)
class Holder:
    """A worker that is known here: how many leases it holds, and whether it takes no more."""

    held: int
    draining: bool
    slots: int = 1


@dataclass(frozen=True, slots=True)
class Demand:
    """`queued` is asked of this pool now; the totals, which only grow, are of the actions that it
    is the first to serve, and `workers` are everybody's."""

    queued: int
    arrived: int
    finished: int
    held_s: float  # seconds that the finished ones held their slots, summed
    running_s: float  # that those which run have held theirs so far
    workers: Mapping[str, Holder]


def demand_of(books: Books, pool: str, now: float, full: Container[str] = ()) -> Demand:
    """`full` are pools that start no more workers, whatever waits."""
    counters = books.lanes.counters.get(pool, PoolCounters())
    in_backlogs = sum(
        _asked(books.lane_of(books.tasks[lease.task]), full) == pool
        for worker in books.fleet.loaded.values()
        for lease in worker.backlog.values()
    )
    return Demand(
        queued=in_backlogs
        + sum(len(lane.queue) for lane in books.lanes if lane.queue and _asked(lane, full) == pool),
        arrived=counters.arrived,
        finished=counters.finished,
        held_s=counters.held_s,
        running_s=_running_s(books, counters, now),
        workers={
            name: Holder(_held(worker), bool(worker.draining), worker.info.slots)
            for name, worker in books.fleet.workers.items()
        },
    )


def _asked(lane: Lane, full: Container[str]) -> str:
    """The pool that is to start workers for what waits here; the first, if none can."""
    for pool in lane.pools:
        if pool.name not in full:
            return pool.name
    return lane.pools[0].name if lane.pools else ""


def _held(worker: Worker) -> int:
    """Slots taken; a backlog is none, but who has one is not idle."""
    return min(len(worker.leases), worker.info.slots)


def _running_s(books: Books, counters: PoolCounters, now: float) -> float:
    """With one pool there is a sum at hand; several share the leases, which are looked at."""
    if len(books.lanes.pools) < 2:
        return books.fleet.held_s(now)
    return sum(
        now - lease.granted_at
        for worker in books.fleet.workers.values()
        for lease in worker.leases.values()
        if lease.id not in worker.backlog
        and (task := books.tasks.get(lease.task))
        and books.lane_of(task).counters is counters
    )
