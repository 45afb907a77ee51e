"""What must always be true of the books. Every test ends with it."""

from collections import Counter

from builder.schedule.books import Books
from builder.schedule.fleet import Worker
from builder.schedule.health import room
from builder.schedule.lease import ACTIVE, BACKLOG, HELD, LeaseState
from builder.schedule.resources import fits
from builder.schedule.task import Task, TaskState


def check_books(books: Books) -> None:
    """Raises AssertionError."""
    for task in books.tasks.values():
        _check_task(books, task)
    for worker in books.fleet.workers.values():
        _check_worker(books, worker)
    _check_leases(books)
    _check_lanes(books)
    _check_shares(books)
    _check_operations(books)
    for key, task in books.in_flight.items():
        assert books.tasks[task.id] is task
        assert task.spec.key == key
        assert not task.spec.do_not_cache


def _check_task(books: Books, task: Task) -> None:
    assert task.state is not TaskState.DONE
    assert (task.lease is not None) == (task.state is TaskState.EXECUTING)
    assert (task.outcome is not None) == (task.state is TaskState.KEEPING)
    assert (task.entry is not None) == (task.state is TaskState.QUEUED)
    assert task.operations or task.state is TaskState.KEEPING, "an action for nobody"
    attended = sum(operation.watchers > 0 for operation in task.operations)
    assert task.attended == attended
    assert attended or task.state is not TaskState.QUEUED, "a queued action for nobody"
    assert task.hedge is None or task.lease is not None
    if task.lease is not None:
        assert task.lease.state in ACTIVE
        assert books.leases[task.lease.id] is task.lease
    for operation in task.operations:
        assert books.operations[operation.name] is operation
        assert operation.ending is None
        assert operation.task == task.id
    assert len(task.faults) <= books.policy.infrastructure_retries


def _check_worker(books: Books, worker: Worker) -> None:
    for lease in worker.leases.values():
        assert lease.state in HELD
        assert lease.worker == worker.info.name
        assert books.leases[lease.id] is lease
    assert worker.takes_leases == (bool(worker.session) and not worker.draining)
    assert (worker.info.name in worker.kind.workers) == worker.takes_leases
    assert worker.kind.idle() == len(list(worker.kind.free()))
    assert worker.kind.resting == sum(not one.room for one in worker.kind.workers.values())
    able = Counter(one.info.host for one in worker.kind.workers.values() if one.room)
    assert (worker.kind.hosts, worker.kind.able) == (able, able.total())
    free = worker.takes_leases and len(worker.leases) < worker.room
    assert worker.room == room(worker.health, worker.info.slots, worker.extra)
    waiting = {lease.id: lease for lease in worker.leases.values() if lease.state in BACKLOG}
    assert worker.backlog == waiting
    assert bool(waiting) == (books.fleet.loaded.get(worker.info.name) is worker)
    assert books.policy.backlog or not waiting
    assert (worker.last_choice > 0) == bool(worker.ailment)
    assert (worker in list(worker.kind.free())) == free
    for name, amount in worker.info.capacity:
        used = sum(dict(lease.need).get(name, 0) for lease in worker.leases.values())
        assert worker.free[name] == amount - used
    assert bool(worker.session) == (books.fleet.sessions.get(worker.session) is worker)
    if worker.held_for is not None:
        assert books.lanes.numbered[worker.held_for].holder is worker
    assert worker.kind.holds == sum(
        one.held_for is not None for one in worker.kind.workers.values()
    )
    offer = worker.kind.offer
    assert books.fleet.classes[offer.properties, offer.capacity] is worker.kind


def _check_leases(books: Books) -> None:
    books.warmth.check(books.fleet.workers)
    for lease in books.leases.values():
        if lease.state is LeaseState.LOST:
            assert lease in books.tasks[lease.task].lost
        else:
            assert lease.state in HELD
            assert books.fleet.workers[lease.worker].leases[lease.id] is lease
        if lease.state in ACTIVE:
            task = books.tasks[lease.task]
            assert lease in (task.lease, task.hedge), "two attempts of one action"


def _check_lanes(books: Books) -> None:
    queued = 0
    for lane in books.lanes:
        waiting = list(lane.queue)
        assert len(waiting) == len(lane.queue)
        queued += len(waiting)
        for task in waiting:
            assert books.tasks[task.id] is task
            assert task.lane == lane.number
        if lane.holder is not None:
            assert waiting, "room is kept for nobody"
            assert lane.holder.held_for == lane.number
            assert lane.holder.takes_leases
        assert lane.queue.urgent == min((task.priority for task in waiting), default=0)
        for kind in lane.classes:
            assert kind.members
            for worker in kind.free():
                if not lane.may_run or not fits(lane.need, worker.free):
                    continue
                if worker.held_for not in (None, lane.number):
                    continue
                refused = all(lane.bars(task, worker) for task in waiting)
                assert refused, "an action waits while a worker that suits is free"
    assert queued == books.queued
    assert queued == sum(task.state is TaskState.QUEUED for task in books.tasks.values())


def _check_shares(books: Books) -> None:
    """Users and invocations, quotas, and how many tasks each lane counts."""
    queued = [task for task in books.tasks.values() if task.state is TaskState.QUEUED]
    paid = [(lease.id, lease.share) for lease in books.leases.values() if lease.share is not None]
    for share, children in ((s, s.children.values()) for s in books.shares.root.children.values()):
        assert share.waiting == sum(child.waiting for child in children)
        assert len(share.leases) == sum(child.running for child in children)
        assert share.leases.keys() == {id_ for id_, one in paid if one.parent is share}
        for child in children:
            assert child.waiting == sum(task.share is child for task in queued)
            assert child.running == sum(one is child for _, one in paid)
    for account in books.accounts.values():
        lanes = books.lanes.of_account(account)
        assert account.queued == sum(len(lane.queue) for lane in lanes)
        held = [lease for lease in books.leases.values() if lease.state in HELD]
        assert account.running == sum(lease.account is account for lease in held)
    for lane in books.lanes:
        assert lane.tasks == sum(task.lane == lane.number for task in books.tasks.values())


def _check_operations(books: Books) -> None:
    ended = 0
    for operation in books.operations.values():
        if operation.ending is None:
            assert operation in books.tasks[operation.task].operations
        else:
            ended += 1
    assert ended == len(books.finished)
    assert ended <= max(books.policy.finished_kept, 1)
