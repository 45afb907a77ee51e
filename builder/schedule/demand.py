"""What the actions ask of one configured pool: what its autoscaler looks at."""

from collections.abc import Mapping
from dataclasses import dataclass

from builder.schedule.books import Books


@dataclass(frozen=True, slots=True)
class Holder:
    """A worker that is known here: how many leases it holds, and whether it takes no more."""

    held: int
    draining: bool
    slots: int = 1


@dataclass(frozen=True, slots=True)
class Demand:
    """`queued` counts what the pool could serve; the totals are everybody's and only grow."""

    queued: int
    arrived: int
    finished: int
    held_s: float  # seconds that the finished ones held their slots, summed
    running_s: float  # that those which run have held theirs so far
    workers: Mapping[str, Holder]


def demand_of(books: Books, pool: str, now: float) -> Demand:
    counters = books.counters
    return Demand(
        queued=sum(
            len(lane.queue)
            for lane in books.lanes
            if lane.queue and any(offer.name == pool for offer in lane.pools)
        ),
        arrived=counters.submitted - counters.merged,
        finished=counters.served,
        held_s=counters.held_s,
        running_s=books.fleet.held_s(now),
        workers={
            name: Holder(len(worker.leases), bool(worker.draining), worker.info.slots)
            for name, worker in books.fleet.workers.items()
        },
    )
