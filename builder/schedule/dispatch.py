"""Who gets what: tasks into their queues and out of them to workers.

Theory of operation. Nothing waits while a free worker could serve it, so only two questions are
ever asked, and neither looks at the whole queue: a task came, is a worker free in its lane; and a
worker's slot came free, whose turn is it among the first of its lanes. A task that comes while
nothing waits and a worker is free goes there at once. A task that a worker failed goes to another
one, on another host, as long as there is another one that serves it, busy or not.
"""

from collections.abc import Iterator
from functools import partial
from heapq import merge
from itertools import islice

from builder.schedule.backlogs import make_way
from builder.schedule.books import Books
from builder.schedule.deadlines import Due
from builder.schedule.effects import GrantLease
from builder.schedule.fleet import Worker
from builder.schedule.lanes import Lane
from builder.schedule.lease import BACKLOG, Lease, LeaseState
from builder.schedule.making import new
from builder.schedule.nearness import SLACK
from builder.schedule.quotas import Account
from builder.schedule.resources import MEMORY, fits
from builder.schedule.task import TABLE, Task, TaskInput
from builder.schedule.views import tell

MOST_ASKED = 16  # workers, whether they have a program ready
UNKNOWN_S = 1.0  # what an action costs as long as nobody knows
GRANT = TaskInput.GRANT  # a name of an Enum's costs ten times as much as one of ours


def enqueue(books: Books, task: Task, now: float) -> None:
    """Into its queue, or aside while nobody waits for it. The task has just become QUEUED."""
    if not task.attended:
        task.step(TaskInput.LEAVE)
        return
    lane = books.lanes.numbered[task.lane]
    if not lane.classes and lane.need != task.spec.need:
        lane = books.make_do(task)
    task.share.wait()
    lane.queue.push(task)
    if lane.account is not None:
        lane.account.queued += 1
    books.queued += 1
    books.dirty.append(lane)
    if not lane.classes:
        watch_unserved(books, lane, now)
    elif books.policy.preempt_after_s:
        watch_share(books, lane, now)


def serve_at_once(books: Books, lane: Lane, task: Task, now: float) -> bool:
    """Whether a new task has got a worker that was free. It need not stand in a queue for that:
    nothing waits in its lane, so nobody is before it, and its share is as if it had waited for no
    time."""
    if lane.queue.size or not lane.may_run:
        return False
    worker = _worker_for(books, lane, task)
    if worker is None:
        return False
    task.share.pass_by()
    _start(books, lane, task, worker, now)
    return True


def dequeue(books: Books, task: Task) -> None:
    lane = books.lane_of(task)
    lane.queue.remove(task)
    _left(books, lane, task)
    if not lane.queue.size:
        let_go(books, lane)


def _left(books: Books, lane: Lane, task: Task) -> None:
    """It waits no more."""
    books.queued -= 1
    task.share.leave()
    if lane.account is not None:
        lane.account.queued -= 1


def watch_unserved(books: Books, lane: Lane, now: float) -> None:
    """Start the time that actions wait for a worker which nothing promises."""
    if not lane.served and lane.queue.size and lane.unserved_at is None:
        lane.unserved_at = now
        books.deadlines.add(now + books.policy.unserved_timeout_s, Due.LANE, lane)


def watch_share(books: Books, lane: Lane, now: float) -> None:
    """Start the time after which somebody with less than a fair share may take a slot."""
    if not lane.watched:
        lane.watched = True
        books.deadlines.add(now + books.policy.preempt_after_s, Due.SHARE, lane)


def dispatch_dirty(books: Books, now: float) -> None:
    """The end of every event: what came into a queue meanwhile may find a free worker."""
    dirty = books.dirty
    while dirty:
        lane = dirty.pop()
        for kind in lane.classes:
            if kind.idle():
                dispatch_lane(books, lane, now)
                break
        if books.fleet.loaded and lane.queue:
            make_way(books, lane, _limit(books, lane.queue.urgent, now))


def dispatch_lane(books: Books, lane: Lane, now: float) -> None:
    """Tasks came, or the lane's workers changed."""
    while lane.queue.size and lane.may_run:
        found: Worker | None = next(free_workers(lane), None)
        if found is None:
            return

        def suits(task: Task) -> bool:
            nonlocal found
            found = _worker_for(books, lane, task)
            return found is not None

        task = lane.queue.take(_limit(books, lane.queue.urgent, now), suits)
        if task is None:
            return
        _serve(books, lane, task, found or next(free_workers(lane)), now)


def dispatch_worker(books: Books, worker: Worker, now: float) -> None:
    """Slots came free."""
    while (
        worker.takes_leases and len(worker.leases) < worker.room and _serve_next(books, worker, now)
    ):
        pass


def _serve_next(books: Books, worker: Worker, now: float) -> bool:
    """Grant the next task that suits the worker, of any lane; false if there is none."""
    for lane in _by_turn(books, worker, now):
        if lane.need and not fits(lane.need, worker.free):
            if _keeps_room(books, lane, worker, now):
                return False
            continue
        queue = lane.queue
        limit_s = now + queue.urgent * books.policy.age_s_per_priority
        task = queue.pop(limit_s)
        if task is None:
            continue
        if task.avoid and lane.bars(task, worker):
            task = queue.instead(task, limit_s, partial(_suits, lane, worker))
            if task is None:
                continue
        _serve(books, lane, task, worker, now)
        return True
    return False


def _keeps_room(books: Books, lane: Lane, worker: Worker, now: float) -> bool:
    """Whether the worker takes nothing else until there is room for what has waited long.

    Small actions would else take every piece of room that comes, and a large one starve.
    """
    entry = lane.queue.first(_limit(books, lane.queue.urgent, now))
    if lane.holder is not None or entry is None:
        return lane.holder is worker
    if now - entry[3].queued_at < books.policy.hold_after_s or worker.held_for is not None:
        return False
    lane.holder, worker.held_for = worker, lane.number
    worker.kind.holds += 1
    return True


def let_go(books: Books, lane: Lane) -> None:
    """No worker keeps room for it any longer."""
    worker = lane.holder
    if worker is not None:
        lane.holder, worker.held_for = None, None
        worker.kind.holds -= 1
        for other in books.lanes.of_class(worker.kind):
            other.stuck = False
            books.dirty.append(other)


def _suits(lane: Lane, worker: Worker, task: Task) -> bool:
    return not lane.bars(task, worker)


def _by_turn(books: Books, worker: Worker, now: float) -> list[Lane]:
    """The worker's lanes where something waits that may run, those whose turn it is first."""
    waiting, held_for = [], worker.held_for
    for lane in books.lanes.of_class(worker.kind):
        if not lane.queue.size:
            lane.stuck = False
        elif (held_for is None or held_for == lane.number) and (
            lane.account is None or lane.account.may_run
        ):
            waiting.append(lane)
    if len(waiting) > 1:
        limit_s = _limit(books, min(lane.queue.urgent for lane in waiting), now)
        waiting.sort(key=lambda lane: lane.queue.turn(limit_s))
    return waiting


def _limit(books: Books, urgent: int, now: float) -> float:
    """Where in the order that stands which counts as most urgent now."""
    return now + urgent * books.policy.age_s_per_priority


def free_workers(lane: Lane) -> Iterator[Worker]:
    """The free workers that have room for its needs, the least loaded first."""
    if lane.stuck:
        return iter(())
    if len(lane.classes) == 1:
        every = lane.classes[0].free()
    else:
        every = merge(
            *(kind.free() for kind in lane.classes),
            key=lambda worker: (len(worker.leases) >= worker.info.slots, len(worker.leases)),
        )
    if any(kind.holds for kind in lane.classes):
        every = (one for one in every if one.held_for in (None, lane.number))
    return _fitting(lane, every) if lane.need else every


def _fitting(lane: Lane, every: Iterator[Worker]) -> Iterator[Worker]:
    any_fits = False
    for worker in every:
        if fits(lane.need, worker.free):
            any_fits = True
            yield worker
    lane.stuck = not any_fits


def _worker_for(books: Books, lane: Lane, task: Task) -> Worker | None:
    """A free one that has not failed it; any free one, if all that there are have.

    One whose program is ready for it comes first, if it has a slot; then one that has its inputs,
    unless it is busier than others.
    """
    if not task.avoid:
        least = next(free_workers(lane), None)
        return least and (_warm(books, lane, task) or _near(books, lane, task, least) or least)
    return next((one for one in free_workers(lane) if not lane.bars(task, one)), None)


def _warm(books: Books, lane: Lane, task: Task) -> Worker | None:
    """Starting such a program takes longer than most actions; of many workers a few are asked."""
    having = books.warmth.workers(task.spec.program) if task.spec.program else ()
    if not having:
        return None
    for worker in islice(free_workers(lane), MOST_ASKED):
        if worker.info.name in having and worker.has_slot:
            return worker
    for name in islice(having, MOST_ASKED):
        found = books.fleet.workers.get(name)
        if found is not None and found.has_slot and _may_have(lane, found):
            return found
    return None


def _may_have(lane: Lane, worker: Worker) -> bool:
    """Whether a worker with room may have an action of this lane."""
    return (
        worker.kind in lane.classes
        and worker.held_for in (None, lane.number)
        and fits(lane.need, worker.free)
    )


def _near(books: Books, lane: Lane, task: Task, least: Worker) -> Worker | None:
    most = len(least.leases) + least.last_choice + SLACK
    spec = task.spec
    for name in (books.nearness.holder(spec.root), books.sizes.ran(spec.kind)):
        worker = books.fleet.workers.get(name) if name is not None else None
        if (
            worker is not None
            and worker.has_room
            and len(worker.leases) + worker.last_choice <= most
            and _may_have(lane, worker)
            and (len(worker.leases) < worker.info.slots or not least.has_slot)
        ):
            return worker
    return None


def _serve(books: Books, lane: Lane, task: Task, worker: Worker, now: float) -> None:
    _left(books, lane, task)
    if not task.attempt:
        books.counters.wait_s += now - task.queued_at
    if lane.holder is not None:
        let_go(books, lane)
    _start(books, lane, task, worker, now)


def _start(books: Books, lane: Lane, task: Task, worker: Worker, now: float) -> None:
    task.state = TABLE[task.state, GRANT]
    task.lease = grant(books, lane, task, worker, now)
    task.phase = ""
    if books.policy.hedge:
        watch_tail(books, task.lease, now)
    tell(books, task)


def watch_tail(books: Books, lease: Lease, now: float) -> None:
    """Look again when it takes longer than hardly any of its kind."""
    task = books.tasks[lease.task]
    tail_s = books.sizes.tail_s(task.spec.kind)
    if tail_s is not None and not task.spec.do_not_cache and lease.state not in BACKLOG:
        shared = len(task.operations) > 1
        patience_s = max(tail_s if shared else 2 * tail_s, books.policy.hedge_after_s)
        at = max(lease.granted_at + patience_s, now + books.policy.hedge_after_s / 10)
        books.deadlines.add(at, Due.HEDGE, lease)


def grant(books: Books, lane: Lane, task: Task, worker: Worker, now: float) -> Lease:
    """One more attempt."""
    task.attempt = attempt = task.attempt + 1
    id_, spec, name, need = task.id, task.spec, worker.info.name, lane.need
    lease_id = f"{id_}/{attempt}"
    size = books.sizes.seen(spec.kind)
    cost_s = size.seconds or UNKNOWN_S
    share, account = task.share, lane.account
    lease = Lease(lease_id, id_, name, attempt, now, now, need, account, share, cost_s, size)
    size.worker = name
    order_s, memory_bytes = 0.0, 0
    if worker.extra:
        order_s = task.order_s
        if len(worker.leases) >= worker.info.slots:
            lease.state = LeaseState.WAITING
            lowest = books.least_urgent if books.fleet.loaded else task.priority
            books.least_urgent = max(lowest, task.priority)
    books.leases[lease_id] = lease
    occupy(books, worker, lease)
    books.counters.granted += 1
    if spec.root:
        books.nearness.ran(spec.root, name)
    if spec.program:
        lease.warm = name in books.warmth.workers(spec.program)
        books.warmth.starts(name, spec.program)
    if need and MEMORY in worker.free:
        memory_bytes = dict(need).get(MEMORY, 0)
    fields = (worker.session, lease_id, attempt, spec.payload, memory_bytes, task.note, order_s)
    books.effects.append(new(GrantLease, fields))
    return lease


def take_up(books: Books, task: Task, worker: Worker, lease: Lease) -> None:
    """A lease that was thought lost: it costs its share what another attempt would."""
    lease.size = size = books.sizes.seen(task.spec.kind)
    lease.cost_s, lease.share = size.seconds or UNKNOWN_S, task.share
    occupy(books, worker, lease)


def occupy(books: Books, worker: Worker, lease: Lease) -> None:
    """The lease takes a slot, of the worker's, of its user's share and of its instance's quota."""
    books.fleet.occupy(worker, lease)
    if lease.share is not None:
        lease.share.start(lease.id, lease.cost_s)
    if lease.account is not None:
        lease.account.running += 1


def settle(lease: Lease, now: float) -> None:
    """Its share pays for it no longer, but for what it has cost."""
    share = lease.share
    if share is not None:
        share.settle(lease.id, now - lease.granted_at - lease.cost_s)
        lease.share = None


def pay_back(books: Books, account: Account) -> None:
    """What an instance's quota let run has ended."""
    was_full = not account.may_run
    account.running -= 1
    if was_full:
        books.dirty.extend(books.lanes.of_account(account))
