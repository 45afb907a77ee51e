"""What befalls workers, and what it does to their health."""

from builder.schedule.backlogs import recall_all
from builder.schedule.books import Books
from builder.schedule.deadlines import Due
from builder.schedule.dispatch import dispatch_worker, let_go
from builder.schedule.effects import Explain
from builder.schedule.fleet import Worker
from builder.schedule.health import EASED_FROM, STRAINED_FROM, Health, HealthInput, after
from builder.schedule.reasons import Reason, ReasonCode
from builder.schedule.task import Task

MOST_DOUBLINGS = 4


def did_well(books: Books, worker: Worker) -> None:
    """It has brought a result of an action's own."""
    worker.last_fault = ""
    if worker.ailment:
        step(books, worker, HealthInput.GOOD, worker.ailment)
        if not worker.ailment:
            worker.rests = 0


def had_fault(books: Books, worker: Worker, task: Task, why: str, now: float) -> None:
    """An attempt failed, and not by its action, as far as one can tell."""
    failed = set(task.avoid).difference(task.spec.avoid)
    elsewhere = bool(failed - {worker.info.name})
    if worker.last_fault == task.id or elsewhere:
        return
    worker.last_fault = task.id
    if worker.health is Health.FAILING and not _others_work(worker):
        return  # they all have faults, so it is not this one
    step(books, worker, HealthInput.FAULT, why)
    if worker.health is Health.FAILED:
        rest_s = books.policy.failed_rest_s * 2 ** min(worker.rests, MOST_DOUBLINGS)
        worker.rests += 1
        worker.rested_at = now + rest_s
        books.deadlines.add(worker.rested_at, Due.REST, worker)


def _others_work(worker: Worker) -> bool:
    return any(other.room for other in worker.kind.workers.values() if other is not worker)


def felt_load(books: Books, worker: Worker, memory_fraction: float) -> None:
    if not worker.strained and memory_fraction >= STRAINED_FROM:
        worker.strained = True
        step(books, worker, HealthInput.STRAINED, f"{memory_fraction:.0%} of its memory is in use")
    elif worker.strained and memory_fraction < EASED_FROM:
        worker.strained = False
        step(books, worker, HealthInput.EASED, worker.ailment)


def rested_if_due(books: Books, worker: Worker, now: float) -> None:
    known = books.fleet.workers.get(worker.info.name) is worker
    if known and worker.health is Health.FAILED and worker.rested_at <= now:
        step(books, worker, HealthInput.RESTED, worker.ailment)
        dispatch_worker(books, worker, now)


def step(books: Books, worker: Worker, received: HealthInput, why: str) -> None:
    health = after(worker.health, received)
    if health is worker.health:
        return
    rests = worker.room == 0
    if health is Health.FAILED:  # what avoids the others may have to make do with them now
        books.dirty.extend(books.lanes.of_class(worker.kind))
    books.fleet.set_health(worker, health, "" if health is Health.HEALTHY else why)
    if worker.backlog and health is not Health.HEALTHY:
        recall_all(books, worker, f"{worker.info.name} is {health.value}")
    if not worker.room and worker.held_for is not None:
        let_go(books, books.lanes.numbered[worker.held_for])
    if rests or health is Health.FAILED:  # what else happens is not worth a line of the log
        sentence = f"{worker.info.name} is {health.value}: {why}"
        reason = Reason(ReasonCode.WORKER_HEALTH, sentence)
        books.effects.append(Explain(worker.info.name, reason))
