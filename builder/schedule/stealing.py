"""Work stealing: what waits in one worker's backlog goes to a worker that has nothing to do.

    thief                      victim                      coordinator
      | <----------- peers: whom it may ask for what ------------ |
      | -- Steal(leases) -------> |                               |
      |                           | -- yielded: a/1, to thief --> |  a/1 ends, a/2 begins
      | <-- yielded: a/1 -------- |                               |
      | <---------------------- granted: a/2 -------------------- |

Theory of operation. The asking is from worker to worker; who has a lease is decided here and in one
step. A victim that yields a lease has struck it off its backlog and will not start it, so when its
word arrives the lease ends and the next attempt of the task begins: with the thief, if the thief is
there, has a slot, and may run it (platform, resources, quota, places that the task avoids), else in
the task's old place in the queue. Nothing else makes a second attempt of a lease that waits, so no
interleaving has an action run twice by being stolen. If the word is lost with the victim or its
stream, the lease is lost like any other; if the thief is gone, so is the lease that it got. What
was thought lost and comes back meets a newer attempt, and is told to stop: the task takes one
result. Being stolen is not a fault, and counts against neither worker nor task.
"""

from itertools import islice

from builder.schedule.attempts import given_up, goes_on, requeue
from builder.schedule.books import Books
from builder.schedule.dispatch import dispatch_worker, grant, watch_tail
from builder.schedule.effects import IntroducePeers, Victim
from builder.schedule.events import HeartbeatReceived, LeaseYielded
from builder.schedule.fleet import Worker
from builder.schedule.lanes import Lane
from builder.schedule.lease import BACKLOG, Lease, LeaseInput, LeaseState
from builder.schedule.resources import fits
from builder.schedule.task import Task
from builder.schedule.views import tell

MOST_VICTIMS = 8  # that one worker hears of at a time
MOST_LOOKED_AT = 64


def started(books: Books, worker: Worker, lease: Lease, now: float) -> None:
    """A lease of its backlog runs: the worker says so."""
    lease.step(LeaseInput.START)
    books.fleet.start(worker, lease, now)
    task = books.tasks[lease.task]
    if books.policy.hedge:
        watch_tail(books, lease, now)
    tell(books, task)


def heard(books: Books, worker: Worker, event: HeartbeatReceived, now: float) -> None:
    """What a heartbeat says of the backlog; and a worker with nothing to do hears of others."""
    counters = books.counters
    attempted, succeeded, empty, failed = event.steals
    counters.steals_attempted += attempted
    counters.steals_succeeded += succeeded
    counters.steals_empty += empty
    counters.steals_failed += failed
    waiting = dict.fromkeys(event.waiting)
    for name in event.running:
        lease = worker.leases.get(name)
        if lease is None or lease.state is LeaseState.CANCELLING:
            continue
        if name in waiting and lease.state not in BACKLOG:
            lease.step(LeaseInput.WAIT)
            books.fleet.wait(worker, lease)
            tell(books, books.tasks[lease.task])
        elif name not in waiting and lease.state in BACKLOG:
            started(books, worker, lease, now)
    introduce(books, worker)


def introduce(books: Books, thief: Worker) -> None:
    """Tell a worker with nothing to do of some that have a backlog, each time of others."""
    loaded = books.fleet.loaded
    if not loaded or not thief.extra or not thief.has_slot:
        return
    found = []
    for worker in list(islice(loaded.values(), MOST_LOOKED_AT)):
        leases = _takeable(books, worker, thief)
        if leases:
            info = worker.info
            found.append(Victim(info.name, info.peer, info.peer_token, leases))
            loaded[info.name] = loaded.pop(info.name)  # others first, next time
            if len(found) == MOST_VICTIMS:
                break
    if found:
        books.effects.append(IntroducePeers(thief.session, tuple(found)))


def _takeable(books: Books, worker: Worker, thief: Worker) -> tuple[str, ...]:
    if worker is thief or not worker.session or not _reaches(thief, worker):
        return ()
    return tuple(
        lease.id
        for lease in worker.backlog.values()
        if lease.state is LeaseState.WAITING and _may_take(books, thief, books.tasks[lease.task])
    )


def _reaches(thief: Worker, victim: Worker) -> bool:
    """What listens on loopback is for neighbours."""
    address = victim.info.peer.removeprefix("grpcs://")
    alone = address.startswith(("127.", "localhost:", "[::1]:"))
    return not alone or victim.info.host == thief.info.host


def _may_take(books: Books, thief: Worker, task: Task) -> bool:
    lane: Lane = books.lane_of(task)
    return (
        thief.has_slot
        and thief.kind in lane.classes
        and thief.held_for in (None, lane.number)
        and fits(lane.need, thief.free)
        and not lane.bars(task, thief)
    )


def yielded(books: Books, event: LeaseYielded, now: float) -> None:
    worker = books.fleet.sessions.get(event.session)
    if worker is not None:
        lease = given_up(books, worker, event.lease, now)
        if lease is not None:
            _pass_on(books, lease, event.thief, now)
        dispatch_worker(books, worker, now)


def _pass_on(books: Books, lease: Lease, name: str, now: float) -> None:
    """From the one who has yielded it to the one who asked for it, if that is as it should be."""
    task = books.tasks[lease.task]
    if goes_on(books, task, lease):
        return
    thief = books.fleet.workers.get(name)
    lane = books.lane_of(task)
    if thief is None or not (task.attended and lane.may_run and _may_take(books, thief, task)):
        books.counters.steals_refused += bool(name)
        requeue(books, task, now)
        return
    books.counters.stolen += 1
    task.phase = ""
    task.lease = grant(books, lane, task, thief, now)
    task.lease.taken_from = lease.worker
    if books.policy.hedge:
        watch_tail(books, task.lease, now)
    tell(books, task)
