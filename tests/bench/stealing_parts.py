"""How long a build takes with work stealing and without: the real machines in simulated time.

Workers with one slot each, and a coordinator at some distance: a message takes LATENCY_S one way,
the coordinator handles one event after another and each takes it HANDLE_S, and a call from worker
to worker is a round trip. Nothing else costs anything, so what differs is the waiting.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from builder.schedule import effects, events
from builder.schedule.fleet import WorkerInfo
from builder.schedule.machine import Machine
from builder.schedule.operation import OperationView
from builder.schedule.platform import Offer
from builder.schedule.policy import Policy
from builder.schedule.spec import ActionKey, ActionSpec, Outcome
from builder.worker import backlog, thief
from builder.worker.backlog import Backlog
from builder.worker.thief import Peer, Terms, Thief

LINUX = (("OSFamily", "linux"),)
LATENCY_S = 0.001  # one way, in one data centre
FAR_S = 0.02  # to a coordinator elsewhere
HANDLE_S = 0.0002  # of the coordinator's one processor for one event, as its real figures say
SHORT_S, LONG_S = 0.05, 1.0  # the mean of the actions
HEARTBEAT_S = 5.0
SEEDS = 3
TERMS = Terms()


@dataclass(eq=False)
class Node:
    name: str
    chance: random.Random
    backlog: Backlog
    thief: Thief = field(init=False)

    def __post_init__(self) -> None:
        self.thief = Thief(TERMS, self.chance.random)


class Simulation:
    """One build; `seconds` are those of its actions, all asked for at once. A backlog without
    thieves is what the product does not offer: it shows what the thieves are good for."""

    def __init__(
        self, workers: int, seconds: list[float], latency_s: float, *, backlog: int, thieves: bool
    ) -> None:
        self.machine = Machine(Policy(backlog=backlog), [Offer.of("default", LINUX)])
        self.latency_s = latency_s
        self.size = backlog
        self.thieves = thieves
        self.seconds = {f"op{number}": one for number, one in enumerate(seconds)}
        self.now = self.busy_until = self.finished_at = 0.0
        self.agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.tickets = count()
        self.unfinished = len(seconds)
        self.nodes = {
            name: Node(name, random.Random(number), Backlog(1))
            for number, name in enumerate(f"w{number}" for number in range(workers))
        }

    def run(self) -> float:
        """The makespan in seconds."""
        for name in self.nodes:
            info = WorkerInfo(name, 1, LINUX, backlog=self.size, peer="127.0.0.1:1")
            self.perform(self.machine.handle(events.WorkerConnected(name, info), 0.0))
            self.at(HEARTBEAT_S * random.Random(name).random(), lambda n=name: self.beat(n))
        for name in self.seconds:
            spec = ActionSpec(ActionKey("", "sha256", name, 1), LINUX)
            self.tell(events.ActionSubmitted(name, spec))
        while self.unfinished:
            self.now, _, do = heapq.heappop(self.agenda)
            do()
        return self.finished_at

    def at(self, when: float, do: Callable[[], None]) -> None:
        heapq.heappush(self.agenda, (when, next(self.tickets), do))

    # ---- the coordinator

    def tell(self, event: events.Event) -> None:
        """From a worker or a client: it is under way, and then waits for the coordinator's turn."""
        self.at(self.now + self.latency_s, lambda: self.queue(event))

    def queue(self, event: events.Event) -> None:
        self.busy_until = max(self.busy_until, self.now) + HANDLE_S
        self.at(self.busy_until, lambda: self.perform(self.machine.handle(event, self.now)))

    def perform(self, made: list[effects.Effect]) -> None:
        for effect in made:
            match effect:
                case effects.KeepResult(task):
                    self.perform(self.machine.handle(events.ResultKept(task), self.now))
                case OperationView() as view if view.ending is not None:
                    self.unfinished -= 1
                    self.finished_at = self.now
                case effects.GrantLease() | effects.IntroducePeers() | effects.RecallLease():
                    one = effect
                    self.at(self.now + self.latency_s, lambda one=one: self.hear(one))
                case _:
                    pass

    # ---- workers

    def hear(self, effect: effects.Effect) -> None:
        match effect:
            case effects.GrantLease(name, lease, order_s=order_s):
                node = self.nodes[name]
                self.obey(node, node.backlog.handle(backlog.Granted(lease, order_s), self.now))
            case effects.IntroducePeers(name, victims):
                peers = tuple(Peer(*one) for one in victims)
                self.plot(self.nodes[name], thief.Introduced(peers))
            case effects.RecallLease(name, lease):
                node = self.nodes[name]
                self.obey(node, node.backlog.handle(backlog.Recalled(lease), self.now))

    def obey(self, node: Node, made: list[backlog.Effect]) -> None:
        for effect in made:
            match effect:
                case backlog.Start(lease):
                    self.tell(events.LeaseProgressed(node.name, lease, "fetches its inputs"))
                    took_s = self.seconds[lease.rpartition("/")[0]]
                    self.at(self.now + took_s, lambda lease=lease: self.finish(node, lease))
                case backlog.Yield(lease, taker):
                    self.tell(events.LeaseYielded(node.name, lease, taker))
        self.plot(node, thief.RoomChanged(0 if node.backlog.waiting else node.backlog.free))

    def finish(self, node: Node, lease: str) -> None:
        self.tell(events.LeaseFinished(node.name, lease, Outcome(b"", succeeded=True)))
        self.obey(node, node.backlog.handle(backlog.Ended(lease), self.now))

    def plot(self, node: Node, event: thief.Event) -> None:
        if not self.thieves:
            return
        for effect in node.thief.handle(event, self.now):
            match effect:
                case thief.Steal():
                    asked = effect
                    self.at(self.now + self.latency_s, lambda asked=asked: self.asked(node, asked))
                case thief.AskForPeers():
                    self.say_beat(node)
        deadline = node.thief.next_deadline()
        if deadline is not None and deadline > self.now:
            self.at(deadline, lambda: self.plot(node, thief.TimePassed()))

    def asked(self, node: Node, steal: thief.Steal) -> None:
        victim = self.nodes[steal.victim.name]
        wanted = backlog.Asked(node.name, steal.leases, steal.most)
        made = victim.backlog.handle(wanted, self.now)
        self.obey(victim, made)
        given = tuple(effect.lease for effect in made)
        answer = thief.Answered(victim.name, given)
        self.at(self.now + self.latency_s, lambda: self.plot(node, answer))

    def beat(self, name: str) -> None:
        self.say_beat(self.nodes[name])
        self.at(self.now + HEARTBEAT_S, lambda: self.beat(name))

    def say_beat(self, node: Node) -> None:
        waiting = tuple(node.backlog.waiting)
        running = (*node.backlog.snapshot().running, *waiting)
        self.tell(events.HeartbeatReceived(node.name, running, waiting=waiting))


def uneven(number: int, mean_s: float, seed: int = 7) -> list[float]:
    """Most actions are short and a few are long: log-normal, with a deviation of 1."""
    chance = random.Random(seed)
    drawn = [chance.lognormvariate(0.0, 1.0) for _ in range(number)]
    factor = mean_s * number / sum(drawn)
    return [one * factor for one in drawn]


def makespan(workers: int, mean_s: float, latency_s: float, backlog: int, thieves: bool) -> float:
    """Summed over a few builds of 40 actions for each worker."""
    return sum(
        Simulation(
            workers,
            uneven(40 * workers, mean_s, seed),
            latency_s,
            backlog=backlog,
            thieves=thieves,
        ).run()
        for seed in range(SEEDS)
    )


def run() -> dict[str, float]:
    """Makespans with work stealing as shares of those without it: below 1 it helps."""
    found = {}
    cases = {"": (SHORT_S, LATENCY_S), "far_": (SHORT_S, FAR_S), "long_": (LONG_S, LATENCY_S)}
    for name, (mean_s, latency_s) in cases.items():
        for workers in (10, 50):
            off = makespan(workers, mean_s, latency_s, 0, thieves=False)
            on = makespan(workers, mean_s, latency_s, TERMS.backlog, thieves=True)
            found[f"makespan_stealing_vs_off_{name}{workers}"] = round(on / off, 3)
            if name == "":
                alone = makespan(workers, mean_s, latency_s, TERMS.backlog, thieves=False)
                found[f"makespan_backlog_alone_vs_off_{workers}"] = round(alone / off, 3)
    return found
