"""A second attempt beside one that is slower than its kind: the first result counts.

Theory of operation. The kind's times tell how long hardly any of them takes (`sizes`); beyond that
it is likelier that the worker is slow than that the action is long. A second attempt costs a slot
that nobody waits for, on another worker, and is not a retry: nothing has failed. Whichever brings
its result first ends the task, which cancels the other; if either fails, the other goes on alone.
"""

from builder.schedule.books import Books
from builder.schedule.dispatch import free_workers, grant, watch_tail
from builder.schedule.effects import Explain
from builder.schedule.lease import BACKLOG, Lease
from builder.schedule.reasons import Reason, ReasonCode, about


def hedge_if_due(books: Books, lease: Lease, now: float) -> None:
    """The time of `watch_tail` is over."""
    task = books.tasks.get(lease.task)
    if task is None or task.lease is not lease or task.hedge is not None:
        return
    if lease.state in BACKLOG:
        return  # it is watched from its start
    lane = books.lane_of(task)
    avoid = (*task.avoid, lease.worker)
    others = [one for one in free_workers(lane) if one.has_slot and one.info.name not in avoid]
    host = books.fleet.workers[lease.worker].info.host
    elsewhere = (one for one in others if not host or one.info.host != host)
    worker = next(elsewhere, others[0] if others else None)
    if worker is None or lane.queue or not lane.may_run or not task.attended:
        watch_tail(books, lease, now)
        return
    sentence = (
        f"has run for {about(now - lease.granted_at)} on {lease.worker}, longer than hardly any "
        f"of its kind, and gets a second attempt on {worker.info.name}"
    )
    books.effects.append(Explain(task.id, Reason(ReasonCode.HEDGED, sentence)))
    books.counters.hedged += 1
    task.hedge = grant(books, lane, task, worker, now)
