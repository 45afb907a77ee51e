"""A trace through the real autoscaler, without workers or waiting: what would it have cost?

The pool is simulated exactly: launches take their time, actions wait in order of arrival for the
first free slot, workers that are told to leave finish what they run, and so does one that is taken
back, as long as its notice lets it: what is left then runs again. The autoscaler is the very
machine of the service.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import heappop, heappush

from builder.scale.autoscaler import Autoscaler, Bounds
from builder.scale.events import (
    Effect,
    Event,
    InstanceBusy,
    InstanceGone,
    InstanceLeaving,
    InstanceReady,
    Launch,
    Launched,
    LaunchRefused,
    LoadObserved,
    Retire,
    TimePassed,
)
from builder.scale.load import Load
from builder.scale.policies import Policy
from builder.scale.traces import Arrival
from builder.scale.vendor import NOTICE_S, Machine, Vendor

ARRIVE, FINISH, READY, NOTICE, LOST, TICK = range(6)
COURSE_POINTS = 240


@dataclass(frozen=True, slots=True)
class Report:
    """What a policy cost and gave. Waits are seconds until the run began that ended well."""

    worker_hours: float
    cost: float
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    utilisation: float
    launches: int
    interruptions: int
    most_workers: int
    course: tuple[tuple[float, int, int], ...]  # (second, workers paid for, actions there)


@dataclass(slots=True)
class Worker:
    machine: Machine
    since: float
    ready: bool = False
    leaving: bool = False
    runs: int = 0  # slots taken


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """An action on a worker; each is one of its own, however alike."""

    arrival: Arrival
    worker: str
    since: float


What = Arrival | Run | str | None


class Simulation:
    def __init__(self, bounds: Bounds, policy: Policy, vendor: Vendor) -> None:
        self._machine = Autoscaler(bounds, policy, 0.0)
        self._vendor = vendor
        self._calendar: list[tuple[float, int, int, What]] = []
        self._order = 0
        self._tick_at = float("inf")
        self._queue: deque[Arrival] = deque()
        self._workers: dict[str, Worker] = {}
        self._running: dict[Run, None] = {}
        self._since_sum = 0.0  # of those that run, when they began
        self._slots: int | None = None  # the mean of those that are ready
        self._load = Load()
        self._paid_s = self._paid_slots_s = self._busy_s = self._cost = 0.0
        self._waits: list[float] = []
        self._launches = self._interruptions = self._most = self._names = 0
        self._course: list[tuple[float, int, int]] = []
        self._course_step = 0.0

    def run(self, trace: Iterable[Arrival]) -> Report:
        """Until the trace is over and its last action finished."""
        pending = 0
        for arrival in trace:
            self._put(arrival.at_s, ARRIVE, arrival)
            pending += 1
            self._course_step = max(self._course_step, arrival.at_s / COURSE_POINTS)
        now = 0.0
        self._tell(TimePassed(), now)
        while len(self._waits) < pending:
            now, _, kind, what = heappop(self._calendar)
            self._happen(kind, what, now)
            if not self._course or now >= self._course[-1][0] + self._course_step:
                there = len(self._queue) + self._load.running
                self._course.append((now, len(self._workers), there))
        for name in list(self._workers):
            self._pay(self._workers.pop(name), now)
        return self._report()

    # ---- what happens

    def _happen(self, kind: int, what: What, now: float) -> None:
        match what:
            case Arrival():
                self._queue.append(what)
                self._load = replace(self._load, arrived=self._load.arrived + 1)
            case Run():
                if what in self._running:
                    self._finish(what, now)
            case str() if what in self._workers:
                self._worker(kind, what, now)
            case _:
                if kind == TICK:
                    self._tick_at = float("inf")
                self._tell(TimePassed(), now)
                return
        self._assign(now)
        running_s = self._load.running * now - self._since_sum
        self._load = replace(self._load, queued=len(self._queue), running_s=running_s)
        self._tell(LoadObserved(self._load, slots=self._slots), now)

    def _count_slots(self) -> None:
        ready = [one.machine.slots for one in self._workers.values() if one.ready]
        self._slots = max(1, round(sum(ready) / len(ready))) if ready else None

    def _worker(self, kind: int, name: str, now: float) -> None:
        worker = self._workers[name]
        if kind == READY and not worker.leaving:
            worker.ready = True
            self._count_slots()
            self._vendor.joined(worker.machine)
            self._tell(InstanceReady(name), now)
        elif kind == NOTICE:
            self._interruptions += 1
            self._put(now + NOTICE_S, LOST, name)
            self._tell(InstanceLeaving(name), now)
            self._leave(name, now)
        elif kind == LOST:
            for run in [run for run in self._running if run.worker == name]:
                self._queue.appendleft(run.arrival)
                self._stop(run)
            self._end(name, now)

    def _finish(self, run: Run, now: float) -> None:
        self._stop(run)
        load, took_s = self._load, now - run.since
        self._load = replace(load, finished=load.finished + 1, service_s=load.service_s + took_s)
        self._busy_s += took_s
        self._waits.append(run.since - run.arrival.at_s)
        worker = self._workers[run.worker]
        if worker.leaving and not worker.runs:
            self._end(run.worker, now)
        else:
            self._tell(InstanceBusy(run.worker, worker.runs), now)

    def _stop(self, run: Run) -> None:
        del self._running[run]
        self._since_sum -= run.since
        self._workers[run.worker].runs -= 1
        self._load = replace(self._load, running=self._load.running - 1)

    def _assign(self, now: float) -> None:
        if not self._queue:
            return
        for name, worker in list(self._workers.items()):
            if not worker.ready or worker.leaving or worker.runs >= worker.machine.slots:
                continue
            while self._queue and worker.runs < worker.machine.slots:
                self._start(Run(self._queue.popleft(), name, now), worker)
            self._tell(InstanceBusy(name, worker.runs), now)
            if not self._queue:
                return

    def _start(self, run: Run, worker: Worker) -> None:
        worker.runs += 1
        self._running[run] = None
        self._since_sum += run.since
        self._load = replace(self._load, running=self._load.running + 1)
        self._put(run.since + run.arrival.duration_s, FINISH, run)

    # ---- what the machine wants

    def _tell(self, event: Event, now: float) -> None:
        for effect in self._machine.handle(event, now):
            self._perform(effect, now)
        deadline = max(now, self._machine.next_deadline())
        if deadline < self._tick_at:
            self._tick_at = deadline
            self._put(deadline, TICK, None)

    def _perform(self, effect: Effect, now: float) -> None:
        if isinstance(effect, Launch):
            self._launch(effect, now)
        elif isinstance(effect, Retire):
            for name in effect.instances:
                self._leave(name, now)

    def _launch(self, wanted: Launch, now: float) -> None:
        machines = self._vendor.launch(wanted.count, now, urgent=wanted.urgent)
        if not machines:
            self._tell(LaunchRefused(wanted.token, "there are no more machines"), now)
            return
        names = tuple(f"w{self._names + n}" for n in range(len(machines)))
        self._names += len(names)
        self._launches += len(names)
        for name, machine in zip(names, machines, strict=True):
            self._workers[name] = Worker(machine, now)
            self._put(machine.ready_at, READY, name)
            if machine.noticed_at < float("inf"):
                self._put(machine.noticed_at, NOTICE, name)
        self._most = max(self._most, len(self._workers))
        self._tell(Launched(wanted.token, names), now)

    def _leave(self, name: str, now: float) -> None:
        worker = self._workers[name]
        worker.leaving = True
        if not worker.runs:
            self._end(name, now)

    def _end(self, name: str, now: float) -> None:
        worker = self._workers.pop(name)
        self._vendor.ended(worker.machine, now)
        self._count_slots()
        self._pay(worker, now)
        self._tell(InstanceGone(name), now)

    def _pay(self, worker: Worker, now: float) -> None:
        paid_s = now - worker.since
        self._paid_s += paid_s
        self._paid_slots_s += paid_s * worker.machine.slots
        self._cost += paid_s / 3600 * worker.machine.hour

    def _put(self, at: float, kind: int, what: What) -> None:
        self._order += 1
        heappush(self._calendar, (at, self._order, kind, what))

    def _report(self) -> Report:
        waits = sorted(self._waits)

        def at(part: float) -> float:
            return waits[min(len(waits) - 1, int(part * len(waits)))] if waits else 0.0

        return Report(
            worker_hours=self._paid_s / 3600,
            cost=self._cost,
            wait_p50_s=at(0.5),
            wait_p95_s=at(0.95),
            wait_p99_s=at(0.99),
            utilisation=self._busy_s / self._paid_slots_s if self._paid_slots_s else 0.0,
            launches=self._launches,
            interruptions=self._interruptions,
            most_workers=self._most,
            course=tuple(self._course),
        )
