"""The task that owns the scheduling machine: events in, effects performed.

Theory of operation. Whoever has news posts an event, which never waits; the one task of `run` takes
them in their order and gives each to the machine with the time. Performing an effect never waits
either: what is for a worker is said on its line, what is for clients into their ears, and all of
it leaves at the end of the turn, when the journal has been written. Where the action cache cannot
take a result at once, a task of its own writes it and posts what has come of it.
"""

import math
from collections import deque
from collections.abc import Callable, Container, Mapping
from itertools import chain
from typing import Any, TypeVar

import trio

from builder.base.errors import StatusError, from_status
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.schedule import effects, events
from builder.schedule.demand import Demand
from builder.schedule.machine import Machine
from builder.schedule.operation import Ending, OperationView
from builder.schedule.snapshot import Snapshot
from builder.schedule.spec import ActionSpec
from builder.server.history import History
from builder.server.journal import Journal, NoJournal
from builder.server.operation_messages import digest_of_key
from builder.server.watching import Ear, ForWorker, Line, Taken, WantOutput, Watcher
from builder.stores.interface import ActionCache, InlineActionCache
from builder.telemetry.log import get_logger

log = get_logger()
AT_ONCE = 100  # events, before other tasks get their turn
ACKNOWLEDGE_S = 0.25  # that acknowledgements wait for something to travel with
EarT = TypeVar("EarT", bound=Ear)


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
        self._at_once = cache if isinstance(cache, InlineActionCache) else None
        self._new_id = new_id
        self._joined = joined
        self._journal = journal or NoJournal()
        self._inbox: deque[events.Event] = deque()
        self._deleting: set[str] = set()  # operations that the inbox has yet to forget
        self._news: trio.Event | None = None  # while the task waits for it
        self._now = 0.0  # the time of this turn
        self._ears: dict[str, list[Ear]] = {}
        self._lines: dict[str, Line] = {}  # by session
        self._names: dict[str, str] = {}  # session -> worker
        self._told: dict[Ear | Line, None] = {}  # in this turn
        self._taken: dict[str, list[str]] = {}  # session -> results to acknowledge
        self._taken_due = math.inf
        self._nursery: trio.Nursery | None = None  # of `run`
        self.performers = self._performers()  # of every type of `effects.Effect`, a test sees to it
        self._turned: Callable[[], None] = lambda: None
        self.history = History()

    # ---- for services

    def post(self, event: events.Event) -> None:
        if type(event) is events.OperationsRestored:
            self.history.restored(event.entries, trio.current_time())
        self._inbox.append(event)
        if self._news is not None:
            self._news.set()

    def submit(self, instance: str, spec: ActionSpec) -> Watcher:
        """Ask for an action to be executed. Every watcher has to `leave` in the end."""
        return self.follow(instance, spec, Watcher)

    def follow(self, instance: str, spec: ActionSpec, ear: Callable[[str], EarT]) -> EarT:
        """As `submit`, with an ear of the caller's, made for the new operation's name."""
        prefix = f"{instance}/" if instance else ""
        made = ear(f"{prefix}operations/{self._new_id()}")
        self._ears[made.operation] = [made]
        self.history.asked(made.operation, spec, trio.current_time())
        self.post(events.ActionSubmitted(made.operation, spec))
        return made

    def attach(self, operation: str) -> Watcher:
        """Wait for an operation that may be known; the first view comes at once."""
        watcher = Watcher(operation)
        self._ears.setdefault(operation, []).append(watcher)
        hit = self.history.hit_view(operation)
        if hit is not None:
            watcher.tell(hit)
        else:
            self.post(events.ClientAttached(operation))
        return watcher

    def leave(self, ear: Ear) -> None:
        """It wants to hear no more. Nobody listens to what has ended, so that is no news then."""
        every = self._ears.get(ear.operation)
        if every is None or ear not in every:
            return
        every.remove(ear)
        if not every:
            del self._ears[ear.operation]
        self.post(events.ClientDetached(ear.operation))

    def open_session(self, worker: str, line: Line) -> str:
        """A new stream of a worker, and the way to say something on it."""
        session = self._new_id()
        self._lines[session] = line
        self._names[session] = worker
        return session

    def close_session(self, session: str) -> None:
        del self._lines[session]
        self._taken.pop(session, None)
        del self._names[session]
        self.post(events.WorkerDisconnected(session))

    def lease_of(self, operation: str) -> tuple[str, str] | None:
        """The session and the lease by which it runs just now, if it does."""
        return self._machine.lease_of(operation)

    def tell(self, session: str, question: WantOutput) -> None:
        """Say something on a worker's stream that the machine need not know of."""
        line = self._lines.get(session)
        if line is not None:
            line.say(question)
            line.flush()

    def operation(self, name: str) -> OperationView | None:
        """Also one that the action cache answered, which the machine never saw."""
        if name in self._deleting:
            return None
        return self._machine.operation(name) or self.history.hit_view(name)

    def delete(self, operation: str) -> None:
        """Forget one that has ended: from now on, though the machine hears of it later."""
        self.history.delete_hit(operation)
        self._deleting.add(operation)
        self.post(events.OperationDeleted(operation))

    def operation_names(self) -> list[tuple[float, str, bool]]:
        """When each was asked for, its name, whether the action cache answered; by age."""
        ran = ((at, name, False) for at, name in self._machine.operation_names())
        every = chain(ran, ((at, name, True) for at, name in self.history.hit_names()))
        return sorted(one for one in every if one[1] not in self._deleting)

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
            self._nursery = nursery
            while True:
                if not self._inbox:
                    await self._wait()
                self._turn(trio.current_time())
                self._turned()
                if self._inbox:
                    await trio.lowlevel.checkpoint()
                elif self._deleting:
                    self._deleting.clear()

    def _deadline(self) -> float:
        at = self._machine.next_deadline()
        return math.inf if at is None else at

    async def _wait(self) -> None:
        """For an event, or until something is due."""
        self._news = news = trio.Event()
        with trio.move_on_at(min(self._deadline(), self._taken_due)):
            await news.wait()
        self._news = None
        if not self._inbox:
            self._inbox.append(events.TimePassed())

    def _turn(self, now: float) -> None:
        """Take what has come, and let what comes of it leave."""
        self._now = now
        inbox, handle, perform = self._inbox, self._machine.handle, self.performers
        for _ in range(min(len(inbox), AT_ONCE)):
            for effect in handle(inbox.popleft(), now):
                perform[type(effect)](effect)
        if self._taken_due <= now:
            self._acknowledge_all()
        self._journal.flush()
        for told in self._told:
            told.flush()
        self._told.clear()

    def _performers(self) -> Mapping[type, Callable[[Any], object]]:
        return {
            OperationView: self._tell,
            effects.RefuseOperation: self._refuse,
            effects.KeepResult: self._keep,
            effects.Remember: self._remember,
            effects.Forget: self._forget,
            effects.Explain: self._explain,
            effects.GrantLease: self._grant,
            effects.AcknowledgeLease: self._took,
            effects.WelcomeWorker: self._welcome,
            effects.RefuseWorker: self._turn_away,
            effects.CloseSession: self._close,
            effects.CancelLease: self._say,
            effects.RecallLease: self._say,
            effects.IntroducePeers: self._say,
            effects.DrainWorker: self._say,
        }

    # ---- effects for workers; where the stream is gone, its WorkerDisconnected is in the inbox

    def _say(self, effect: ForWorker) -> bool:
        """Whether the worker is there to hear it, and what it has to hear before."""
        session = effect.session
        line = self._lines.get(session)
        if line is None:
            return False
        taken = self._taken.pop(session, None)
        if taken is not None:
            line.say(Taken(tuple(taken)))
        line.say(effect)
        self._told[line] = None
        return True

    def _grant(self, effect: effects.GrantLease) -> None:
        if self._say(effect) and log.verbose:
            fields = self.history.fields(effect.lease.rpartition("/")[0])
            fields["worker"] = self._names[effect.session]
            log.debug("Lease granted", lease=effect.lease, **fields)

    def _took(self, effect: effects.AcknowledgeLease) -> None:
        session, lease = effect
        if session in self._lines:
            waiting = self._taken.get(session)
            if waiting is None:
                self._taken[session] = [lease]
                self._taken_due = min(self._taken_due, self._now + ACKNOWLEDGE_S)
            else:
                waiting.append(lease)

    def _welcome(self, effect: effects.WelcomeWorker) -> None:
        if self._say(effect):
            self._joined(self._names[effect.session])

    def _turn_away(self, effect: effects.RefuseWorker) -> None:
        if self._say(effect):
            log.warning("Worker refused", worker=self._names[effect.session], why=effect.why)

    def _close(self, effect: effects.CloseSession) -> None:
        if self._say(effect):
            log.debug("Stream closed", worker=self._names[effect.session], why=effect.why)

    def _acknowledge(self, session: str) -> None:
        taken = self._taken.pop(session, None)
        line = self._lines.get(session)
        if taken and line is not None:
            line.say(Taken(tuple(taken)))
            self._told[line] = None

    def _acknowledge_all(self) -> None:
        self._taken_due = math.inf
        for session in list(self._taken):
            self._acknowledge(session)

    # ---- effects for clients, for the cache, for people

    def _remember(self, effect: effects.Remember) -> None:
        self._journal.remember(effect.entry)

    def _forget(self, effect: effects.Forget) -> None:
        self._journal.forget(effect.operation)

    def _tell(self, view: OperationView) -> None:
        self.history.told(view, self._now)
        name = view.name
        ears = self._ears.get(name) if view.ending is None else self._ears.pop(name, None)
        if ears is not None:
            for ear in ears:
                ear.tell(view)
                self._told[ear] = None
        if log.verbose:
            fields = self.history.fields(view.name)
            log.debug(f"Operation {view.stage.name.lower()}", why=view.reason.sentence, **fields)

    def _refuse(self, effect: effects.RefuseOperation) -> None:
        operation, code, reason = effect
        self.history.refused(operation, reason, Ending(reason, code), self._now)
        for ear in self._ears.pop(operation, ()):
            ear.refuse(from_status(code, reason.sentence))
            self._told[ear] = None
        if log.verbose:
            fields = self.history.fields(operation)
            log.debug("Operation refused", why=reason.sentence, **fields)

    def _explain(self, effect: effects.Explain) -> None:
        subject, reason = effect
        fields = self.history.fields(subject)
        log.warning("Scheduling", reason=reason.code.value, why=reason.sentence, **fields)

    def _keep(self, kept: effects.KeepResult) -> None:
        if self._keep_nowait(kept):
            self._inbox.append(events.ResultKept(kept.task))
        else:
            assert self._nursery is not None
            self._nursery.start_soon(self._keep_by_and_by, kept)

    def _keep_nowait(self, kept: effects.KeepResult) -> bool:
        """Whether the cache has it now, or will never have it."""
        if self._at_once is None:
            return False
        try:
            result, metadata = _kept(kept)
            return self._at_once.store_nowait(
                kept.key.instance, digest_of_key(kept.key), result, metadata
            )
        except Exception as error:
            self._not_kept(kept, error)
            return True

    async def _keep_by_and_by(self, kept: effects.KeepResult) -> None:
        """The clients get their result whatever becomes of the cache."""
        try:
            result, metadata = _kept(kept)
            await self._cache.store(kept.key.instance, digest_of_key(kept.key), result, metadata)
        except Exception as error:
            self._not_kept(kept, error)
        self.post(events.ResultKept(kept.task))

    def _not_kept(self, kept: effects.KeepResult, error: Exception) -> None:
        action = str(digest_of_key(kept.key))
        if isinstance(error, StatusError):
            log.warning("Result not cached", action=action, why=error.message)
        else:  # a broken cache costs time, not results
            log.exception("Result not cached", action=action)


def _kept(kept: effects.KeepResult) -> tuple[pb.ActionResult, bytes]:
    """The result, and the RequestMetadata of who asked for it."""
    result = pb.ExecuteResponse.FromString(kept.response).result
    asked = workers_pb2.LeaseGranted.FromString(kept.payload).request_metadata
    return result, asked.SerializeToString()
