"""Any order of events: the books hold, every operation ends once, and nothing is left behind.

A history is a list of pairs of numbers: which rule, and how. They are read modulo what is there,
so that every history is possible and most steps do something; a shorter list is a simpler history.
"""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.schedule import effects, events
from builder.schedule.fleet import WorkerInfo
from builder.schedule.machine import Machine
from builder.schedule.operation import OperationView, Stage
from builder.schedule.platform import Offer
from builder.schedule.policy import Policy
from builder.schedule.quotas import Quota
from builder.schedule.resources import Amounts
from builder.schedule.spec import ActionKey, ActionSpec, Client, Entry, Outcome

LINUX = (("ISA", "x86-64"), ("OSFamily", "linux"))
GPU = (*LINUX, ("gpu", "1"))
NAMES = ["w1", "w2", "w3"]
PLATFORMS = {"w1": LINUX, "w2": LINUX, "w3": GPU}
REQUESTS = [(), LINUX, LINUX, GPU, (("OSFamily", "windows"),)]
CLIENT_EVENTS = [
    events.ClientDetached,
    events.ClientAttached,
    events.CancelRequested,
    events.OperationDeleted,
]
POLICY = Policy(
    remember=True,
    finished_kept=20,
    unserved_timeout_s=60,
    most_queued=30,
    shares={"u1": 3.0},
    quotas={"small": Quota(running=1, queued=3)},
    preempt_after_s=2.0,
    hold_after_s=1.0,
    hedge=True,
    hedge_after_s=3.0,
    backlog=2,
)
NEEDS: list[Amounts] = [(), (), (("memory", 2),), (("licence", 1),)]
CAPACITY: Amounts = (("licence", 1), ("memory", 3))


class World:
    """The world outside: workers with the leases that they believe in, clients that wait."""

    def __init__(self) -> None:
        self.machine = self.make()
        self.now = 0.0
        self.count = 0
        self.sessions: dict[str, str] = {}  # worker -> its open stream
        self.held: dict[str, list[str]] = {name: [] for name in NAMES}
        self.keeping: list[str] = []
        self.journal: dict[str, Entry] = {}
        self.asked: dict[str, int] = {}  # operation -> endings seen
        self.refused: set[str] = set()

    def make(self) -> Machine:
        return Machine(POLICY, [Offer.of("default", LINUX)])

    def restart(self, how: int) -> None:
        """The coordinator dies; of it, only the journal and what workers hold is left."""
        self.machine = self.make()
        self.sessions.clear()
        self.keeping.clear()
        self.send(events.OperationsRestored(tuple(self.journal.values())))

    def send(self, event: events.Event) -> None:
        for effect in self.machine.handle(event, self.now):
            self.perform(effect)

    def worker_of(self, session: str) -> str | None:
        return next((name for name, open_ in self.sessions.items() if open_ == session), None)

    def perform(self, effect: effects.Effect) -> None:
        match effect:
            case effects.GrantLease(session, lease):
                name = self.worker_of(session)
                assert name is not None, "granted over a stream that is gone"
                assert lease not in self.held[name]
                self.held[name].append(lease)
            case effects.WelcomeWorker(session, _, unknown):
                name = self.worker_of(session)
                assert name is not None
                self.held[name] = [id_ for id_ in self.held[name] if id_ not in unknown]
            case effects.CloseSession(session):
                name = self.worker_of(session)
                if name is not None:
                    del self.sessions[name]
            case effects.KeepResult(task):
                self.keeping.append(task)
            case OperationView() as view:
                assert (view.ending is not None) == (view.stage is Stage.COMPLETED)
                if view.ending is not None:
                    self.asked[view.name] += 1
            case effects.Remember(entry):
                assert entry.operation not in self.journal
                self.journal[entry.operation] = entry
            case effects.Forget(operation):
                del self.journal[operation]
            case effects.RefuseOperation(operation):
                self.refused.add(operation)
            case _:
                pass

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def submit(self, how: int) -> None:
        kind, how = how % 4, how // 4
        key, how = how % 5, how // 5
        # do_not_cache is part of the action, so an action has it always or never
        spec = ActionSpec(
            ActionKey("small" if how % 6 == 5 else "", "sha256", f"{key}{kind == 0}", 1),
            REQUESTS[how % len(REQUESTS)],
            priority=how % 7 - 3,
            do_not_cache=kind == 0,
            skip_cache=kind == 1,
            client=Client(user=f"u{how % 3}", invocation=f"i{how % 2}"),
            need=NEEDS[how % len(NEEDS)],
            kind=f"k{how % 2}",
            program=("", "p", "q")[how % 3],
        )
        name = self.fresh("op")
        self.asked[name] = 0
        self.send(events.ActionSubmitted(name, spec))

    def client(self, how: int) -> None:
        if not self.asked:
            return
        kind = CLIENT_EVENTS[how % len(CLIENT_EVENTS)]
        name = [*self.asked][-1 - how // 4 % min(len(self.asked), 12)]
        before = self.asked[name]
        self.send(kind(name))
        if before:  # being told of the end again is not another end
            self.asked[name] = 1

    def connect(self, how: int) -> None:
        name, how = NAMES[how % 3], how // 3
        if how % 4 == 0:
            self.held[name] = []
        session = self.sessions[name] = self.fresh("s")
        info = WorkerInfo(
            name,
            1 + how % 3,
            PLATFORMS[name],
            identity=name,
            host=f"host-{how % 2}",
            capacity=CAPACITY if how % 2 else (),
            backlog=how % 4,
            peer="127.0.0.1:1",
        )
        self.send(events.WorkerConnected(session, info, tuple(self.held[name])))

    def open_session(self, how: int) -> str:
        return [*self.sessions][how % len(self.sessions)]

    def disconnect(self, how: int) -> None:
        if self.sessions:
            session = self.sessions.pop(self.open_session(how))
            self.send(events.WorkerDisconnected(session))

    def vanish(self, how: int) -> None:
        name = NAMES[how % 3]
        self.send(events.WorkerVanished(name, "was killed"))
        self.held[name] = []
        self.sessions.pop(name, None)

    def drain(self, how: int) -> None:
        self.send(events.DrainRequested(NAMES[how % 3], 5.0, "scale-down"))

    def heartbeat(self, how: int) -> None:
        if self.sessions:
            name = self.open_session(how)
            running = self.held[name] if how % 8 else self.held[name][1:]
            waiting = tuple(running[how % 3 :]) if how % 5 == 0 else ()
            beat = events.HeartbeatReceived(self.sessions[name], tuple(running), waiting=waiting)
            beat.programs = ("p", "q")[: how % 3]
            self.send(beat)

    def finish(self, how: int) -> None:
        names = [name for name in self.sessions if self.held[name]]
        if not names:
            return
        name, how = names[how % len(names)], how // len(names)
        lease = self.held[name].pop(how % len(self.held[name]))
        session = self.sessions[name]
        if how % 9 == 8:
            self.send(events.LeaseYielded(session, lease, [*NAMES, "", "nobody"][how // 9 % 5]))
        elif how % 7 == 0:
            self.send(events.LeaseReturned(session, lease, "cancelled or drained"))
        elif how % 7 == 1:
            self.send(events.LeaseProgressed(session, lease, "runs", b"p"))
            self.held[name].append(lease)
        else:
            outcome = Outcome(
                b"r",
                how % 7 > 3,
                how % 7 == 2,
                "disk is full",
                execution_s=0.5,
                peak_memory_bytes=how % 5 * 100_000_000,
                out_of_memory=how % 7 == 3,
            )
            self.send(events.LeaseFinished(session, lease, outcome))

    def keep(self, how: int) -> None:
        if self.keeping:
            self.send(events.ResultKept(self.keeping.pop(0)))

    def pass_time(self, how: int) -> None:
        self.now += (0.1, 1.0, 6.0, 20.0)[how % 4]
        self.send(events.TimePassed())

    def holds(self) -> None:
        self.machine.check()
        assert max(self.asked.values(), default=0) <= 1, "two endings of one operation"
        self.machine.snapshot(details=5)

    def settle(self) -> None:
        """With healthy workers and patience, everything that is left comes to its end."""
        self.now += 1000.0
        self.send(events.TimePassed())
        for index in range(len(NAMES)):
            self.vanish(index)  # it may have been told to drain
            self.connect(index)
        for _ in range(60):
            self.now += 2.0
            for name, session in list(self.sessions.items()):
                self.send(events.HeartbeatReceived(session, tuple(self.held[name])))
                for lease in list(self.held[name]):
                    self.held[name].remove(lease)
                    self.send(events.LeaseFinished(session, lease, Outcome(b"", True)))
            while self.keeping:
                self.keep(0)
        self.holds()
        left = self.machine.snapshot()
        assert (left.queued, left.waiting, left.executing) == (0, 0, 0)
        unended = {name for name, endings in self.asked.items() if not endings} - self.refused
        assert not unended


RULES: list[Callable[[World, int], None]] = [
    *[World.submit] * 4,
    *[World.finish] * 5,
    *[World.connect] * 2,
    *[World.keep] * 2,
    World.client,
    World.heartbeat,
    World.pass_time,
    World.disconnect,
    World.vanish,
    World.drain,
    World.restart,
]


@pytest.mark.no_cover
@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(RULES) - 1), st.integers(0, 999)), min_size=60, max_size=200
    )
)
def test_any_history_keeps_the_books_and_loses_nothing(history: list[tuple[int, int]]) -> None:
    """Whatever happens in whatever order, no result is lost or given twice."""
    world = World()
    for which, how in history:
        RULES[which](world, how)
        world.holds()
    world.settle()
