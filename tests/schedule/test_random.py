"""Any order of events: the books hold, every operation ends once, and nothing is left behind."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from builder.schedule import effects, events
from builder.schedule.fleet import WorkerInfo
from builder.schedule.machine import Machine
from builder.schedule.operation import Stage
from builder.schedule.platform import Offer
from builder.schedule.policy import Policy
from builder.schedule.spec import ActionKey, ActionSpec, Outcome

LINUX = (("ISA", "x86-64"), ("OSFamily", "linux"))
GPU = (*LINUX, ("gpu", "1"))
NAMES = ["w1", "w2", "w3"]
PLATFORMS = {"w1": LINUX, "w2": LINUX, "w3": GPU}
POLICY = Policy(finished_kept=20, unserved_timeout_s=60, most_queued=30)


class Scheduling(RuleBasedStateMachine):
    """The world outside: workers with the leases that they believe in, clients that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(POLICY, [Offer.of("default", LINUX)])
        self.now = 0.0
        self.count = 0
        self.sessions: dict[str, str] = {}  # worker -> its open stream
        self.held: dict[str, list[str]] = {name: [] for name in NAMES}
        self.keeping: list[str] = []
        self.asked: dict[str, int] = {}  # operation -> endings seen
        self.refused: set[str] = set()

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
            case effects.UpdateOperation(view):
                assert (view.ending is not None) == (view.stage is Stage.COMPLETED)
                if view.ending is not None:
                    self.asked[view.name] += 1
            case effects.RefuseOperation(operation):
                self.refused.add(operation)
            case _:
                pass

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    @rule(
        key=st.integers(0, 6),
        priority=st.integers(-3, 3),
        flags=st.sampled_from(["", "do_not_cache", "skip_cache"]),
        platform=st.sampled_from([(), LINUX, GPU, (("OSFamily", "windows"),)]),
    )
    def submit(
        self, key: int, priority: int, flags: str, platform: tuple[tuple[str, str], ...]
    ) -> None:
        # do_not_cache is part of the action, so an action has it always or never
        unique = flags == "do_not_cache"
        spec = ActionSpec(
            ActionKey("", "sha256", f"{key}{unique}", 1),
            platform,
            priority,
            do_not_cache=unique,
            skip_cache=flags == "skip_cache",
        )
        name = self.fresh("op")
        self.asked[name] = 0
        self.send(events.ActionSubmitted(name, spec))

    @precondition(lambda self: self.asked)
    @rule(
        data=st.data(),
        kind=st.sampled_from(
            [
                events.ClientDetached,
                events.ClientAttached,
                events.CancelRequested,
                events.OperationDeleted,
            ]
        ),
    )
    def client(self, data: st.DataObject, kind: type) -> None:
        name = data.draw(st.sampled_from(list(self.asked)))
        before = self.asked[name]
        self.send(kind(name))
        if kind is events.ClientAttached:  # being told of the end again is not another end
            self.asked[name] = max(before, min(self.asked[name], 1))

    @rule(name=st.sampled_from(NAMES), slots=st.integers(1, 3), forgets=st.booleans())
    def connect(self, name: str, slots: int, forgets: bool) -> None:
        if forgets:
            self.held[name] = []
        session = self.sessions[name] = self.fresh("s")
        info = WorkerInfo(name, slots, PLATFORMS[name], identity=name)
        self.send(events.WorkerConnected(session, info, tuple(self.held[name])))

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.sessions)))
        self.send(events.WorkerDisconnected(self.sessions.pop(name)))

    @rule(name=st.sampled_from(NAMES))
    def vanish(self, name: str) -> None:
        self.send(events.WorkerVanished(name, "was killed"))
        self.held[name] = []
        self.sessions.pop(name, None)

    @rule(name=st.sampled_from(NAMES))
    def drain(self, name: str) -> None:
        self.send(events.DrainRequested(name, 5.0, "scale-down"))

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.sessions)))
        self.send(events.HeartbeatReceived(self.sessions[name], tuple(self.held[name])))

    @precondition(lambda self: any(self.held[name] for name in self.sessions))
    @rule(
        data=st.data(),
        how=st.sampled_from(["success", "success", "failure", "infrastructure", "return"]),
    )
    def finish(self, data: st.DataObject, how: str) -> None:
        names = [name for name in self.sessions if self.held[name]]
        name = data.draw(st.sampled_from(names))
        lease = data.draw(st.sampled_from(self.held[name]))
        self.held[name].remove(lease)
        session = self.sessions[name]
        if how == "return":
            self.send(events.LeaseReturned(session, lease, "cancelled or drained"))
        else:
            outcome = Outcome(b"r", how == "success", how == "infrastructure", "disk is full")
            self.send(events.LeaseFinished(session, lease, outcome))

    @precondition(lambda self: self.keeping)
    @rule()
    def keep(self) -> None:
        self.send(events.ResultKept(self.keeping.pop(0)))

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.send(events.TimePassed())

    @invariant()
    def holds(self) -> None:
        self.machine.check()
        assert max(self.asked.values(), default=0) <= 1, "two endings of one operation"
        self.machine.snapshot(details=5)

    def teardown(self) -> None:
        """With one healthy worker and patience, everything that is left comes to its end."""
        self.now += 1000.0
        self.send(events.TimePassed())
        for name in NAMES:
            self.held[name] = []
            self.connect(name, 1, forgets=True)
        for _ in range(200):
            self.now += 2.0
            for name, session in list(self.sessions.items()):
                self.send(events.HeartbeatReceived(session, tuple(self.held[name])))
                for lease in list(self.held[name]):
                    self.held[name].remove(lease)
                    self.send(events.LeaseFinished(session, lease, Outcome(b"", True)))
            while self.keeping:
                self.keep()
        self.machine.check()
        left = self.machine.snapshot()
        assert (left.queued, left.waiting, left.executing) == (0, 0, 0)
        unended = {name for name, endings in self.asked.items() if not endings} - self.refused
        assert not unended


TestScheduling = Scheduling.TestCase
TestScheduling.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
