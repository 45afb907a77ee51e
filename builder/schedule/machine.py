"""The scheduler: events in, effects out. It owns no socket, no clock and no task of trio.

Theory of operation. `handle` first does what has become due, then takes the event. All that it
knows is in `Books`; the modules beside this one each change it in one way. An action is a `Task`
with a life of its own (`task`), each attempt a `Lease` (`lease`), each client's request an
`Operation` (`operation`). Nothing waits while a free worker could serve it (`dispatch`), nothing
waits without a reason (`reasons`, `views`), and every operation ends exactly once (`attempts`).
"""

import math
from collections.abc import Container, Iterable

from builder.schedule import clients, workers
from builder.schedule.ailing import rested_if_due
from builder.schedule.attempts import fail
from builder.schedule.books import Books
from builder.schedule.checks import check_books
from builder.schedule.deadlines import Due
from builder.schedule.demand import Demand, demand_of
from builder.schedule.dispatch import dispatch_dirty, enqueue
from builder.schedule.effects import Effect
from builder.schedule.events import Event
from builder.schedule.fleet import Worker
from builder.schedule.handlers import HANDLERS
from builder.schedule.hedging import hedge_if_due
from builder.schedule.lanes import Lane
from builder.schedule.lease import Lease
from builder.schedule.operation import Operation, OperationView
from builder.schedule.platform import Offer
from builder.schedule.policy import Policy
from builder.schedule.preempting import preempt_if_due
from builder.schedule.reasons import Reason, ReasonCode
from builder.schedule.snapshot import Snapshot, snapshot_of
from builder.schedule.task import Task, TaskInput, TaskState
from builder.schedule.views import view


class Machine:
    """All times are seconds on one monotonic clock, which the caller reads."""

    def __init__(self, policy: Policy | None = None, pools: Iterable[Offer] = ()) -> None:
        self.policy = policy or Policy()
        self._books = Books(self.policy, pools)

    def handle(self, event: Event, now: float) -> list[Effect]:
        books = self._books
        effects: list[Effect] = []
        books.effects = effects
        books.now = now
        if now >= books.deadlines.first:
            self._due(now)
        HANDLERS[type(event)](books, event, now)
        if books.dirty:
            dispatch_dirty(books, now)
        return effects

    def next_deadline(self) -> float | None:
        """When to send TimePassed at the latest."""
        first = self._books.deadlines.first
        return first if first < math.inf else None

    def check(self) -> None:
        """Raises AssertionError when the books contradict themselves."""
        check_books(self._books)

    def snapshot(self, details: int = 0) -> Snapshot:
        """A frozen view; of the unfinished actions only the first `details`."""
        return snapshot_of(self._books, details)

    def demand(self, pool: str, now: float, full: Container[str] = ()) -> Demand:
        """What the actions ask of the configured pool of this name; `full` ones cannot grow."""
        return demand_of(self._books, pool, now, full)

    def operation(self, name: str) -> OperationView | None:
        """How it stands, or None for one that is not or no longer known."""
        operation = self._books.operations.get(name)
        return view(self._books, operation) if operation is not None else None

    def lease_of(self, name: str) -> tuple[str, str] | None:
        """The session and the lease by which an operation's action runs just now, if it does."""
        operation = self._books.operations.get(name)
        task = None if operation is None else self._books.tasks.get(operation.task)
        if task is None or task.lease is None:
            return None
        worker = self._books.fleet.workers.get(task.lease.worker)
        return (worker.session, task.lease.id) if worker is not None and worker.session else None

    def operation_names(self) -> Iterable[tuple[float, str]]:
        """Of all that are known, with when they were asked for."""
        return ((one.asked_at, one.name) for one in self._books.operations.values())

    def _due(self, now: float) -> None:
        books = self._books
        if now > books.deadlines.first + self.policy.heartbeat_interval_s:
            books.awake_at = now  # we were held up, and what workers say has not been heard yet
        while (due := books.deadlines.pop(now)) is not None:
            kind, subject = due
            if kind is Due.WORKER:
                assert isinstance(subject, Worker)
                workers.remove_if_due(books, subject, now)
            elif kind is Due.OPERATION:
                assert isinstance(subject, Operation)
                clients.abandon_if_due(books, subject, now)
            elif kind is Due.TASK:
                assert isinstance(subject, Task)
                self._ready(subject, now)
            elif kind is Due.SHARE:
                assert isinstance(subject, Lane)
                preempt_if_due(self._books, subject, now)
            elif kind is Due.HEDGE:
                assert isinstance(subject, Lease)
                hedge_if_due(books, subject, now)
            elif kind is Due.REST:
                assert isinstance(subject, Worker)
                rested_if_due(books, subject, now)
            elif kind is Due.FINISHED:
                self._forget(books.finished.expire(now))
            else:
                assert isinstance(subject, Lane)
                self._unserved(subject, now)

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            del self._books.operations[name]

    def _ready(self, task: Task, now: float) -> None:
        """A delay is over, unless the task has moved on meanwhile."""
        if task.state is TaskState.DELAYED:
            task.step(TaskInput.READY)
            enqueue(self._books, task, now)

    def _unserved(self, lane: Lane, now: float) -> None:
        """Tasks have waited long enough for a worker that nothing promises."""
        since, limit_s = lane.unserved_at, self.policy.unserved_timeout_s
        if since is None or lane.served:
            lane.unserved_at = None
            return
        if since + limit_s > now:
            self._books.deadlines.add(since + limit_s, Due.LANE, lane)
            return
        lane.unserved_at = None
        reason = Reason(
            ReasonCode.NO_MATCH,
            f"no worker with {lane.wanted} was connected for {limit_s:g} s, "
            f"and no pool is configured that starts one",
        )
        for task in sorted(lane.queue, key=lambda task: task.sequence):
            self._books.counters.gave_up += 1
            fail(self._books, task, reason, now)
