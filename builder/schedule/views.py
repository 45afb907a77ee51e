"""What people and clients are told of one task or operation."""

from builder.schedule import reasons
from builder.schedule.books import Books
from builder.schedule.effects import UpdateOperation
from builder.schedule.lease import BACKLOG
from builder.schedule.making import new
from builder.schedule.operation import Operation, OperationView, Stage
from builder.schedule.reasons import Reason, ReasonCode
from builder.schedule.spec import ActionKey
from builder.schedule.task import Task, TaskState

STAGES = {
    TaskState.QUEUED: Stage.QUEUED,
    TaskState.HELD: Stage.QUEUED,
    TaskState.DELAYED: Stage.QUEUED,
    TaskState.EXECUTING: Stage.EXECUTING,
    TaskState.KEEPING: Stage.EXECUTING,
}

EXECUTING, QUEUED = TaskState.EXECUTING, TaskState.QUEUED  # hot: an Enum looks its names up slowly
ALL_BUSY, RUNNING = ReasonCode.ALL_BUSY, ReasonCode.RUNNING
IN_BACKLOG = ReasonCode.IN_BACKLOG


def reason_of(books: Books, task: Task) -> Reason:
    """Why the task is where it is."""
    state = task.state
    if state is EXECUTING:
        lease = task.lease
        assert lease is not None
        if lease.state in BACKLOG:
            return reasons.in_backlog(lease.worker, lease.taken_from)
        parts = (lease.worker, lease.attempt, task.phase, lease.taken_from, lease.warm)
        return new(Reason, (RUNNING, reasons.running, parts))
    if state is QUEUED:
        return _waiting(books, task)
    if state is TaskState.HELD:
        return reasons.CLIENT_AWAY
    if state is TaskState.DELAYED:
        return reasons.retry_delay(task.attempt + 1, task.faults[-1])
    return Reason(ReasonCode.STORING_RESULT, "has its result; the action cache takes it")


def _waiting(books: Books, task: Task) -> Reason:
    lane = books.lanes.numbered[task.lane]
    if lane.account is not None and not lane.account.may_run:
        return reasons.quota_used(lane.account.instance, lane.account.running)
    workers = slots = resting = starting = 0
    for kind in lane.classes:
        workers += len(kind.workers)
        slots += kind.slots
        resting += kind.resting
    ready_s = 0.0
    if books.starting:
        for soon in (books.starting.get(pool.name) for pool in lane.pools):
            if soon is not None:
                starting += soon.workers
                ready_s = max(soon.ready_at - books.now, 1.0)
    if not workers:
        pools = tuple(pool.name for pool in lane.pools)
        return reasons.no_worker(lane.wanted, pools, starting, ready_s)
    wanted = lane.wanted
    if task.hosts and lane.elsewhere(task):
        wanted += " on another host than it failed on"
    waiting, served = lane.queue.size, books.counters.served
    about_s = books.counters.held_s / served * waiting / slots if served else 0.0
    numbers = (wanted, workers - resting, resting, starting, waiting, about_s)
    return new(Reason, (ALL_BUSY, reasons.all_busy, numbers))


def view(books: Books, operation: Operation) -> OperationView:
    if operation.ending is not None:
        return OperationView(
            operation.name,
            operation.key,
            Stage.COMPLETED,
            operation.ending.reason,
            ending=operation.ending,
        )
    return OperationView(operation.name, *_standing(books, books.tasks[operation.task]))


def _standing(books: Books, task: Task) -> tuple[ActionKey, Stage, Reason, str, bytes]:
    """What is the same in the views of all that wait for the task."""
    lease = task.lease
    stage, reason = STAGES[task.state], reason_of(books, task)
    worker = "" if lease is None else lease.worker
    if worker and reason.code is IN_BACKLOG:
        stage, worker = Stage.QUEUED, ""
    return task.spec.key, stage, reason, worker, task.progress


def tell(books: Books, task: Task) -> None:
    """Tell everybody who waits for the task how it stands."""
    key, stage, reason, worker, progress = _standing(books, task)
    effects = books.effects
    for name in task.operations:
        view = new(OperationView, (name, key, stage, reason, worker, progress, None))
        effects.append(new(UpdateOperation, (view,)))
