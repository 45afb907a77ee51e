"""Backlogs: leases beyond a worker's slots, which it starts by itself when a slot comes free.

Theory of operation. A worker that finishes something need not wait for an answer before it begins
the next action, if that lies in its backlog already. What lies there has its turn behind it: it was
the first in the order when it went there, waits behind what its worker runs, and is started by its
place in the order. It is asked back (`recall`) when somebody has a better claim (an action with a
more urgent priority that finds all backlogs full, a user with less than a fair share, as in
`preempting`) and when the worker is not well. A recalled lease that was being started runs on; else
it comes back and takes its old place in the queue, and nobody is charged for anything; for others'
sake an action is asked back a few times at most. A lease in a backlog takes the resources of its
worker like any other one, so a backlog never promises what is not there.
"""

from itertools import islice

from builder.schedule.books import Books
from builder.schedule.effects import RecallLease
from builder.schedule.fleet import Worker
from builder.schedule.lanes import Lane
from builder.schedule.lease import Lease, LeaseInput, LeaseState
from builder.schedule.resources import fits, give_back
from builder.schedule.task import Task

MOST_LOOKED_AT = 64  # workers


def recall(books: Books, worker: Worker, lease: Lease, why: str) -> None:
    """Of a lease that waits in the worker's backlog."""
    lease.step(LeaseInput.RECALL)
    books.counters.recalled += 1
    if worker.session:
        books.effects.append(RecallLease(worker.session, lease.id, why))


def recall_all(books: Books, worker: Worker, why: str) -> None:
    for lease in worker.backlog.values():
        if lease.state is LeaseState.WAITING:
            recall(books, worker, lease, why)


def make_way(books: Books, lane: Lane, limit_s: float) -> None:
    """What waits in the lane may be more urgent than what lies in the backlogs of its workers."""
    if not lane.may_run or lane.queue.urgent >= books.least_urgent:
        return
    entry = lane.queue.first(limit_s)
    if entry is None:
        return
    found: tuple[float, Worker, Lease] | None = None
    for worker in islice(books.fleet.loaded.values(), MOST_LOOKED_AT):
        if not _would_serve(lane, entry[3], worker):
            continue
        for lease in worker.backlog.values():
            task = books.tasks[lease.task]
            better = found is None or task.order_s >= found[0]
            if better and _gives_way(books, lease, entry[3]) and _makes_room(lane, worker, lease):
                found = task.order_s, worker, lease
    if found is not None:
        books.tasks[found[2].task].preempted += 1
        recall(books, found[1], found[2], "something more urgent waits")


def _would_serve(lane: Lane, task: Task, worker: Worker) -> bool:
    """If there were room in its backlog."""
    free = worker.takes_leases and worker.held_for in (None, lane.number)
    return free and worker.kind in lane.classes and not lane.bars(task, worker)


def _gives_way(books: Books, lease: Lease, urgent: Task) -> bool:
    task = books.tasks[lease.task]
    return (
        lease.state is LeaseState.WAITING
        and task.priority > urgent.priority
        and task.order_s > urgent.order_s
        and task.preempted < books.policy.preemptions
    )


def _makes_room(lane: Lane, worker: Worker, lease: Lease) -> bool:
    free = dict(worker.free)
    give_back(free, lease.need)
    return fits(lane.need, free)
