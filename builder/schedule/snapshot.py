"""A frozen view of everything, for status pages, metrics and the autoscaler."""

from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from builder.schedule.books import Books
from builder.schedule.counters import Counters
from builder.schedule.fleet import Worker, WorkerInfo
from builder.schedule.health import Health
from builder.schedule.lanes import Lane
from builder.schedule.lease import ACTIVE, BACKLOG
from builder.schedule.making import new
from builder.schedule.operation import Stage
from builder.schedule.platform import Requirement
from builder.schedule.reasons import Reason, ReasonCode
from builder.schedule.resources import Amounts
from builder.schedule.spec import ActionKey, Client
from builder.schedule.task import Task
from builder.schedule.views import STAGES, reason_of

HEALTHS = {health: health.value for health in Health}
RUNNING = ACTIVE - BACKLOG


class WorkerView(NamedTuple):
    """`state` is idle, busy, draining or away (its stream is down for a moment).

    `held` are leases beside those that wait in its `backlog`.
    """

    info: WorkerInfo
    state: str
    held: int
    connected_at: float
    seen_at: float
    cpu_fraction: float
    memory_fraction: float
    health: str
    ailment: str
    free: Amounts
    persistent_workers: int
    backlog: int = 0


@dataclass(frozen=True, slots=True)
class LaneView:
    """The queue of one platform; `slots` are those of the workers that serve it."""

    requirement: Requirement
    wanted: str
    waiting: int
    oldest_at: float | None
    pools: tuple[str, ...]
    workers: int
    slots: int


@dataclass(frozen=True, slots=True)
class ActionView:
    operation: str
    others: int  # operations that share its execution
    key: ActionKey
    stage: Stage
    reason: Reason
    worker: str
    attempt: int
    priority: int
    queued_at: float
    client: Client


@dataclass(frozen=True, slots=True)
class Snapshot:
    counters: Counters
    queued: int
    waiting: int  # for a client or for a retry; not in a queue
    executing: int
    finished_kept: int
    workers: tuple[WorkerView, ...]
    lanes: tuple[LaneView, ...]
    actions: tuple[ActionView, ...]
    shutting_down: bool


def snapshot_of(books: Books, details: int) -> Snapshot:
    running = (lease for lease in books.leases.values() if lease.state in RUNNING)
    executing = sum(books.tasks[lease.task].lease is lease for lease in running)
    queued = books.queued + sum(len(one.backlog) for one in books.fleet.loaded.values())
    return Snapshot(
        replace(books.counters),
        queued,
        len(books.tasks) - queued - executing,
        executing,
        len(books.finished),
        tuple(map(_worker, books.fleet.workers.values())),
        tuple(_lane(lane) for lane in books.lanes if lane.queue),
        tuple(_action(books, task) for task in islice(books.tasks.values(), details)),
        books.shutting_down,
    )


def _worker(worker: Worker) -> WorkerView:
    if not worker.session:
        state = "away"
    elif worker.draining:
        state = "draining"
    else:
        state = "busy" if worker.leases else "idle"
    fields = (
        worker.info,
        state,
        len(worker.leases) - len(worker.backlog),
        worker.connected_at,
        worker.seen_at,
        worker.cpu_fraction,
        worker.memory_fraction,
        HEALTHS[worker.health],
        worker.ailment,
        tuple(worker.free.items()) if worker.free else (),
        worker.persistent_workers,
        len(worker.backlog),
    )
    return new(WorkerView, fields)


def _lane(lane: Lane) -> LaneView:
    return LaneView(
        lane.requirement,
        lane.wanted,
        len(lane.queue),
        lane.queue.oldest_at(),
        tuple(pool.name for pool in lane.pools),
        sum(len(kind.workers) for kind in lane.classes),
        sum(kind.slots for kind in lane.classes),
    )


def _action(books: Books, task: Task) -> ActionView:
    reason = reason_of(books, task)
    waits = reason.code is ReasonCode.IN_BACKLOG
    return ActionView(
        task.operations[0].name if task.operations else task.id,
        max(len(task.operations) - 1, 0),
        task.spec.key,
        Stage.QUEUED if waits else STAGES[task.state],
        reason,
        task.lease.worker if task.lease is not None else "",
        task.attempt,
        task.priority,
        task.queued_at,
        task.spec.client,
    )
