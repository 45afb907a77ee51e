"""Who gets what: tasks into their queues and out of them to workers.

Theory of operation. Nothing waits while a free worker could serve it, so only two questions are
ever asked, and neither looks at the whole queue: a task came, is a worker free in its lane; and a
worker's slot came free, which head of its lanes comes first. A task that a worker failed goes to
another one as long as there is another one that serves it, busy or not.
"""

from collections.abc import Iterator
from heapq import merge

from builder.schedule.books import Books
from builder.schedule.deadlines import Due
from builder.schedule.effects import GrantLease
from builder.schedule.fleet import Worker
from builder.schedule.lanes import Lane
from builder.schedule.lease import Lease
from builder.schedule.task import Task, TaskInput
from builder.schedule.views import tell


def enqueue(books: Books, task: Task, now: float) -> None:
    """Into its queue, or aside while nobody waits for it. The task has just become QUEUED."""
    if not task.attended:
        task.step(TaskInput.LEAVE)
        return
    lane = books.lane_of(task)
    lane.queue.push(task)
    books.queued += 1
    books.dirty.append(lane)
    watch_unserved(books, lane, now)


def dequeue(books: Books, task: Task) -> None:
    books.lane_of(task).queue.remove(task)
    books.queued -= 1


def watch_unserved(books: Books, lane: Lane, now: float) -> None:
    """Start the time that actions wait for a worker which nothing promises."""
    if not lane.served and lane.queue and lane.unserved_at is None:
        lane.unserved_at = now
        books.deadlines.add(now + books.policy.unserved_timeout_s, Due.LANE, lane)


def dispatch_dirty(books: Books, now: float) -> None:
    """The end of every event: what came into a queue meanwhile may find a free worker."""
    while books.dirty:
        dispatch_lane(books, books.dirty.pop(), now)


def dispatch_lane(books: Books, lane: Lane, now: float) -> None:
    """Tasks came, or the lane's workers changed."""
    while lane.queue and any(_serve(books, lane, worker, now) for worker in _free(lane)):
        pass


def dispatch_worker(books: Books, worker: Worker, now: float) -> None:
    """Slots came free."""
    lanes = books.lanes.of_class(worker.kind)
    while worker.takes_leases and len(worker.leases) < worker.info.slots:
        if not any(_serve(books, lane, worker, now) for lane in _by_head(lanes)):
            return


def _free(lane: Lane) -> Iterator[Worker]:
    """The free workers that serve it, the least loaded first."""
    if len(lane.classes) == 1:
        return lane.classes[0].free()
    return merge(*(kind.free() for kind in lane.classes), key=lambda worker: len(worker.leases))


def _by_head(lanes: list[Lane]) -> list[Lane]:
    """Those where something waits, the first in order first."""
    if len(lanes) == 1:
        return lanes if lanes[0].queue else []
    heads = [(entry[:2], lane) for lane in lanes if (entry := lane.queue.head()) is not None]
    return [lane for _, lane in sorted(heads, key=lambda pair: pair[0])]


def _serve(books: Books, lane: Lane, worker: Worker, now: float) -> bool:
    """Grant the lane's next task that suits the worker; false if there is none."""
    name = worker.info.name
    task = lane.queue.take(lambda task: name not in task.avoid or not lane.others(task))
    if task is None:
        return False
    books.queued -= 1
    _grant(books, task, worker, now)
    return True


def _grant(books: Books, task: Task, worker: Worker, now: float) -> None:
    if not task.attempt:
        books.counters.wait_s += now - task.queued_at
    task.attempt += 1
    lease_id = f"{task.id}/{task.attempt}"
    lease = Lease(lease_id, task.id, worker.info.name, task.attempt, now, now)
    task.step(TaskInput.GRANT)
    task.lease = lease
    task.phase = ""
    books.leases[lease_id] = lease
    books.fleet.occupy(worker, lease)
    books.counters.granted += 1
    books.effects.append(GrantLease(worker.session, lease_id, task.attempt, task.spec.payload))
    tell(books, task)
