"""What people and clients are told of one task or operation."""

from builder.schedule import reasons
from builder.schedule.books import Books
from builder.schedule.effects import UpdateOperation
from builder.schedule.making import new
from builder.schedule.operation import Operation, OperationView, Stage
from builder.schedule.reasons import Reason, ReasonCode
from builder.schedule.task import Task, TaskState

STAGES = {
    TaskState.QUEUED: Stage.QUEUED,
    TaskState.HELD: Stage.QUEUED,
    TaskState.DELAYED: Stage.QUEUED,
    TaskState.EXECUTING: Stage.EXECUTING,
    TaskState.KEEPING: Stage.EXECUTING,
}


def reason_of(books: Books, task: Task) -> Reason:
    """Why the task is where it is."""
    match task.state:
        case TaskState.EXECUTING:
            assert task.lease is not None
            return reasons.running(task.lease.worker, task.lease.attempt, task.phase)
        case TaskState.QUEUED:
            return _waiting(books, task)
        case TaskState.HELD:
            return reasons.CLIENT_AWAY
        case TaskState.DELAYED:
            return reasons.retry_delay(task.attempt + 1, task.faults[-1])
        case _:
            return Reason(ReasonCode.STORING_RESULT, "has its result; the action cache takes it")


def _waiting(books: Books, task: Task) -> Reason:
    lane = books.lane_of(task)
    if lane.account is not None and not lane.account.may_run:
        return reasons.quota_used(lane.account.instance, lane.account.running)
    workers = slots = resting = starting = 0
    for kind in lane.classes:
        workers += len(kind.workers)
        slots += kind.slots
        resting += kind.resting
    ready_s = 0.0
    for pool in lane.pools if books.starting else ():
        if pool.name in books.starting:
            starting += books.starting[pool.name].workers
            ready_s = max(books.starting[pool.name].ready_at - books.now, 1.0)
    if not workers:
        pools = tuple(pool.name for pool in lane.pools)
        return reasons.no_worker(lane.wanted, pools, starting, ready_s)
    wanted = lane.wanted
    if task.hosts and lane.elsewhere(task):
        wanted += " on another host than it failed on"
    waiting, counters = len(lane.queue), books.counters
    each_s = counters.held_s / counters.served if counters.served else 0.0
    about_s = each_s * waiting / slots
    numbers = (wanted, workers - resting, resting, starting, waiting, about_s)
    return new(Reason, (ReasonCode.ALL_BUSY, reasons.all_busy, numbers))


def view(books: Books, operation: Operation) -> OperationView:
    if operation.ending is not None:
        return OperationView(
            operation.name,
            operation.key,
            Stage.COMPLETED,
            operation.ending.reason,
            ending=operation.ending,
        )
    task = books.tasks[operation.task]
    worker = task.lease.worker if task.lease is not None else ""
    reason = reason_of(books, task)
    stage = STAGES[task.state]
    return new(
        OperationView, (operation.name, operation.key, stage, reason, worker, task.progress, None)
    )


def tell(books: Books, task: Task) -> None:
    """Tell everybody who waits for the task how it stands."""
    for operation in task.operations.values():
        books.effects.append(new(UpdateOperation, (view(books, operation),)))
