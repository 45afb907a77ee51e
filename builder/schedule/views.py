"""What people and clients are told of one task or operation."""

from builder.schedule import reasons
from builder.schedule.books import Books
from builder.schedule.lanes import Lane
from builder.schedule.lease import BACKLOG
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

# Hot: an Enum looks its names up slowly.
QUEUED, AWAITING, EXECUTING = TaskState.QUEUED, Stage.QUEUED, Stage.EXECUTING
NOBODY_COMES = (0, 0.0, "")
ALL_BUSY, RUNNING = ReasonCode.ALL_BUSY, ReasonCode.RUNNING


def reason_of(books: Books, task: Task) -> Reason:
    """Why the task is where it is."""
    return _standing(books, task)[1]


def _standing(books: Books, task: Task) -> tuple[Stage, Reason, str]:
    """What is the same in the views of all that wait for the task; and its worker, once it runs."""
    state, lease = task.state, task.lease
    if state is QUEUED:
        return AWAITING, _waiting(books, task), ""
    if lease is not None:
        worker = lease.worker
        if books.fleet.loaded and lease.state in BACKLOG:
            return AWAITING, reasons.in_backlog(worker, lease.taken_from), ""
        parts = (worker, lease.attempt, task.phase, lease.taken_from, lease.warm)
        return EXECUTING, new(Reason, (RUNNING, reasons.running, parts)), worker
    if state is TaskState.HELD:
        return AWAITING, reasons.CLIENT_AWAY, ""
    if state is TaskState.DELAYED:
        return AWAITING, reasons.retry_delay(task.attempt + 1, task.faults[-1]), ""
    return EXECUTING, reasons.STORING_RESULT, ""


def _waiting(books: Books, task: Task) -> Reason:
    lane = books.lanes.numbered[task.lane]
    if lane.account is not None and not lane.account.may_run:
        return reasons.quota_used(lane.account.instance, lane.account.running)
    changes, workers, slots, resting = lane.crowd
    if changes != books.fleet.changes:
        _, workers, slots, resting = lane.crowd = _crowd(books, lane)
    starting, ready_s, trouble = _coming(books, lane) if books.starting else NOBODY_COMES
    if not workers:
        pools = tuple(pool.name for pool in lane.pools)
        return reasons.no_worker(lane.wanted, pools, starting, ready_s, trouble)
    wanted = lane.wanted
    if task.hosts and lane.elsewhere(task):
        wanted += " on another host than it failed on"
    waiting, served = lane.queue.size, books.counters.served
    about_s = books.counters.held_s / served * waiting / slots if served else 0.0
    numbers = (wanted, workers - resting, resting, starting, waiting, about_s)
    return new(Reason, (ALL_BUSY, reasons.all_busy, numbers))


def _coming(books: Books, lane: Lane) -> tuple[int, float, str]:
    """How many workers for the lane are on their way, how long the first takes, or why none is.

    One that should have been here by now may come at any time: nothing is promised then.
    """
    pools = [one for pool in lane.pools if (one := books.starting.get(pool.name)) is not None]
    soon_s = min((one.ready_at - books.now for one in pools if one.workers), default=0.0)
    trouble = next((one.trouble for one in pools if one.trouble), "")
    return sum(one.workers for one in pools), max(soon_s, 0.0), trouble


def _crowd(books: Books, lane: Lane) -> tuple[int, int, int, int]:
    """How many workers serve the lane, with how many slots, and how many of them rest."""
    kinds = lane.classes
    workers, slots = sum(len(kind.workers) for kind in kinds), sum(kind.slots for kind in kinds)
    return books.fleet.changes, workers, slots, sum(kind.resting for kind in kinds)


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
    stage, reason, worker = _standing(books, task)
    return OperationView(operation.name, operation.key, stage, reason, worker, task.progress)


def tell(books: Books, task: Task) -> None:
    """Tell everybody who waits for the task how it stands."""
    stage, reason, worker = _standing(books, task)
    key, progress, effects = task.spec.key, task.progress, books.effects
    for operation in task.operations:
        fields = (operation.name, key, stage, reason, worker, progress, None)
        effects.append(new(OperationView, fields))
