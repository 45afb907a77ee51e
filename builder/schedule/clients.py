"""What clients do: ask, wait, go away, come back, cancel, forget."""

from builder.schedule import reasons
from builder.schedule.attempts import end_operation, stop
from builder.schedule.books import Books
from builder.schedule.deadlines import Due
from builder.schedule.dispatch import dequeue, dispatch_dirty, enqueue, serve_at_once
from builder.schedule.effects import RefuseOperation, Remember
from builder.schedule.events import (
    ActionSubmitted,
    CancelRequested,
    ClientAttached,
    ClientDetached,
    OperationDeleted,
)
from builder.schedule.lanes import Lane
from builder.schedule.making import new
from builder.schedule.operation import Ending, Operation
from builder.schedule.platform import mismatch
from builder.schedule.reasons import CODES, Reason, ReasonCode
from builder.schedule.spec import ActionSpec, Entry
from builder.schedule.task import Task, TaskInput, TaskState
from builder.schedule.views import tell, view

QUEUED = TaskState.QUEUED  # a name of an Enum's costs ten times as much as one of ours


def submit(books: Books, event: ActionSubmitted, now: float) -> None:
    name, spec = event.operation, event.spec
    running = None if spec.do_not_cache else books.in_flight.get(spec.key)
    if running is not None and not _joinable(running, spec):
        running = None
    lane = books.lane_for(spec)
    refusal = _refusal(books, spec, running, lane)
    if refusal is not None:
        books.counters.refused += 1
        books.effects.append(RefuseOperation(name, CODES[refusal.code], refusal))
        return
    books.counters.submitted += 1
    if running is not None:
        _join(books, running, name, spec, now)
        return
    task = books.add_task(name, spec, lane, now)
    lane.counters.arrived += 1
    if not spec.do_not_cache:
        books.in_flight[spec.key] = task  # perhaps in the place of one whose result came too early
    _add_operation(books, task, name, now)
    if lane.queue.size or not serve_at_once(books, lane, task, now):
        enqueue(books, task, now)
        dispatch_dirty(books, now)
        if task.state is QUEUED:
            tell(books, task)


def _joinable(running: Task, spec: ActionSpec) -> bool:
    """Whether this action may join the same one in flight.

    A client that skips the cache wants a run that was not over when it asked: it may join one
    that waits or executes, but not one whose result is there already. Every task that may be
    joined writes the action cache, whoever asked first, so the others lose nothing either.
    """
    return not spec.skip_cache or running.state is not TaskState.KEEPING


def _refusal(books: Books, spec: ActionSpec, running: Task | None, lane: Lane) -> Reason | None:
    if books.shutting_down:
        return reasons.SHUTTING_DOWN
    policy = books.policy
    low, high = policy.priorities
    if not low <= spec.priority <= high:
        return Reason(
            ReasonCode.PRIORITY_OUT_OF_RANGE,
            f"priority {spec.priority} is out of range: {low} (soonest) to {high}",
        )
    if running is not None:
        return None
    if books.queued >= policy.most_queued:
        return Reason(
            ReasonCode.QUEUE_FULL, f"{books.queued} actions wait already; try again later"
        )
    account = lane.account
    if account is not None and not account.may_queue:
        return reasons.quota_full(account.instance, account.queued)
    if (lane.classes or lane.pools) and not policy.strict_platform:
        return None
    requirement, unknown = books.lanes.requirement(spec.properties)
    unknown = unknown if policy.strict_platform else ()
    if not unknown and lane.served:
        return None
    offers = books.lanes.offers()
    if not unknown and not offers:
        return None  # nobody is known yet, so nothing can be said
    return Reason(ReasonCode.NO_MATCH, mismatch(requirement, offers, unknown, spec.need))


def _join(books: Books, task: Task, name: str, spec: ActionSpec, now: float) -> None:
    books.counters.merged += 1
    operation = _add_operation(books, task, name, now)
    if spec.priority < task.priority:
        waits = task.state is TaskState.QUEUED
        if waits:
            dequeue(books, task)
        task.priority = spec.priority
        task.order_s = task.queued_at + spec.priority * books.policy.age_s_per_priority
        if waits:
            enqueue(books, task, now)
    _attended(books, task, now)
    books.effects.append(view(books, operation))


def _add_operation(books: Books, task: Task, name: str, now: float) -> Operation:
    operation = Operation(name, task.spec.key, task.id, now)
    books.operations[name] = operation
    task.operations.append(operation)
    task.attended += 1
    if books.policy.remember:
        entry = new(Entry, (name, task.id, task.spec))
        books.effects.append(new(Remember, (entry,)))
    return operation


def _attended(books: Books, task: Task, now: float) -> None:
    """Somebody waits for it again."""
    if task.state is TaskState.HELD:
        task.step(TaskInput.COME_BACK)
        enqueue(books, task, now)
        dispatch_dirty(books, now)


def attach(books: Books, event: ClientAttached, now: float) -> None:
    name = event.operation
    operation = books.operations.get(name)
    if operation is None:
        unknown = reasons.UNKNOWN_OPERATION
        books.effects.append(RefuseOperation(name, CODES[unknown.code], unknown))
        return
    operation.watchers += 1
    if operation.ending is None:
        task = books.tasks[operation.task]
        if operation.watchers == 1:
            task.attended += 1
        _attended(books, task, now)
    books.effects.append(view(books, operation))


def detach(books: Books, event: ClientDetached, now: float) -> None:
    operation = books.operations.get(event.operation)
    if operation is None or not operation.watchers:
        return
    operation.watchers -= 1
    if operation.watchers or operation.ending is not None:
        return
    _unattended(books, books.tasks[operation.task])
    operation.abandon_at = now + books.policy.abandon_grace_s
    books.deadlines.add(operation.abandon_at, Due.OPERATION, operation)


def _unattended(books: Books, task: Task) -> None:
    """One operation less that somebody waits for."""
    task.attended -= 1
    if not task.attended and task.state is TaskState.QUEUED:
        dequeue(books, task)
        task.step(TaskInput.LEAVE)


def cancel(books: Books, event: CancelRequested, now: float) -> None:
    """Somebody's wish, for this operation alone; others that share its action are not touched."""
    operation = books.operations.get(event.operation)
    if operation is not None and operation.ending is None:
        _cancel(books, operation, reasons.cancelled(event.by), now)


def abandon_if_due(books: Books, operation: Operation, now: float) -> None:
    """Its time is over, unless somebody came back meanwhile."""
    if operation.ending is None and not operation.watchers and operation.abandon_at <= now:
        _cancel(books, operation, reasons.abandoned(books.policy.abandon_grace_s), now)


def _cancel(books: Books, operation: Operation, reason: Reason, now: float) -> None:
    task = books.tasks[operation.task]
    task.operations.remove(operation)
    if operation.watchers:
        _unattended(books, task)
    end_operation(books, operation, Ending(reason, CODES[reason.code]), now)
    if not task.operations and task.state is not TaskState.KEEPING:
        books.counters.cancelled += 1
        stop(books, task, reason.sentence, now)


def delete(books: Books, event: OperationDeleted, _now: float) -> None:
    """Forget a finished operation; one that is not finished stays."""
    operation = books.operations.get(event.operation)
    if operation is not None and operation.ending is not None:
        books.finished.remove(operation.name)
        del books.operations[operation.name]
