"""The task that owns the scheduling machine: events in, effects performed.

Theory of operation. Whoever has news posts an event, which never waits; the one task of `run` takes
them in their order and gives each to the machine with the time. Performing an effect never waits
either: what goes to a worker is put into its session's mail, what goes to clients into the watchers
of that operation. Only writing the action cache takes time; a task of its own does it and posts
what has come of it.
"""

import math
from collections import deque
from collections.abc import Callable, Container
from typing import NamedTuple, assert_never

import trio

from builder.base.digest import Digest
from builder.base.errors import StatusError, from_status
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.reapi.proof import is_whole
from builder.schedule import effects, events
from builder.schedule.demand import Demand
from builder.schedule.machine import Machine
from builder.schedule.operation import Ending, OperationView
from builder.schedule.reasons import ReasonCode
from builder.schedule.snapshot import Snapshot
from builder.schedule.spec import ActionSpec
from builder.server.history import History
from builder.server.journal import Journal, NoJournal
from builder.stores.interface import ActionCache
from builder.telemetry.log import get_logger

log = get_logger()
AT_ONCE = 100  # events, before other tasks get their turn
ACKNOWLEDGE_S = 0.25  # that acknowledgements wait for something to travel with
UNSENT = 8  # views that a slow client may lag behind before the older ones are left out


class WantOutput(NamedTuple):
    """A question to a worker: what follows `offset` of what a lease's action has written?"""

    request_id: str
    lease: str
    stderr: bool
    offset: int


class Taken(NamedTuple):
    """Results of a worker's that are taken: it may forget them."""

    leases: tuple[str, ...]


ForWorker = (
    effects.WelcomeWorker
    | effects.RefuseWorker
    | effects.CloseSession
    | effects.GrantLease
    | effects.CancelLease
    | effects.AcknowledgeLease
    | effects.DrainWorker
)
Mail = ForWorker | WantOutput | Taken


class Watcher:
    """One client that waits for one operation."""

    __slots__ = ("_changed", "_last", "_refusal", "_views", "operation")

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self._views: deque[OperationView] = deque(maxlen=UNSENT)
        self._last: OperationView | None = None
        self._refusal: StatusError | None = None
        self._changed = trio.Event()

    async def next(self) -> OperationView:
        """The next state. Raises a StatusError when the operation is refused or not known."""
        while not self._views:
            if self._refusal is not None:
                raise self._refusal
            await self._changed.wait()
            self._changed = trio.Event()
        return self._views.popleft()

    def tell(self, view: OperationView) -> None:
        if view != self._last:
            self._last = view
            self._views.append(view)
            self._changed.set()

    def refuse(self, error: StatusError) -> None:
        self._refusal = error
        self._changed.set()


class Scheduler:
    """`new_id` gives ids that are never given twice; `joined` hears of each welcomed worker.

    `journal` is told what a restart would have to know, if the machine's policy remembers; what
    it has kept is to be posted as OperationsRestored before anything else.
    """

    def __init__(
        self,
        machine: Machine,
        cache: ActionCache,
        new_id: Callable[[], str],
        joined: Callable[[str], None] = lambda _name: None,
        journal: Journal | None = None,
    ) -> None:
        self._machine = machine
        self._cache = cache
        self._new_id = new_id
        self._joined = joined
        self._journal = journal or NoJournal()
        self._inbox: deque[events.Event] = deque()
        self._news = trio.Event()
        self._watchers: dict[str, list[Watcher]] = {}
        self._mail: dict[str, trio.MemorySendChannel[Mail]] = {}
        self._names: dict[str, str] = {}  # session -> worker
        self._taken: dict[str, list[str]] = {}  # session -> results to acknowledge
        self._taken_due = math.inf
        self._turned: Callable[[], None] = lambda: None
        self.history = History()

    # ---- for services

    def post(self, event: events.Event) -> None:
        if isinstance(event, events.OperationsRestored):
            self.history.restored(event.entries, trio.current_time())
        self._inbox.append(event)
        self._news.set()

    def submit(self, instance: str, spec: ActionSpec) -> Watcher:
        """Ask for an action to be executed. Every watcher has to `leave` in the end."""
        prefix = f"{instance}/" if instance else ""
        watcher = self._watch(f"{prefix}operations/{self._new_id()}")
        self.history.asked(watcher.operation, spec, trio.current_time())
        self.post(events.ActionSubmitted(watcher.operation, spec))
        return watcher

    def attach(self, operation: str) -> Watcher:
        """Wait for an operation that may be known; the first view comes at once."""
        watcher = self._watch(operation)
        self.post(events.ClientAttached(operation))
        return watcher

    def _watch(self, operation: str) -> Watcher:
        watcher = Watcher(operation)
        self._watchers.setdefault(operation, []).append(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        every = self._watchers[watcher.operation]
        every.remove(watcher)
        if not every:
            del self._watchers[watcher.operation]
        self.post(events.ClientDetached(watcher.operation))

    def open_session(self, worker: str) -> tuple[str, trio.MemoryReceiveChannel[Mail]]:
        """A new stream of a worker, and what there is to say on it."""
        session = self._new_id()
        self._mail[session], mail = trio.open_memory_channel[Mail](math.inf)
        self._names[session] = worker
        return session, mail

    def close_session(self, session: str) -> None:
        self._mail.pop(session).close()
        self._taken.pop(session, None)
        del self._names[session]
        self.post(events.WorkerDisconnected(session))

    def lease_of(self, operation: str) -> tuple[str, str] | None:
        """The session and the lease by which it runs just now, if it does."""
        return self._machine.lease_of(operation)

    def tell(self, session: str, question: WantOutput) -> None:
        """Say something on a worker's stream that the machine need not know of."""
        mail = self._mail.get(session)
        if mail is not None:
            mail.send_nowait(question)

    def operation(self, name: str) -> OperationView | None:
        return self._machine.operation(name)

    def operation_names(self) -> list[str]:
        return list(self._machine.operation_names())

    def snapshot(self, details: int = 0) -> Snapshot:
        return self._machine.snapshot(details)

    def demand(self, pool: str, full: Container[str] = ()) -> Demand:
        return self._machine.demand(pool, trio.current_time(), full)

    def watch(self, turned: Callable[[], None]) -> None:
        """Have this called after every turn of events; it must neither wait nor call back."""
        self._turned = turned

    # ---- the task

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the machine until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                self._news = trio.Event()
                if not self._inbox:
                    with trio.move_on_at(min(self._deadline(), self._taken_due)):
                        await self._news.wait()
                for _ in range(min(len(self._inbox), AT_ONCE)):
                    self._handle(self._inbox.popleft(), nursery)
                if self._deadline() <= trio.current_time():
                    self._handle(events.TimePassed(), nursery)
                if self._taken_due <= trio.current_time():
                    self._acknowledge_all()
                self._journal.flush()
                self._turned()
                if self._inbox:
                    await trio.lowlevel.checkpoint()

    def _deadline(self) -> float:
        at = self._machine.next_deadline()
        return math.inf if at is None else at

    def _handle(self, event: events.Event, nursery: trio.Nursery) -> None:
        now = trio.current_time()
        for effect in self._machine.handle(event, now):
            match effect:
                case effects.UpdateOperation(view):
                    self._tell(view, now)
                case effects.RefuseOperation(operation, code, reason):
                    self.history.refused(operation, reason, Ending(reason, code), now)
                    for watcher in self._watchers.get(operation, ()):
                        watcher.refuse(from_status(code, reason.sentence))
                case effects.KeepResult() as kept:
                    nursery.start_soon(self._keep, kept)
                case effects.Remember(entry):
                    self._journal.remember(entry)
                case effects.Forget(operation):
                    self._journal.forget(operation)
                case effects.Explain(subject, reason):
                    self._explain(subject, reason.code, reason.sentence)
                case _:
                    self._to_worker(effect)

    def _to_worker(self, effect: ForWorker) -> None:
        mail = self._mail.get(effect.session)
        if mail is None:
            return  # the stream is gone; its WorkerDisconnected is in the inbox
        if type(effect) is effects.AcknowledgeLease:
            self._taken.setdefault(effect.session, []).append(effect.lease)
            self._taken_due = min(self._taken_due, trio.current_time() + ACKNOWLEDGE_S)
            return
        self._acknowledge(effect.session)
        mail.send_nowait(effect)
        match effect:
            case effects.WelcomeWorker(session):
                self._joined(self._names[session])
            case effects.RefuseWorker(_, why):
                log.warning("Worker refused", worker=self._names[effect.session], why=why)
            case effects.CloseSession(_, why):
                log.debug("Stream closed", worker=self._names[effect.session], why=why)
            case effects.GrantLease(_, lease):
                log.debug("Lease granted", worker=self._names[effect.session], lease=lease)
            case effects.CancelLease() | effects.AcknowledgeLease() | effects.DrainWorker():
                pass
            case _:
                assert_never(effect)

    def _acknowledge(self, session: str) -> None:
        taken = self._taken.pop(session, None) if self._taken else None
        mail = self._mail.get(session)
        if taken and mail is not None:
            mail.send_nowait(Taken(tuple(taken)))

    def _acknowledge_all(self) -> None:
        self._taken_due = math.inf
        for session in list(self._taken):
            self._acknowledge(session)

    def _tell(self, view: OperationView, now: float) -> None:
        self.history.told(view, now)
        for watcher in self._watchers.get(view.name, ()):
            watcher.tell(view)
        if log.verbose:
            fields = self.history.fields(view.name)
            log.debug(f"Operation {view.stage.name.lower()}", why=view.reason.sentence, **fields)

    def _explain(self, subject: str, code: ReasonCode, sentence: str) -> None:
        fields = self.history.fields(subject)
        log.warning("Scheduling", reason=code.value, why=sentence, **fields)

    async def _keep(self, kept: effects.KeepResult) -> None:
        """The clients get their result whatever becomes of the cache."""
        key = kept.key
        action = Digest(key.hash, key.size_bytes, key.function)
        try:
            result = pb.ExecuteResponse.FromString(kept.response).result
            if is_whole(result):
                asked = workers_pb2.LeaseGranted.FromString(kept.payload).request_metadata
                metadata = asked.SerializeToString()
                await self._cache.store(key.instance, action, result, metadata)
        except StatusError as error:
            log.warning("Result not cached", action=str(action), why=error.message)
        except Exception:  # a broken cache costs time, not results
            log.exception("Result not cached", action=str(action))
        self.post(events.ResultKept(kept.task))
