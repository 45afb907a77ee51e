"""What comes of a task's attempts: results, losses, retries, endings.

Every task ends once, by `kept`, `fail` or `stop`; every operation ends once, by `end_operation`.
"""

from builder.base.errors import Code
from builder.schedule import reasons
from builder.schedule.books import Books
from builder.schedule.deadlines import Due
from builder.schedule.dispatch import dequeue, enqueue, pay_back, take_up
from builder.schedule.effects import CancelLease, Explain, Forget, KeepResult
from builder.schedule.fleet import Worker
from builder.schedule.lease import BACKLOG, Lease, LeaseInput, LeaseState
from builder.schedule.lease import TABLE as MOVES
from builder.schedule.making import new
from builder.schedule.operation import Ending, Operation, OperationView, Stage
from builder.schedule.reasons import CODES, FINISHED, Reason, ReasonCode
from builder.schedule.spec import Outcome
from builder.schedule.task import TABLE as STEPS
from builder.schedule.task import Task, TaskInput, TaskState
from builder.schedule.views import tell

# Hot: an Enum looks its names up slowly.
COMPLETED, LOST, OK, QUEUED = Stage.COMPLETED, LeaseState.LOST, Code.OK, TaskState.QUEUED
KEPT, RESULT = TaskInput.KEPT, TaskInput.RESULT


def release(books: Books, lease: Lease, received: LeaseInput, now: float) -> None:
    """Take the lease one step on and its slot back. Lost ones stay known, the others end."""
    if lease.state is not LOST:
        books.fleet.release(books.fleet.workers[lease.worker], lease, now)
        share = lease.share
        if share is not None:
            share.settle(lease.id, now - lease.granted_at - lease.cost_s)
            lease.share = None
        if lease.account is not None:
            pay_back(books, lease.account)
    lease.state = state = MOVES[lease.state, received]
    if state is not LOST:
        del books.leases[lease.id]


def lose(books: Books, lease: Lease, reason: Reason, now: float) -> None:
    """The worker is gone, or does not know the lease. What was not started is not to blame."""
    waited = lease.state in BACKLOG
    release(books, lease, LeaseInput.EXPIRE, now)
    if lease.state is LeaseState.LOST:
        books.counters.leases_lost += 1
        task = books.tasks[lease.task]
        task.lost = (*task.lost, lease)
        if not waited:
            retry(books, task, lease, reason, now)
        elif not goes_on(books, task, lease):
            requeue(books, task, now)


def given_up(books: Books, worker: Worker, name: str, now: float) -> Lease | None:
    """The worker says that it will not run a lease of its own; None if its task has no need of it
    any more."""
    worker.seen_at = now
    lease = books.leases.get(name)
    if lease is None or lease.worker != worker.info.name:
        return None
    late = lease.state is LOST
    release(books, lease, LeaseInput.RETURN, now)
    if late:
        books.tasks[lease.task].forget(lease)
    return lease if lease.state is LeaseState.RETURNED and not late else None


def retry(books: Books, task: Task, lease: Lease, reason: Reason, now: float) -> None:
    """Run it again, on another worker if there is one; or give up after so many times."""
    books.effects.append(Explain(task.id, reason))
    if lease is task.hedge:
        task.hedge = None
        return
    _avoid(books, task, lease.worker)
    task.faults = (*task.faults, f"{lease.worker}: {reason.sentence}")
    if goes_on(books, task, lease):
        return
    task.lease = None
    task.progress = b""
    delay_s = _delay_s(books, task, reason)
    if len(task.faults) > books.policy.infrastructure_retries:
        books.counters.gave_up += 1
        fail(books, task, reasons.retries_exhausted(task.faults), now)
    elif delay_s:
        task.step(TaskInput.DELAY)
        books.deadlines.add(now + delay_s, Due.TASK, task)
        tell(books, task)
    else:
        requeue(books, task, now)


def _avoid(books: Books, task: Task, name: str) -> None:
    """The worker, and as long as there are others its host too."""
    if name not in task.avoid:
        task.avoid = (*task.avoid, name)
    worker = books.fleet.workers.get(name)
    host = worker.info.host if worker is not None else ""
    if host and host not in task.hosts:
        task.hosts = (*task.hosts, host)


def _delay_s(books: Books, task: Task, reason: Reason) -> float:
    """By cause: after one lost worker at once, and later and later after what comes again."""
    times = len(task.faults)
    if reason.code is not ReasonCode.INFRASTRUCTURE_FAILURE:
        times -= 1
    return books.policy.retry_delay_s * 2 ** (times - 1) if times else 0.0


def goes_on(books: Books, task: Task, lease: Lease) -> bool:
    """Whether another attempt of the task goes on without this one."""
    if lease is task.hedge:
        task.hedge = None
        return True
    if task.hedge is None or task.lease is not lease:
        return False
    task.lease, task.hedge = task.hedge, None
    tell(books, task)
    return True


def requeue(books: Books, task: Task, now: float) -> None:
    """Back to its old place in the order."""
    task.lease = None
    task.step(TaskInput.LOSE)
    enqueue(books, task, now)
    tell(books, task)


def revive(books: Books, worker: Worker, lease: Lease, now: float) -> None:
    """The worker runs a lease that was thought lost, and the task has no other."""
    task = books.tasks[lease.task]
    if task.state is TaskState.QUEUED:
        dequeue(books, task)
    task.step(TaskInput.REVIVE)
    lease.step(LeaseInput.REPORT)
    lease.seen_at = now
    task.forget(lease)
    task.lease = lease
    take_up(books, task, worker, lease)
    tell(books, task)


def result(books: Books, task: Task, outcome: Outcome, now: float) -> None:
    """One of its leases, current or lost, has brought a result of the action's own."""
    if task.state is QUEUED:
        dequeue(books, task)
    if task.lease is not None or task.hedge is not None or task.lost:
        drop_leases(books, task, "another attempt has brought the result", now)
    task.state = STEPS[task.state, RESULT]
    task.outcome = outcome
    counters, spec = books.counters, task.spec
    counters.execution_s += outcome.execution_s
    if outcome.succeeded:
        counters.succeeded += 1
    else:
        counters.failed += 1
    if outcome.succeeded and not (spec.do_not_cache or outcome.cut):
        kept_fields = (task.id, spec.key, outcome.response, spec.payload)
        books.effects.append(new(KeepResult, kept_fields))
    else:
        kept(books, task, now)


def kept(books: Books, task: Task, now: float) -> None:
    outcome = task.outcome
    assert outcome is not None
    task.state = STEPS[task.state, KEPT]
    books.remove_task(task)
    ending = new(Ending, (FINISHED, OK, outcome.response, outcome.succeeded))
    for operation in task.operations:
        end_operation(books, operation, ending, now)


def fail(books: Books, task: Task, reason: Reason, now: float) -> None:
    """An end of our own making, with a status for everybody who waits."""
    stop(books, task, reason.sentence, now)
    ending = Ending(reason, CODES[reason.code])
    for operation in task.operations:
        end_operation(books, operation, ending, now)


def stop(books: Books, task: Task, why: str, now: float) -> None:
    """End it without a result; its operations are ended by the caller."""
    if task.state is TaskState.QUEUED:
        dequeue(books, task)
    drop_leases(books, task, why, now)
    task.step(TaskInput.END)
    books.remove_task(task)


def end_operation(books: Books, operation: Operation, ending: Ending, now: float) -> None:
    operation.ending = ending
    operation.ended_at = now
    name, effects = operation.name, books.effects
    reason, _, response, _ = ending
    fields = (name, operation.key, COMPLETED, reason, "", b"", ending)
    effects.append(new(OperationView, fields))
    if books.policy.remember:
        effects.append(new(Forget, (name,)))
    if books.finished.add(operation, len(response)):
        for name in books.finished.shed():
            del books.operations[name]


def drop_leases(books: Books, task: Task, why: str, now: float) -> None:
    """Nobody waits for them any more: the current one is cancelled, the lost ones forgotten."""
    for lost in task.lost:
        release(books, lost, LeaseInput.CANCEL, now)
    task.lost = ()
    for lease in (task.lease, task.hedge):
        if lease is not None:
            lease.step(LeaseInput.CANCEL)
            worker = books.fleet.workers[lease.worker]
            if worker.backlog and lease.id in worker.backlog:
                books.fleet.start(worker, lease, now)
            if worker.session:
                books.effects.append(CancelLease(worker.session, lease.id, why))
    task.lease = task.hedge = None
