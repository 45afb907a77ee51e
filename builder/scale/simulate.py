"""A trace through the real autoscaler, without workers or waiting: what would it have cost?

The pool is simulated exactly: launches take `start_up_s`, actions wait in order of arrival for
the first free slot, workers that are told to leave finish what they run. The autoscaler is the
very machine of the service.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush

from builder.scale.autoscaler import Autoscaler, Bounds
from builder.scale.events import (
    Effect,
    Event,
    InstanceBusy,
    InstanceGone,
    InstanceReady,
    Launch,
    Launched,
    LoadObserved,
    Retire,
    TimePassed,
)
from builder.scale.load import Load
from builder.scale.policies import Policy
from builder.scale.traces import Arrival

ARRIVE, FINISH, READY, TICK = range(4)
COURSE_POINTS = 240


@dataclass(frozen=True, slots=True)
class Report:
    """What a policy cost and gave. Waits are seconds in the queue."""

    worker_hours: float
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    utilisation: float
    launches: int
    most_workers: int
    course: tuple[tuple[float, int, int], ...]  # (second, workers paid for, actions there)


class Simulation:
    def __init__(self, bounds: Bounds, policy: Policy, start_up_s: float) -> None:
        self._machine = Autoscaler(bounds, policy, 0.0)
        self._slots = bounds.slots
        self._start_up_s = start_up_s
        self._calendar: list[tuple[float, int, int, str | Arrival | None]] = []
        self._order = 0
        self._tick_at = float("inf")
        self._queue: deque[Arrival] = deque()
        self._running: dict[str, int] = {}  # ready workers: slots taken
        self._leaving: set[str] = set()
        self._born: dict[str, float] = {}
        self._load = Load()
        self._paid_s = self._busy_s = 0.0
        self._waits: list[float] = []
        self._launches = self._most = self._names = 0
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
        while pending:
            now, _, kind, what = heappop(self._calendar)
            if kind == FINISH:
                pending -= 1
            self._happen(kind, what, now)
            if not self._course or now >= self._course[-1][0] + self._course_step:
                there = len(self._queue) + self._load.running
                self._course.append((now, len(self._born), there))
        for worker in list(self._born):
            self._paid_s += now - self._born.pop(worker)
        return self._report()

    def _happen(self, kind: int, what: str | Arrival | None, now: float) -> None:
        load = self._load
        if isinstance(what, Arrival):
            self._queue.append(what)
            self._load = Load(
                len(self._queue), load.running, load.arrived + 1, load.finished, load.service_s
            )
        elif kind == FINISH and what is not None:
            self._finish(what, now)
        elif kind == READY and what is not None:
            if what not in self._leaving:
                self._running[what] = 0
                self._tell(InstanceReady(what), now)
        else:
            self._tick_at = float("inf")
            self._tell(TimePassed(), now)
            return
        self._assign(now)
        self._tell(LoadObserved(self._load), now)

    def _finish(self, worker: str, now: float) -> None:
        load = self._load
        running = self._running[worker] = self._running[worker] - 1
        self._load = Load(
            load.queued, load.running - 1, load.arrived, load.finished + 1, self._busy_s
        )
        if worker in self._leaving and not running:
            self._end(worker, now)
        else:
            self._tell(InstanceBusy(worker, running), now)

    def _assign(self, now: float) -> None:
        free = (w for w, n in self._running.items() if n < self._slots and w not in self._leaving)
        while self._queue and (worker := next(free, None)) is not None:
            while self._queue and self._running[worker] < self._slots:
                arrival = self._queue.popleft()
                self._running[worker] += 1
                self._waits.append(now - arrival.at_s)
                self._busy_s += arrival.duration_s
                self._put(now + arrival.duration_s, FINISH, worker)
                load = self._load
                self._load = Load(
                    len(self._queue), load.running + 1, load.arrived, load.finished, load.service_s
                )
            self._tell(InstanceBusy(worker, self._running[worker]), now)

    def _tell(self, event: Event, now: float) -> None:
        for effect in self._machine.handle(event, now):
            self._perform(effect, now)
        deadline = max(now, self._machine.next_deadline())
        if deadline < self._tick_at:
            self._tick_at = deadline
            self._put(deadline, TICK, None)

    def _perform(self, effect: Effect, now: float) -> None:
        if isinstance(effect, Launch):
            self._launches += effect.count
            names = tuple(f"w{self._names + n}" for n in range(effect.count))
            self._names += effect.count
            for name in names:
                self._born[name] = now
                self._put(now + self._start_up_s, READY, name)
            self._most = max(self._most, len(self._born))
            self._tell(Launched(effect.token, names), now)
        elif isinstance(effect, Retire):
            for worker in effect.instances:
                self._leaving.add(worker)
                if not self._running.get(worker):
                    self._end(worker, now)

    def _end(self, worker: str, now: float) -> None:
        self._running.pop(worker, None)
        self._leaving.discard(worker)
        self._paid_s += now - self._born.pop(worker)
        self._tell(InstanceGone(worker), now)

    def _put(self, at: float, kind: int, what: str | Arrival | None) -> None:
        self._order += 1
        heappush(self._calendar, (at, self._order, kind, what))

    def _report(self) -> Report:
        waits = sorted(self._waits)

        def at(part: float) -> float:
            return waits[min(len(waits) - 1, int(part * len(waits)))] if waits else 0.0

        paid = self._paid_s
        return Report(
            worker_hours=paid / 3600,
            wait_p50_s=at(0.5),
            wait_p95_s=at(0.95),
            wait_p99_s=at(0.99),
            utilisation=self._busy_s / (paid * self._slots) if paid else 0.0,
            launches=self._launches,
            most_workers=self._most,
            course=tuple(self._course),
        )
