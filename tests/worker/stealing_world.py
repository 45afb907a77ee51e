"""Workers that steal from each other, with their real machines, around a real scheduling machine.

Everything between them is a queue that a test moves by hand: what a worker says arrives in its
order, or never, when its stream is cut; a call from worker to worker may be answered, may fail, and
may be carried out although it has failed. Workers die, stop and go on; the coordinator begins anew
with nothing but its journal. A result carries the lease that brought it.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

from builder.schedule import effects, events
from builder.schedule.fleet import WorkerInfo
from builder.schedule.machine import Machine
from builder.schedule.operation import OperationView
from builder.schedule.platform import Offer
from builder.schedule.policy import Policy
from builder.schedule.spec import ActionKey, ActionSpec, Client, Entry, Outcome
from builder.worker import backlog, thief
from builder.worker.backlog import Backlog
from builder.worker.thief import Peer, Terms, Thief

LINUX = (("OSFamily", "linux"),)
TERMS = Terms(backlog=2, interval_s=0.5)
POLICY = Policy(
    backlog=2,
    remember=True,
    abandon_grace_s=10_000.0,
    unserved_timeout_s=10_000.0,
    infrastructure_retries=1000,
    retry_delay_s=0.0,
)
FromWorker = events.Event


@dataclass
class Call:
    """From a thief to a victim. `given` is the answer on its way back."""

    thief: "Node"
    wanted: thief.Steal
    given: tuple[str, ...] | None = None
    failed: bool = False  # the thief has given up waiting


@dataclass(eq=False)
class Node:
    """A worker: its two machines, what it runs, and its stream in both directions."""

    name: str
    slots: int
    chance: float
    stopped: bool = False
    life: int = 0
    session: str = ""
    up: deque[FromWorker] = field(default_factory=deque)
    down: deque[effects.Effect] = field(default_factory=deque)
    running: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)  # not acknowledged
    draining: bool = False

    def __post_init__(self) -> None:
        self.born()

    def born(self) -> None:
        """A new process, which knows of nothing."""
        self.life += 1
        self.stopped = self.draining = False
        self.running, self.results = [], []
        self.backlog = Backlog(self.slots)
        self.thief = Thief(TERMS, lambda: self.chance)

    @property
    def held(self) -> tuple[str, ...]:
        return (*self.running, *self.results, *self.backlog.waiting)


class World:
    def __init__(self, slots: tuple[int, ...] = (1, 1, 2), *, stealing: bool = True) -> None:
        self.policy = POLICY if stealing else Policy(remember=True)
        self.machine = Machine(self.policy, [Offer.of("default", LINUX)])
        self.now = 0.0
        self.count = 0
        self.nodes = [Node(f"w{n}", size, n / 3) for n, size in enumerate(slots)]
        self.calls: list[Call] = []
        self.journal: dict[str, Entry] = {}
        self.ended: dict[str, str] = {}  # operation -> the lease whose result it got
        self.asked: list[str] = []
        self.starts: Counter[str] = Counter()  # of each action, anywhere
        self.cancelled: set[str] = set()

    # ---- the coordinator's side

    def send(self, event: events.Event) -> None:
        for effect in self.machine.handle(event, self.now):
            self.perform(effect)
        self.machine.check()

    def perform(self, effect: effects.Effect) -> None:
        match effect:
            case effects.KeepResult(task):
                self.send(events.ResultKept(task))
            case OperationView() as view:
                if view.ending is not None:
                    assert view.name not in self.ended, "two results of one action"
                    self.ended[view.name] = view.ending.response.decode()
            case effects.Remember(entry):
                self.journal[entry.operation] = entry
            case effects.Forget(operation):
                del self.journal[operation]
            case effects.RefuseOperation() | effects.Explain():
                pass
            case _:
                node = next((one for one in self.nodes if one.session == effect.session), None)
                if node is not None:
                    node.down.append(effect)

    def submit(self, how: int) -> None:
        self.count += 1
        name = f"op{self.count}"
        self.asked.append(name)
        spec = ActionSpec(
            ActionKey("", "sha256", name, 1),
            LINUX,
            priority=how % 3 - 1,
            do_not_cache=how % 2 == 0,
            client=Client(user=f"u{how % 2}"),
        )
        self.send(events.ActionSubmitted(name, spec))

    def cancel(self, how: int) -> None:
        if self.asked:
            name = self.asked[how % len(self.asked)]
            self.cancelled.add(name)
            self.send(events.CancelRequested(name))

    def restart(self, _how: int = 0) -> None:
        """The coordinator dies, and its successor has the journal."""
        self.machine = Machine(self.policy, [Offer.of("default", LINUX)])
        for node in self.nodes:
            node.session = ""
            node.up.clear()
            node.down.clear()
        self.send(events.OperationsRestored(tuple(self.journal.values())))
        for operation in list(self.journal):
            self.send(events.ClientAttached(operation))

    # ---- streams

    def node(self, how: int) -> Node:
        return self.nodes[how % len(self.nodes)]

    def connect(self, how: int) -> None:
        node = self.node(how)
        if node.session or node.stopped:
            return
        self.count += 1
        node.session = f"s{self.count}"
        info = WorkerInfo(
            node.name,
            node.slots,
            LINUX,
            identity=f"{node.name} {node.life}",
            host="here",
            backlog=TERMS.backlog,
            peer="127.0.0.1:1",
        )
        self.send(events.WorkerConnected(node.session, info, node.held))
        node.up.extend(self.finished(node, lease) for lease in node.results)
        self.obey(node, [])

    def cut(self, how: int) -> None:
        """What is under way is lost, in both directions."""
        node = self.node(how)
        if node.session:
            session, node.session = node.session, ""
            node.up.clear()
            node.down.clear()
            self.send(events.WorkerDisconnected(session))

    def up(self, how: int) -> None:
        node = self.node(how)
        if node.up:
            self.send(node.up.popleft())

    def down(self, how: int) -> None:
        node = self.node(how)
        if node.down and not node.stopped:
            self.hear(node, node.down.popleft())

    # ---- workers

    def hear(self, node: Node, effect: effects.Effect) -> None:
        match effect:
            case effects.WelcomeWorker(_, _, unknown):
                for lease in unknown:
                    self.drop(node, lease)
            case effects.GrantLease():
                if node.draining:
                    self.say(node, events.LeaseReturned(node.session, effect.lease, "draining"))
                elif effect.lease not in node.held:
                    granted = backlog.Granted(effect.lease, effect.order_s)
                    self.obey(node, node.backlog.handle(granted, self.now))
            case effects.CancelLease(_, lease):
                self.drop(node, lease)
            case effects.RecallLease(_, lease):
                self.obey(node, node.backlog.handle(backlog.Recalled(lease), self.now))
            case effects.IntroducePeers(_, victims):
                known = tuple(Peer(*one) for one in victims)
                self.plot(node, thief.Introduced(known))
            case effects.AcknowledgeLease(_, lease):
                node.results = [one for one in node.results if one != lease]
            case effects.DrainWorker():
                node.draining = True
                self.say(node, events.WorkerDraining(node.session, "asked to"))
                self.obey(node, node.backlog.handle(backlog.Drained("draining"), self.now))
            case effects.CloseSession(session):
                if node.session == session:
                    node.session = ""
                    node.up.clear()
                    node.down.clear()
            case _:
                raise AssertionError(effect)

    def drop(self, node: Node, lease: str) -> None:
        if lease in node.backlog.waiting:
            self.obey(node, node.backlog.handle(backlog.Dropped(lease, "dropped"), self.now))
            return
        if lease in node.running:
            node.running.remove(lease)
            self.obey(node, node.backlog.handle(backlog.Ended(lease), self.now))
        node.results = [one for one in node.results if one != lease]
        self.say(node, events.LeaseReturned(node.session, lease, "dropped"))

    def obey(self, node: Node, made: list[backlog.Effect]) -> None:
        for effect in made:
            match effect:
                case backlog.Start(lease):
                    self.starts[lease.rpartition("/")[0]] += 1
                    node.running.append(lease)
                    self.say(node, events.LeaseProgressed(node.session, lease, "fetches"))
                case backlog.Yield(lease, taker):
                    self.say(node, events.LeaseYielded(node.session, lease, taker))
                case backlog.HandBack(lease, why):
                    self.say(node, events.LeaseReturned(node.session, lease, why))
        node.backlog.check()
        wants = not node.backlog.waiting and not node.draining
        self.plot(node, thief.RoomChanged(node.backlog.free if wants else 0))

    def plot(self, node: Node, event: thief.Event) -> None:
        for effect in node.thief.handle(event, self.now):
            match effect:
                case thief.Steal():
                    self.calls.append(Call(node, effect))
                case thief.AskForPeers():
                    self.beat_of(node)
        node.thief.check()

    def say(self, node: Node, event: FromWorker) -> None:
        if node.session:
            node.up.append(event)

    def finished(self, node: Node, lease: str) -> FromWorker:
        return events.LeaseFinished(node.session, lease, Outcome(lease.encode(), succeeded=True))

    def finish(self, how: int) -> None:
        node = self.node(how)
        if node.running and not node.stopped:
            lease = node.running.pop(how // 7 % len(node.running))
            node.results.append(lease)
            self.say(node, self.finished(node, lease))
            self.obey(node, node.backlog.handle(backlog.Ended(lease), self.now))

    def beat(self, how: int) -> None:
        node = self.node(how)
        if not node.stopped:
            self.beat_of(node)

    def beat_of(self, node: Node) -> None:
        waiting = tuple(node.backlog.waiting)
        self.say(node, events.HeartbeatReceived(node.session, node.held, waiting=waiting))

    def drain(self, how: int) -> None:
        self.send(events.DrainRequested(self.node(how).name, 10.0, "scale-down"))

    def kill(self, how: int) -> None:
        """Another process of the same name follows."""
        node = self.node(how)
        self.cut(how)
        for call in self.calls:
            call.failed |= call.thief is node
        node.born()

    def stop(self, how: int) -> None:
        node = self.node(how)
        node.stopped = not node.stopped

    # ---- from worker to worker

    def call(self, how: int) -> None:
        """One call goes a step further: it is carried out, or its answer arrives."""
        if not self.calls:
            return
        call = self.calls[how % len(self.calls)]
        if call.given is None:
            self.carry_out(call)
            return
        self.calls.remove(call)
        if not call.failed:
            self.plot(call.thief, thief.Answered(call.wanted.victim.name, call.given))

    def carry_out(self, call: Call) -> None:
        victim = next(one for one in self.nodes if one.name == call.wanted.victim.name)
        if victim.stopped:
            return
        call.given = ()
        if victim.session:
            wanted = call.wanted
            asked = backlog.Asked(call.thief.name, wanted.leases, wanted.most)
            made = victim.backlog.handle(asked, self.now)
            self.obey(victim, made)
            call.given = tuple(effect.lease for effect in made)

    def fail_call(self, how: int) -> None:
        """The thief waits no longer; the victim may still carry it out."""
        if self.calls:
            call = self.calls[how % len(self.calls)]
            if not call.failed:
                call.failed = True
                self.plot(call.thief, thief.Failed(call.wanted.victim.name))

    def pass_time(self, how: int) -> None:
        self.now += (0.1, 1.0, 6.0, 20.0)[how % 4]
        self.tick()

    def pass_a_moment(self, _how: int) -> None:
        self.now += 0.1
        self.tick()

    def tick(self) -> None:
        self.send(events.TimePassed())
        for node in self.nodes:
            if not node.stopped:
                self.plot(node, thief.TimePassed())

    # ---- the end

    def deliver(self) -> None:
        """All that is under way arrives."""
        while any(node.up or node.down for node in self.nodes) or self.calls:
            for number in range(len(self.nodes)):
                self.up(number)
                self.down(number)
            self.call(0)

    def settle(self) -> None:
        """With everybody well and some patience, whatever is left comes to its end."""
        for number, node in enumerate(self.nodes):
            node.stopped = False
            if node.draining:
                self.kill(number)
        for _ in range(20 + 2 * len(self.asked)):
            self.now += 1.0
            self.tick()
            for number, node in enumerate(self.nodes):
                if not node.session:
                    self.connect(number)
                self.beat(number)
            self.deliver()
            for number, node in enumerate(self.nodes):
                for _ in list(node.running):
                    self.finish(number)
            self.deliver()
        assert not set(self.asked) - set(self.ended), "an action is lost"
        for name, lease in self.ended.items():
            assert lease.rpartition("/")[0] == name or name in self.cancelled
        assert not any(node.backlog.waiting for node in self.nodes)
