"""How many workers a load wants: one function each, from a view to a wish with its reason.

A wish is not yet a decision: the autoscaler clamps it to the pool's bounds, waits out cooldowns
and counts what is already starting.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, sqrt


@dataclass(frozen=True, slots=True)
class View:
    """What a policy may look at. Utilisations are fractions of the ready slots."""

    now: float
    workers: int  # ready and starting
    ready: int
    slots: int  # per worker
    queued: int
    running: int
    utilisation: float  # (running + queued) / ready slots, this moment
    smoothed: float  # the same, smoothed
    trend: float  # of the same, per sample
    samples: Sequence[float]  # running + queued at the last samples, the newest last
    arrival_rate: float  # actions per second, smoothed
    service_s: float  # an action holds its slot so long, learned
    start_up_s: float  # from launch to ready, learned
    arrived: int = 0  # actions, a total that only grows


@dataclass(frozen=True, slots=True)
class Wish:
    workers: int
    why: str
    urgent: bool = False  # somebody waits and nothing on its way will serve them: no cooldown


Policy = Callable[[View], Wish]
RARE = 1 / 300  # actions per second
LEAST_LIMIT = 4  # pods that the horizontal pod autoscaler may always grow to


def specification(up: float = 0.75, down: float = 0.25) -> Policy:
    """Smoothed load plus its trend against two thresholds; the pool grows or shrinks by a factor.

    The factor never turns negative: a rising trend below the threshold asks for nothing.
    """

    def wish(view: View) -> Wish:
        predicted = max(0.0, view.smoothed + view.trend)
        text = f"predicted load {predicted:.0%} (trend {view.trend:+.2f})"
        if predicted > up:
            factor = max(0.0, (predicted - up) / up)
            grown = max(view.workers + 1, ceil(view.workers * (1 + factor)))
            return Wish(grown, f"{text} is above {up:.0%}")
        if predicted < down and view.trend <= 0:
            factor = min(1.0, (down - predicted) / down)
            return Wish(floor(view.workers * (1 - factor / 2)), f"{text} is below {down:.0%}")
        return Wish(view.workers, f"{text} is within {down:.0%} and {up:.0%}")

    return wish


def threshold(up: float = 0.75, down: float = 0.25, step: float = 0.5) -> Policy:
    """A plain rule: half as many again above one threshold, a quarter less below the other."""

    def wish(view: View) -> Wish:
        text = f"load {view.utilisation:.0%}"
        if view.utilisation > up or (view.queued and not view.workers):
            grown = view.workers + max(1, ceil(view.workers * step))
            return Wish(grown, f"{text} is above {up:.0%}")
        if view.utilisation < down:
            fewer = view.workers - max(1, floor(view.workers * step / 2))
            return Wish(fewer, f"{text} is below {down:.0%}")
        return Wish(view.workers, f"{text} is within {down:.0%} and {up:.0%}")

    return wish


def horizontal_pod(target: float = 0.75, tolerance: float = 0.1, stable_s: float = 300.0) -> Policy:
    """The Kubernetes HorizontalPodAutoscaler on running and queued actions for each pod.

    `ceil(metric / target)`, nothing within the tolerance of what all pods (ready or not) would
    serve; never below the largest recommendation of the stabilisation window, never above twice
    the present pods or four. It cannot start from zero by itself. Source: Kubernetes 1.32,
    pkg/controller/podautoscaler: GetExternalPerPodMetricReplicas, stabilizeRecommendation,
    calculateScaleUpLimit.
    """
    recommended: deque[tuple[float, int]] = deque()

    def wish(view: View) -> Wish:
        demand, pods = view.running + view.queued, max(1, view.workers)
        load = demand / (pods * view.slots)
        steady = abs(load / target - 1) <= tolerance
        wanted = pods if steady else ceil(demand / (target * view.slots))
        while recommended and recommended[0][0] < view.now - stable_s:
            recommended.popleft()
        recommended.append((view.now, wanted))
        stable = max(pods for _, pods in recommended)
        text = f"load {load:.0%} against the target {target:.0%}"
        if steady:
            text += " is within its tolerance"
        return Wish(max(1, min(stable, max(2 * pods, LEAST_LIMIT))), text)

    return wish


def every(period_s: float, policy: Policy) -> Policy:
    """The policy asked at most that often, as one that polls; in between its last wish stands."""
    last: list[tuple[float, Wish]] = []

    def wish(view: View) -> Wish:
        if not last or view.now >= last[0][0] + period_s:
            last[:] = [(view.now, policy(view))]
        return last[0][1]

    return wish


def percentile(of: float = 0.95) -> Policy:
    """As many as served the given part of the window's samples."""

    def wish(view: View) -> Wish:
        if not view.samples:
            return Wish(view.workers, "no samples yet")
        ordered = sorted(view.samples)
        wanted = ordered[min(len(ordered) - 1, int(of * len(ordered)))]
        return Wish(ceil(wanted / view.slots), f"p{of * 100:.0f} of the window is {wanted:.0f}")

    return wish


def static(workers: int) -> Policy:
    """Always the same."""

    def wish(_: View) -> Wish:
        return Wish(workers, f"the pool is fixed at {workers}")

    return wish


def predictive(quality: float = 1.95, wait_s: float = 10.0) -> Policy:
    """Square-root staffing for what comes, and the queue for what is there.

    What comes offers a load of `m = arrival rate * service time` (Little's law); `m + quality *
    sqrt(m)` slots make nearly nobody wait (Halfin and Whitt, 1981): relatively fewer spare slots
    the larger the pool. What waits needs as many more as drain it within
    `wait_s` of the moment when a worker launched now is ready; what the pool drains by itself until
    then needs none, for a launch could not help it. What comes more rarely than once in five
    minutes keeps no worker.
    """

    def wish(view: View) -> Wish:
        slots = max(1, view.slots)
        offered = view.arrival_rate * view.service_s
        flow = offered + quality * sqrt(offered)
        if view.arrival_rate < RARE and not view.running:
            flow = 0.0
        wanted = ceil(max(flow, _for_the_queue(view, slots, wait_s)) / slots)
        if view.queued and not view.workers:
            wanted = max(1, wanted)
        why = (
            f"{view.arrival_rate:.1f} actions/s of {view.service_s:.1f} s, "
            f"{view.running} running, {view.queued} waiting"
        )
        return Wish(wanted, why, urgent=bool(view.queued) and wanted > view.workers)

    return wish


def _for_the_queue(view: View, slots: int, wait_s: float) -> float:
    """Slots that a queue wants; 0 when the workers that there are will have drained it."""
    capacity = view.workers * slots
    half_done_s = view.running * view.service_s / 2
    left_s = view.queued * view.service_s - max(0.0, capacity * view.start_up_s - half_done_s)
    if left_s <= 0:
        return 0.0
    held = view.running + min(view.queued, max(0, capacity - view.running))
    return held + left_s / max(wait_s, view.service_s)
