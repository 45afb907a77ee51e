"""The policies that compete in a simulation, each with the pace that it is known for.

A policy keeps state of its own, so each run makes a new one.
"""

from collections.abc import Callable
from dataclasses import replace

from builder.scale import policies
from builder.scale.autoscaler import Bounds
from builder.scale.foresight import holt_winters
from builder.scale.policies import Policy
from builder.scale.seasonal import HoltWinters
from builder.scale.simulate import Report, Simulation
from builder.scale.traces import Arrival
from builder.scale.vendor import Vendor


def _predictive(bounds: Bounds) -> tuple[Policy, Bounds]:
    """Decides on events; retires after a minute, for a launch is a guess that may be wrong."""
    ours = replace(bounds, sample_every_s=2.0, up_cooldown_s=0.0, down_cooldown_s=60.0)
    return policies.predictive(), ours


def _holt_winters(bounds: Bounds) -> tuple[Policy, Bounds]:
    """The same with a forecast, which has seen nothing before the trace."""
    _, ours = _predictive(bounds)
    return holt_winters(HoltWinters(), flow_s=ours.flow_s), ours


def _specification(bounds: Bounds) -> tuple[Policy, Bounds]:
    return policies.every(10.0, policies.specification()), replace(bounds, sample_every_s=10.0)


def _threshold(bounds: Bounds) -> tuple[Policy, Bounds]:
    return policies.every(10.0, policies.threshold()), replace(bounds, sample_every_s=10.0)


def horizontal_pod(bounds: Bounds, target: float = 0.75) -> tuple[Policy, Bounds]:
    """Kubernetes' defaults: a look every 15 s; the policy has the stabilisation in itself."""
    paced = replace(bounds, sample_every_s=15.0, up_cooldown_s=0.0, down_cooldown_s=0.0)
    return policies.every(15.0, policies.horizontal_pod(target)), paced


def _percentile(bounds: Bounds) -> tuple[Policy, Bounds]:
    """The 95th percentile of four hours, a look each minute."""
    paced = replace(bounds, sample_every_s=60.0, up_cooldown_s=0.0)
    return policies.every(60.0, policies.percentile(0.95)), paced


def _static(bounds: Bounds) -> tuple[Policy, Bounds]:
    """A third of the maximum, always: what is bought when nothing scales."""
    return policies.static(max(1, bounds.minimum, bounds.maximum // 3)), bounds


CONTENDERS: dict[str, Callable[[Bounds], tuple[Policy, Bounds]]] = {
    "predictive": _predictive,
    "holt_winters": _holt_winters,
    "specification": _specification,
    "threshold": _threshold,
    "hpa": horizontal_pod,
    "p95": _percentile,
    "static": _static,
}


def compete(name: str, trace: list[Arrival], bounds: Bounds, vendor: Vendor) -> Report:
    """Run one contender through a trace. Raises KeyError for a name that is not there."""
    policy, paced = CONTENDERS[name](bounds)
    return Simulation(paced, policy, vendor).run(trace)
