"""What workers do: come, report, finish, hand back, drain, go away and come back."""

import math

from builder.schedule import reasons
from builder.schedule.ailing import did_well, felt_load, had_fault
from builder.schedule.attempts import (
    drop_leases,
    given_up,
    goes_on,
    lose,
    release,
    requeue,
    result,
    retry,
    revive,
)
from builder.schedule.books import Books
from builder.schedule.deadlines import Due
from builder.schedule.dispatch import dequeue, dispatch_worker, enqueue, let_go, watch_unserved
from builder.schedule.effects import (
    AcknowledgeLease,
    CancelLease,
    CloseSession,
    DrainWorker,
    Explain,
    RefuseWorker,
    WelcomeWorker,
)
from builder.schedule.events import (
    DrainRequested,
    HeartbeatReceived,
    LeaseFinished,
    LeaseProgressed,
    LeaseReturned,
    WorkerConnected,
    WorkerDisconnected,
    WorkerDraining,
    WorkerVanished,
)
from builder.schedule.fleet import Worker, WorkerInfo
from builder.schedule.lease import Lease, LeaseInput, LeaseState
from builder.schedule.making import new
from builder.schedule.reasons import Reason, ReasonCode
from builder.schedule.resources import MEMORY, amount_text
from builder.schedule.restoring import adopt
from builder.schedule.sizes import larger
from builder.schedule.spec import Outcome
from builder.schedule.stealing import heard, introduce, started
from builder.schedule.task import WAITING, Task, TaskState
from builder.schedule.views import tell

# Hot: an Enum looks its names up slowly.
CANCELLED, FINISH, LOST = LeaseState.CANCELLED, LeaseInput.FINISH, LeaseState.LOST
RUNS = "runs"  # the phase in which the action's own program is at work


def lost(sentence: str) -> Reason:
    return Reason(ReasonCode.WORKER_LOST, sentence)


def connect(books: Books, event: WorkerConnected, now: float) -> None:
    old = books.fleet.workers.get(event.info.name)
    if old is not None and _is_another(books, old, event.info, now):
        why = (
            f"a worker named {old.info.name} is connected already ({old.info.identity}); "
            f"give this one another name"
        )
        books.effects.append(RefuseWorker(event.session, why))
        return
    worker = _come_back(books, old, event, now) if old else _enrol(books, event, now)
    unknown = tuple(id_ for id_ in event.running if not _announced(books, worker, id_, now))
    for lease in list(worker.leases.values()):
        if lease.id not in event.running:
            lose(books, lease, lost(f"{worker.info.name} came back without the action"), now)
    interval_s = books.policy.heartbeat_interval_s
    books.effects.append(WelcomeWorker(event.session, interval_s, unknown))
    for lane in books.lanes.of_class(worker.kind):
        lane.unserved_at = None
        lane.stuck = False
        books.dirty.append(lane)


def _is_another(books: Books, old: Worker, info: WorkerInfo, now: float) -> bool:
    """Whether two live programs use one name; a lost stream of the same program is no rival."""
    alive = bool(old.session) and now - old.seen_at < books.policy.heartbeat_timeout_s
    return alive and old.info.identity != info.identity


def _enrol(books: Books, event: WorkerConnected, now: float) -> Worker:
    worker, first = books.fleet.enrol(event.info, event.session, now, books.policy.backlog)
    if first:
        books.lanes.add_class(worker.kind)
    books.deadlines.add(now + books.policy.heartbeat_timeout_s, Due.WORKER, worker)
    return worker


def _come_back(books: Books, old: Worker, event: WorkerConnected, now: float) -> Worker:
    """The same worker over a new stream; what it holds goes with it."""
    if old.session:
        books.effects.append(CloseSession(old.session, "the worker has connected again"))
    leases = list(old.leases.values())
    for lease in leases:
        books.fleet.release(old, lease, now)
    _discharge(books, old, now)
    worker = _enrol(books, event, now)
    for lease in leases:
        books.fleet.occupy(worker, lease)
    if old.draining and old.info.identity == event.info.identity:
        drain(books, DrainRequested(worker.info.name, old.drain_grace_s, old.draining), now)
    return worker


def _discharge(books: Books, worker: Worker, now: float) -> None:
    """Out of the fleet, and its class too if it was the last."""
    if worker.held_for is not None:
        let_go(books, books.lanes.numbered[worker.held_for])
    lanes = list(books.lanes.of_class(worker.kind))
    books.warmth.has(worker.info.name, ())
    if books.fleet.remove(worker):
        books.lanes.remove_class(worker.kind)
    for lane in lanes:
        if not lane.classes:
            for task in [task for task in lane.queue if task.spec.need != lane.need]:
                dequeue(books, task)
                enqueue(books, task, now)
        watch_unserved(books, lane, now)


def _announced(books: Books, worker: Worker, lease_id: str, now: float) -> bool:
    """A lease of a Hello; false if the worker has to drop it."""
    lease = worker.leases.get(lease_id)
    if lease is not None and lease.state is LeaseState.CANCELLING:
        release(books, lease, LeaseInput.RETURN, now)
        return False
    return _reported(books, worker, lease_id, now)


def _reported(books: Books, worker: Worker, lease_id: str, now: float) -> bool:
    """A lease that the worker says it runs; false if nobody wants it."""
    lease = worker.leases.get(lease_id)
    if lease is not None:
        lease.step(LeaseInput.REPORT)
        lease.seen_at = now
        return True
    lease = books.leases.get(lease_id) or adopt(books, worker, lease_id, now)
    if lease is None or lease.worker != worker.info.name:
        return False
    task = books.tasks[lease.task]
    if task.state in WAITING:
        revive(books, worker, lease, now)
        return True
    task.forget(lease)
    release(books, lease, LeaseInput.CANCEL, now)
    return False


def disconnect(books: Books, event: WorkerDisconnected, now: float) -> None:
    worker = books.fleet.sessions.get(event.session)
    if worker is None:
        return
    books.fleet.disconnect(worker, now)
    _left(books, worker)
    if worker.leases:
        books.deadlines.add(now + books.policy.reconnect_grace_s, Due.WORKER, worker)
    else:
        _discharge(books, worker, now)


def vanish(books: Books, event: WorkerVanished, now: float) -> None:
    worker = books.fleet.workers.get(event.worker)
    if worker is not None:
        _remove(books, worker, event.why, now)


def remove_if_due(books: Books, worker: Worker, now: float) -> None:
    """It may have been silent, or away, for too long."""
    if books.fleet.workers.get(worker.info.name) is not worker:
        return
    if worker.session:
        limit_s, since, what = books.policy.heartbeat_timeout_s, worker.seen_at, "said nothing"
    else:
        limit_s, since, what = books.policy.reconnect_grace_s, worker.gone_at, "was disconnected"
    since = max(since, books.awake_at)
    if since + limit_s > now:
        books.deadlines.add(since + limit_s, Due.WORKER, worker)
    else:
        _remove(books, worker, f"{what} for {limit_s:g} s", now)


def _remove(books: Books, worker: Worker, why: str, now: float) -> None:
    reason = lost(f"{worker.info.name} {why}")
    books.counters.workers_lost += 1
    books.effects.append(Explain(worker.info.name, reason))
    if worker.session:
        books.effects.append(CloseSession(worker.session, reason.sentence))
        books.fleet.disconnect(worker, now)
    for lease in list(worker.leases.values()):
        lose(books, lease, reason, now)
    _left(books, worker)
    _discharge(books, worker, now)


def _left(books: Books, worker: Worker) -> None:
    """It takes no more leases: tasks that avoid the others may have to make do with them now."""
    if worker.held_for is not None:
        let_go(books, books.lanes.numbered[worker.held_for])
    books.dirty.extend(books.lanes.of_class(worker.kind))


def draining(books: Books, event: WorkerDraining, _now: float) -> None:
    worker = books.fleet.sessions.get(event.session)
    if worker is not None:
        _drain(books, worker, event.why)


def drain(books: Books, event: DrainRequested, _now: float) -> None:
    worker = books.fleet.workers.get(event.worker)
    if worker is None:
        return
    if worker.session:
        books.effects.append(DrainWorker(worker.session, event.grace_s, event.why))
    worker.drain_grace_s = event.grace_s
    _drain(books, worker, event.why)


def _drain(books: Books, worker: Worker, why: str) -> None:
    books.fleet.drain(worker, why or "asked to")
    _left(books, worker)


def _has_programs(books: Books, worker: Worker, programs: tuple[str, ...]) -> None:
    """What it says, and those that the actions which it holds may be starting just now."""
    name = worker.info.name
    if programs or not books.warmth.is_cold(name):
        tasks = (books.tasks.get(lease.task) for lease in worker.leases.values())
        starting = (task.spec.program for task in tasks if task is not None)
        books.warmth.has(name, (*programs, *filter(None, starting)))


def heartbeat(books: Books, event: HeartbeatReceived, now: float) -> None:
    worker = books.fleet.sessions.get(event.session)
    if worker is None:
        return
    worker.seen_at = now
    worker.cpu_fraction, worker.memory_fraction = event.cpu_fraction, event.memory_fraction
    worker.persistent_workers = event.persistent_workers
    _has_programs(books, worker, event.programs)
    felt_load(books, worker, event.memory_fraction)
    for lease_id in event.running:
        if not _reported(books, worker, lease_id, now):
            books.effects.append(
                CancelLease(event.session, lease_id, "nobody waits for it any more")
            )
    expired = now - books.policy.heartbeat_timeout_s
    if books.awake_at > expired:
        expired = -math.inf  # what it says now was said before we were held up, perhaps
    for lease in [lease for lease in worker.leases.values() if lease.seen_at <= expired]:
        lose(books, lease, lost(f"{worker.info.name} does not know of it any more"), now)
    dispatch_worker(books, worker, now)
    if worker.extra:
        heard(books, worker, event, now)


def progress(books: Books, event: LeaseProgressed, now: float) -> None:
    worker = books.fleet.sessions.get(event.session)
    if worker is None:
        return
    worker.seen_at = now
    if not _reported(books, worker, event.lease, now):
        books.effects.append(
            CancelLease(event.session, event.lease, "nobody waits for it any more")
        )
        return
    if worker.backlog and event.lease in worker.backlog:
        started(books, worker, worker.leases[event.lease], now)
    task = books.tasks.get(worker.leases[event.lease].task)
    if task is not None:
        if task.lease is None or task.lease.id != event.lease:
            return  # a second attempt, or one that is no longer wanted
        task.phase = event.phase
        task.progress = event.progress or task.progress
        if event.phase == RUNS:
            tell(books, task)  # so that clients can show where a long action runs


def finish(books: Books, event: LeaseFinished, now: float) -> None:
    worker = books.fleet.sessions.get(event.session)
    if worker is None:
        return
    worker.seen_at = now
    lease_id = event.lease
    books.effects.append(new(AcknowledgeLease, (worker.session, lease_id)))
    lease = books.leases.get(lease_id)
    if lease is not None and lease.worker == worker.info.name:
        _finished(books, worker, lease, event.outcome, now)
        dispatch_worker(books, worker, now)
        if worker.extra:
            introduce(books, worker)


def _finished(books: Books, worker: Worker, lease: Lease, outcome: Outcome, now: float) -> None:
    late = lease.state is LOST
    release(books, lease, FINISH, now)
    counters, held_s = books.counters, now - lease.granted_at
    counters.served += 1
    counters.held_s += held_s
    if lease.state is CANCELLED and not _still_of_use(books, lease, outcome):
        return
    task = books.tasks[lease.task]
    pool = books.lanes.numbered[task.lane].counters
    pool.finished += 1
    pool.held_s += held_s
    if late:
        task.forget(lease)
        counters.late_results += not outcome.infrastructure_failure
    if not outcome.infrastructure_failure:
        if task.lease is lease:
            task.lease = None
        elif task.hedge is lease:
            counters.hedges_won += 1
            task.hedge = None
        if worker.ailment or worker.last_fault:
            did_well(books, worker)
        if lease.size is not None:
            lease.size.learn(outcome)
        if late or not (outcome.out_of_memory and _enlarged(books, task, lease, outcome, now)):
            result(books, task, outcome, now)
    elif not late:
        _failed(books, worker, task, lease, outcome, now)


def _failed(
    books: Books, worker: Worker, task: Task, lease: Lease, outcome: Outcome, now: float
) -> None:
    """Not by its action. A store that is full has no room for what others bring either."""
    why = outcome.message or "no reason given"
    if not outcome.store_full:
        had_fault(books, worker, task, why, now)
    books.counters.infrastructure_failures += 1
    retry(books, task, lease, Reason(ReasonCode.INFRASTRUCTURE_FAILURE, why), now)


def _enlarged(books: Books, task: Task, lease: Lease, outcome: Outcome, now: float) -> bool:
    """Killed for memory by a limit that was not its own: once more on a larger slot, if any."""
    if task.note or task.spec.own_memory or not books.policy.learn_sizes:
        return False
    had = dict(lease.need).get(MEMORY, 0) or outcome.peak_memory_bytes
    wanted = larger(had, outcome.peak_memory_bytes)
    if task.state is not TaskState.EXECUTING or not books.enlarge(task, wanted):
        return False
    drop_leases(books, task, "the other attempt was killed for memory", now)
    reason = reasons.out_of_memory(amount_text(MEMORY, had), amount_text(MEMORY, wanted))
    books.counters.enlarged += 1
    books.effects.append(Explain(task.id, reason))
    task.note = reason.sentence
    requeue(books, task, now)
    return True


def _still_of_use(books: Books, lease: Lease, outcome: Outcome) -> bool:
    """A lease that had to give way has brought its result before it heard of it."""
    task = books.tasks.get(lease.task)
    wanted = task is not None and task.state is not TaskState.KEEPING
    return wanted and not outcome.infrastructure_failure


def hand_back(books: Books, event: LeaseReturned, now: float) -> None:
    worker = books.fleet.sessions.get(event.session)
    if worker is not None:
        lease = given_up(books, worker, event.lease, now)
        if lease is not None:
            _returned(books, worker, lease, event.why, now)
        dispatch_worker(books, worker, now)


def _returned(books: Books, worker: Worker, lease: Lease, why: str, now: float) -> None:
    """A drained worker may hand back freely; any other one counts as having failed the action."""
    books.counters.leases_returned += 1
    task = books.tasks[lease.task]
    reason = Reason(ReasonCode.LEASE_RETURNED, f"handed it back: {why or 'no reason given'}")
    if worker.draining:
        books.effects.append(Explain(task.id, reason))
        if not goes_on(books, task, lease):
            requeue(books, task, now)
    else:
        had_fault(books, worker, task, reason.sentence, now)
        retry(books, task, lease, reason, now)
