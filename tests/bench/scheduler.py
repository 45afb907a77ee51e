"""The scheduling machine alone, and the real coordinator under a thousand workers.

The machine: cycles of submit, grant, finish, keep and forget per second.

1,000 workers of one slot, all busy; so many actions queued before each round, and as many after it,
because each cycle brings one and takes one. Each action has a digest, a platform and a client of
its own. Seconds are CPU seconds of this one thread, and a figure is the best of the rounds: other
programs on the machine are not measured.
Users, invocations, kinds and input roots differ as in a busy farm: shares, nearness and learned
sizes are all at work.
`ratios.makespan_...` are of work stealing, in simulated time (`stealing_parts`).
`ratios.flat` is the speed at 100,000 queued by that at 1,000: near 1 when the cost is flat.
"""

from collections import deque
from hashlib import sha256
from time import process_time

from builder.host import garbage
from builder.schedule import effects, events
from builder.schedule.fleet import WorkerInfo
from builder.schedule.machine import Machine
from builder.schedule.platform import Offer
from builder.schedule.spec import ActionKey, ActionSpec, Client, Outcome
from tests.bench.scheduler_real_parts import run as real
from tests.bench.stealing_parts import run as stealing

WORKERS = 1000
QUEUED = (1_000, 100_000)
CYCLES = 10_000
ROUNDS = 3
LINUX = (("ISA", "x86-64"), ("OSFamily", "linux"), ("Pool", "default"))
PAYLOAD = b"x" * 300  # an Action, a digest and request metadata take about so much
RESULT = Outcome(b"r" * 500, succeeded=True, execution_s=0.5, cpu_s=0.4, peak_memory_bytes=10**8)
USERS, BUILDS, KINDS, ROOTS = 10, 30, 5000, 2000


class Load:
    """A machine under load; `leases` are those that run, the oldest first."""

    def __init__(self, queued: int) -> None:
        self.machine = Machine(pools=[Offer.of("default", LINUX)])
        self.now = 0.0
        self.count = 0
        self.leases: deque[tuple[str, str]] = deque()
        for number in range(WORKERS):
            info = WorkerInfo(f"worker-{number}", 1, LINUX)
            self.machine.handle(events.WorkerConnected(f"s{number}", info), self.now)
        for _ in range(WORKERS + queued):
            self.submit(self.spec())

    def spec(self) -> ActionSpec:
        self.count += 1
        key = ActionKey("", "sha256", sha256(b"%d" % self.count).hexdigest(), 142)
        target, user = f"//some/package:{self.count % KINDS}", f"user-{self.count % USERS}"
        build = f"build-{self.count % BUILDS}"
        client = Client("bazel", build, "", target, "CppCompile", user)
        kind, root = f"CppCompile {target}", f"{self.count % ROOTS:064x}"
        return ActionSpec(key, LINUX, client=client, payload=PAYLOAD, kind=kind, root=root)

    def submit(self, spec: ActionSpec) -> None:
        self.now += 1e-4
        name = f"operations/{spec.key.hash[:32]}"
        self.grants(self.machine.handle(events.ActionSubmitted(name, spec), self.now))

    def grants(self, made: list[effects.Effect]) -> None:
        for effect in made:
            if type(effect) is effects.GrantLease:
                self.leases.append((effect.session, effect.lease))
            elif type(effect) is effects.KeepResult:
                self.grants(self.machine.handle(events.ResultKept(effect.task), self.now))
                self.machine.handle(events.ClientDetached(effect.task), self.now)

    def cycles(self, specs: list[ActionSpec]) -> float:
        """CPU seconds for one cycle each."""
        start = process_time()
        for spec in specs:
            self.submit(spec)
            session, lease = self.leases.popleft()
            self.grants(self.machine.handle(events.LeaseFinished(session, lease, RESULT), self.now))
        return process_time() - start


def measure(queued: int) -> float:
    """Cycles per second, the best round."""
    load = Load(queued)
    garbage.settle()  # as the service does
    best = 0.0
    for _ in range(ROUNDS):
        specs = [load.spec() for _ in range(CYCLES)]
        best = max(best, CYCLES / load.cycles(specs))
    assert load.machine.snapshot().counters.succeeded == ROUNDS * CYCLES
    return best


def run() -> tuple[dict[str, float], dict[str, float]]:
    few, many = (measure(queued) for queued in QUEUED)
    figures = {"cycles_per_s": round(many), "cycles_per_s_1000_queued": round(few)}
    return {**figures, **real()}, {"flat": round(many / few, 2), **stealing()}
