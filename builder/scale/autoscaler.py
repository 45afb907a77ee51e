"""The autoscaler: keeps a pool at the size that its load wants.

Theory of operation. Every event may change what is wanted, and each is answered at once; the
clock is needed only for cooldowns, retries and samples. A policy turns a view of the load into a
wish. The wish is clamped to [minimum, maximum]. Growing waits for the up-cooldown unless the
wish is urgent; shrinking waits until the largest wish of the down-cooldown is below the size, so
one quiet moment sends nobody away, and takes idle workers only. Below the minimum nothing waits.

Invariant: minimum <= ready + starting + launching <= maximum, after every event, whatever the
provider does: a refused launch stays counted and is asked for again with growing pauses.
"""

from collections import deque
from dataclasses import dataclass
from typing import assert_never

from builder.scale import outlook
from builder.scale.events import (
    Decided,
    Effect,
    Event,
    InstanceBusy,
    InstanceGone,
    InstanceLeaving,
    InstanceReady,
    InstancesFound,
    Launch,
    Launched,
    LaunchRefused,
    LoadObserved,
    Retire,
    SizeHeld,
    TimePassed,
)
from builder.scale.instances import Instances, PendingLaunch, State
from builder.scale.load import Learned, Load, Rate, Series
from builder.scale.policies import Policy, View, Wish

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
LONGEST_REST_S = 900.0  # after what only a person can help with


@dataclass(frozen=True, slots=True)
class Bounds:
    """The pool's configuration. Times in seconds."""

    minimum: int = 2
    maximum: int = 20
    slots: int = 1
    up_cooldown_s: float = 30.0
    down_cooldown_s: float = 120.0
    alpha: float = 0.3
    window: int = 10
    demand_window: int = 240
    sample_every_s: float = 1.0
    flow_s: float = 120.0  # the rate of arrivals is smoothed over about so long
    start_up_guess_s: float = 1.0
    service_guess_s: float = 1.0
    start: int = 0  # the size to begin with, if it is more than the minimum


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The pool as a person wants to see it. Before the first event it is about to have its
    minimum."""

    minimum: int
    maximum: int
    desired: int
    ready: int
    starting: int
    leaving: int
    predicted_load: float
    trend: float
    held: int | None
    decision: str
    cooldown_s: float  # until the pool may grow again without urgency
    next_action: str
    start_up_s: float  # how long a worker takes to come, as far as it is learned
    refused: int = 0  # of those that start, how many the provider would not launch yet


class Autoscaler:
    def __init__(self, bounds: Bounds, policy: Policy, now: float) -> None:
        assert 0 <= bounds.minimum <= bounds.maximum
        self._bounds = bounds
        self._policy = policy
        self._slots = bounds.slots  # a guess, until workers have joined
        self._instances = Instances()
        self._load = Load()
        self._sampled = Load()
        self._next_sample = now
        self._utilisation = Series(bounds.alpha, bounds.window)
        self._demand = Series(bounds.alpha, bounds.demand_window)
        self._arrivals = Rate(bounds.flow_s)
        self._service = Learned(bounds.service_guess_s, alpha=0.001)
        self._start_up = Learned(bounds.start_up_guess_s)
        self._wishes: deque[tuple[float, int]] = deque()  # largest first, newest last
        self._wishes.append((now, max(bounds.start, bounds.minimum)))
        self._may_grow_at = now
        self._pause_s = FIRST_PAUSE_S
        self._held: int | None = None
        self._tokens = 0
        self._accounted_s = 0.0  # by all slots, until the last sample with one that finished
        self._desired = bounds.minimum
        self._decision = "asks the provider which workers there are"
        self._begun = False

    # ---- the machine

    def handle(self, event: Event, now: float) -> list[Effect]:
        """What to do now. The first event (any) fills the pool to its minimum."""
        self._begun = True
        match event:
            case LoadObserved(load, busy, slots):
                self._load = load
                self._slots = slots or self._slots
                for instance, running in (busy or {}).items():
                    self._instances.set_running(instance, running)
            case Launched(token, instances):
                self._launched(token, instances, now)
            case LaunchRefused():
                self._refused(event, now)
            case InstancesFound(instances):
                return self._found(instances, now)
            case SizeHeld(workers):
                self._held = workers
            case TimePassed():
                pass
            case _:
                self._instance(event, now)
        self._sample(now)
        return self._ask_again(now) + self._resize(now)

    def next_deadline(self) -> float:
        """When to come back with TimePassed at the latest."""
        times = [self._next_sample]
        times += [
            launch.again_at
            for launch in self._instances.launches.values()
            if launch.again_at is not None
        ]
        return min(times)

    def check(self) -> None:
        """The invariants, between any two events after the first."""
        total = self._instances.total
        low, high = self._bounds.minimum, self._bounds.maximum
        assert low <= total <= high, f"{low} <= {total} <= {high} does not hold"
        self._instances.check()

    def snapshot(self, now: float) -> Snapshot:
        instances = self._instances
        starting = instances.starting if self._begun else self._bounds.minimum
        return Snapshot(
            minimum=self._bounds.minimum,
            maximum=self._bounds.maximum,
            desired=self._desired,
            ready=instances.ready,
            starting=starting,
            leaving=instances.leaving,
            predicted_load=max(0.0, self._utilisation.smoothed + self._utilisation.trend),
            trend=self._utilisation.trend,
            held=self._held,
            decision=self._decision,
            cooldown_s=max(0.0, self._may_grow_at - now),
            next_action=outlook.next_action(self._outlook(now)),
            start_up_s=self._start_up.value_s,
            refused=instances.refused,
        )

    def _outlook(self, now: float) -> outlook.Outlook:
        instances = self._instances
        retries = [a.again_at - now for a in instances.launches.values() if a.again_at is not None]
        lesser, shrinks_in_s = self._lesser(now)
        return outlook.Outlook(
            total=instances.total,
            starting=instances.starting,
            idle=len(instances.most_idle(instances.total)),
            desired=self._desired,
            grows_in_s=max(0.0, self._may_grow_at - now),
            lesser=lesser,
            shrinks_in_s=shrinks_in_s,
            asks_in_s=max(0.0, min(retries)) if retries else None,
            held=self._held,
        )

    def _lesser(self, now: float) -> tuple[int, float]:
        """The smaller size that comes next if nothing happens, and in how many seconds."""
        if self._held is not None:
            return self._desired, 0.0
        if self._load.queued:
            return self._instances.total, 0.0
        in_s = 0.0
        for at, wish in self._wishes:
            if wish < self._instances.total:
                return wish, max(0.0, in_s)
            in_s = at + self._bounds.down_cooldown_s - now
        return self._instances.total, 0.0

    # ---- what happened

    def _instance(
        self, event: InstanceReady | InstanceBusy | InstanceLeaving | InstanceGone, now: float
    ) -> None:
        known = self._instances
        match event:
            case InstanceReady(instance):
                self._ready(instance, now)
            case InstanceBusy(instance, running):
                known.set_running(instance, running)
            case InstanceLeaving(instance):
                if instance in known:
                    known.put(instance, State.LEAVING, now)
            case InstanceGone(instance):
                known.forget(instance)
            case _:
                assert_never(event)

    def _found(self, instances: tuple[str, ...], now: float) -> list[Effect]:
        """As many as the pool may have; the others are sent away. The size stands for a while."""
        room = max(0, self._bounds.maximum - self._instances.total)
        for instance in instances[:room]:
            self._instances.put(instance, State.STARTING, now)
        self._peak(self._instances.total, now)
        surplus = instances[room:]
        return [Retire(surplus)] if surplus else []

    def _launched(self, token: str, instances: tuple[str, ...], now: float) -> None:
        launch = self._instances.launches.pop(token, None)
        since = launch.since if launch else now
        self._pause_s = FIRST_PAUSE_S
        for instance in instances:
            if instance not in self._instances:
                self._instances.put(instance, State.STARTING, since)

    def _refused(self, event: LaunchRefused, now: float) -> None:
        launch = self._instances.launches.get(event.token)
        if launch is None:
            return
        if event.soon:
            pause_s = min(LONGEST_PAUSE_S, self._pause_s)
        else:
            pause_s = min(LONGEST_REST_S, max(LONGEST_PAUSE_S, self._pause_s))
        self._pause_s = 2 * pause_s
        again = PendingLaunch(event.token, launch.count, launch.since, now + pause_s)
        self._instances.launches[event.token] = again
        workers = f"{launch.count} worker{'' if launch.count == 1 else 's'}"
        self._decision = (
            f"the provider refused {workers} ({event.why}); asks again in {pause_s:.0f} s"
        )

    def _ready(self, instance: str, now: float) -> None:
        """A worker that nobody launched is somebody else's: it serves, but is not counted."""
        known = self._instances.get(instance)
        if known is not None and known.state is State.STARTING:
            self._start_up.add(max(0.0, now - known.since))
            self._instances.put(instance, State.READY, now)

    def _sample(self, now: float) -> None:
        if now < self._next_sample:
            return
        load, before = self._load, self._sampled
        every = self._bounds.sample_every_s
        finished = load.finished - before.finished
        if finished > 0:
            self._service.add(self._unaccounted_s() / finished, finished)
            self._accounted_s = load.service_s + load.running_s
        periods = 1 + int((now - self._next_sample) / every)
        rate = (load.arrived - before.arrived) / (periods * every)
        for _ in range(min(periods, self._bounds.demand_window)):  # late: the same again
            self._arrivals.add(rate, every)
            self._utilisation.add(self._present_utilisation())
            self._demand.add(float(load.running + load.queued))
        self._sampled = load
        self._next_sample = now + every

    def _unaccounted_s(self) -> float:
        """That slots were held since the last sample with an action that finished.

        By Little's law that is what actions hold, in the mean, and so for any that finished since
        then; their own times are those of the short ones while the load grows. A run that is lost
        takes its seconds with it.
        """
        return max(0.0, self._load.service_s + self._load.running_s - self._accounted_s)

    def _present_utilisation(self) -> float:
        slots = self._instances.ready * self._slots
        demand = self._load.running + self._load.queued
        return demand / slots if slots else float(min(1, demand))

    # ---- what to do

    def _view(self, now: float) -> View:
        return View(
            now=now,
            workers=self._instances.total,
            ready=self._instances.ready,
            slots=self._slots,
            queued=self._load.queued,
            running=self._load.running,
            utilisation=self._present_utilisation(),
            smoothed=self._utilisation.smoothed,
            trend=self._utilisation.trend,
            samples=self._demand.samples,
            arrival_rate=self._arrivals.value,
            service_s=self._service.with_pending(self._unaccounted_s()),
            start_up_s=self._start_up.value_s,
            arrived=self._load.arrived,
        )

    def _wish(self, now: float) -> Wish:
        if self._held is not None:
            return Wish(self._held, f"an operator holds the pool at {self._held}", urgent=True)
        return self._policy(self._view(now))

    def _resize(self, now: float) -> list[Effect]:
        wish = self._wish(now)
        bounds, total = self._bounds, self._instances.total
        wanted = max(bounds.minimum, min(bounds.maximum, wish.workers))
        peak = self._peak(wanted, now)
        self._desired = wanted
        least = bounds.minimum if self._tokens else max(bounds.minimum, bounds.start)
        if total < least:
            return self._grow(max(wanted, least) - total, wish.why, now)
        if wanted > total:
            if wish.urgent or now >= self._may_grow_at:
                return self._grow(wanted - total, wish.why, now)
            return []
        if self._held is None and self._load.queued:
            return []  # who is idle is about to get it
        target = wanted if self._held is not None else peak
        return self._shrink(total - target, wish.why) if target < total else []

    def _peak(self, wanted: int, now: float) -> int:
        """The largest wish within the down-cooldown; a queue in descending order keeps it."""
        wishes = self._wishes
        while wishes and wishes[-1][1] <= wanted:
            wishes.pop()
        wishes.append((now, wanted))
        while wishes[0][0] < now - self._bounds.down_cooldown_s:
            wishes.popleft()
        return wishes[0][1]

    def _grow(self, count: int, why: str, now: float) -> list[Effect]:
        self._tokens += 1
        token = f"launch-{self._tokens}"
        self._instances.launches[token] = PendingLaunch(token, count, now)
        self._may_grow_at = now + self._bounds.up_cooldown_s
        return [
            self._decide(f"launches {count}: {why}"),
            Launch(token, count, self._load.queued > 0),
        ]

    def _shrink(self, count: int, why: str) -> list[Effect]:
        leaving = tuple(self._instances.most_idle(count))
        if not leaving:
            return []
        for instance in leaving:
            self._instances.put(instance, State.LEAVING, self._next_sample)
        return [self._decide(f"retires {len(leaving)}: {why}"), Retire(leaving)]

    def _ask_again(self, now: float) -> list[Effect]:
        again: list[Effect] = []
        for token, launch in list(self._instances.launches.items()):
            if launch.again_at is not None and launch.again_at <= now:
                self._instances.launches[token] = PendingLaunch(token, launch.count, launch.since)
                again.append(Launch(token, launch.count, self._load.queued > 0))
        return again

    def _decide(self, sentence: str) -> Decided:
        self._decision = sentence
        return Decided(sentence)
