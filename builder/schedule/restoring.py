"""After a restart: operations from the journal, and leases that workers still run.

Theory of operation. A restored action is held until somebody shows interest: a client that attaches
to one of its operations, or a worker that names a lease of it. Lease ids say which task and which
attempt they are (`{task}/{attempt}`), so nothing about leases has to be written down: a worker that
comes back with the lease of a task that waits takes it up where it was. Whoever stays away for the
grace is taken to have gone.
"""

from builder.schedule.books import Books
from builder.schedule.deadlines import Due
from builder.schedule.dispatch import enqueue
from builder.schedule.events import OperationsRestored
from builder.schedule.fleet import Worker
from builder.schedule.lease import Lease, LeaseState
from builder.schedule.operation import Operation
from builder.schedule.task import WAITING


def restore(books: Books, event: OperationsRestored, now: float) -> None:
    for entry in event.entries:
        if entry.operation in books.operations:
            continue
        task = books.tasks.get(entry.task)
        if task is None:
            task = books.add_task(entry.task, entry.spec, books.lane_for(entry.spec), now)
            if not task.spec.do_not_cache:
                books.in_flight.setdefault(task.spec.key, task)
            enqueue(books, task, now)  # nobody attends it, so it is held
        operation = Operation(entry.operation, task.spec.key, task.id, now, watchers=0)
        operation.abandon_at = now + books.policy.abandon_grace_s
        books.deadlines.add(operation.abandon_at, Due.OPERATION, operation)
        books.operations[operation.name] = operation
        task.operations.append(operation)


def adopt(books: Books, worker: Worker, announced: str, now: float) -> Lease | None:
    """A lease of a former coordinator's, of a task that waits; as if it had been lost here."""
    name, _, attempt = announced.rpartition("/")
    task = books.tasks.get(name)
    if task is None or task.state not in WAITING or not attempt.isdecimal():
        return None
    if int(attempt) <= task.attempt:
        return None  # one of our own, which has ended
    task.attempt = int(attempt)
    lane = books.lane_of(task)
    lease = Lease(
        announced, name, worker.info.name, task.attempt, now, now, lane.need, lane.account
    )
    lease.state = LeaseState.LOST
    books.leases[announced] = lease
    task.lost = (*task.lost, lease)
    return lease
