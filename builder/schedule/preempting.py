"""Taking a slot from who has more than a fair share, for who has less and has waited long enough.

Theory of operation. A user's fair share of a lane's slots goes by the weights of those who wait or
run. The action whose turn it is may take the slot of the newest action of the user who is furthest
above, or its place in a backlog, if it has not been started. That one goes back to its old place in
the order, is not charged for the lost attempt, and gives way a few times at most. Of what runs,
only actions that may run twice give way: those whose result may be cached. If the result was on its
way already, it is taken all the same.
"""

from collections.abc import Iterator

from builder.schedule import reasons
from builder.schedule.attempts import requeue
from builder.schedule.backlogs import recall
from builder.schedule.books import Books
from builder.schedule.dispatch import settle, watch_share
from builder.schedule.effects import CancelLease, Explain
from builder.schedule.lanes import Lane
from builder.schedule.lease import BACKLOG, Lease, LeaseInput, LeaseState
from builder.schedule.resources import fits
from builder.schedule.shares import Share

MOST_LOOKED_AT = 64  # leases of one user, the newest first


def preempt_if_due(books: Books, lane: Lane, now: float) -> None:
    """The time of `watch_share` is over."""
    lane.watched = False
    if not lane.queue:
        return
    watch_share(books, lane, now)
    if not lane.may_run:
        return
    entry = lane.queue.first(now + lane.queue.urgent * books.policy.age_s_per_priority)
    if entry is None:
        return
    task = entry[3]
    user = task.share.parent
    if now - task.queued_at < books.policy.preempt_after_s:
        return
    fair = _fair(books, lane)
    missing = min(int(fair.get(user, 0.0)) - len(user.leases), user.waiting)
    for lease in _victims(books, lane, fair, missing):
        _take_slot(books, lease, user, now)


def _fair(books: Books, lane: Lane) -> dict[Share, float]:
    """How many of the lane's slots each user may have."""
    slots = sum(kind.slots for kind in lane.classes)
    users = [share for share in books.shares.root.children.values() if not share.is_idle]
    weights = sum(share.weight for share in users)
    return {share: slots * share.weight / weights for share in users}


def _victims(books: Books, lane: Lane, fair: dict[Share, float], missing: int) -> Iterator[Lease]:
    """At most so many leases, of the users who are furthest above their shares."""
    while missing > 0:
        above = sorted(fair, key=lambda share: fair[share] - len(share.leases))
        if not above or len(above[0].leases) <= fair[above[0]]:
            return
        lease = _newest(books, lane, above[0])
        if lease is None:
            del fair[above[0]]
        else:
            missing -= 1
            yield lease


def _newest(books: Books, lane: Lane, user: Share) -> Lease | None:
    """The newest lease of the user's that may give way, and would make room in this lane."""
    for _, name in zip(range(MOST_LOOKED_AT), reversed(user.leases), strict=False):
        lease = books.leases[name]
        task = books.tasks.get(lease.task)
        if task is None or task.lease is not lease or lease.state is LeaseState.RECALLED:
            continue
        waits = lease.state is LeaseState.WAITING
        if not waits and (task.hedge or task.spec.do_not_cache):
            continue
        worker = books.fleet.workers[lease.worker]
        free = dict(worker.free)
        for resource, amount in lease.need:
            free[resource] = free.get(resource, 0) + amount
        if (
            task.preempted < books.policy.preemptions
            and worker.takes_leases
            and worker.kind in lane.classes
            and fits(lane.need, free)
        ):
            return lease
    return None


def _take_slot(books: Books, lease: Lease, user: Share, now: float) -> None:
    task = books.tasks[lease.task]
    reason = reasons.preempted(user.name, len(task.share.parent.leases))
    if lease.state in BACKLOG:
        task.preempted += 1
        recall(books, books.fleet.workers[lease.worker], lease, reason.sentence)
        return
    settle(lease, now)
    lease.step(LeaseInput.CANCEL)
    assert lease.state is LeaseState.CANCELLING
    session = books.fleet.workers[lease.worker].session
    books.effects.append(CancelLease(session, lease.id, reason.sentence))
    books.effects.append(Explain(task.id, reason))
    books.counters.preempted += 1
    task.preempted += 1
    requeue(books, task, now)
