"""A policy by its name in the configuration."""

from collections.abc import Callable
from dataclasses import dataclass, field

from builder.scale import policies
from builder.scale.foresight import holt_winters
from builder.scale.policies import Policy
from builder.scale.seasonal import HoltWinters


@dataclass(frozen=True, slots=True)
class Wanted:
    """What policies can be told: thresholds as fractions of all slots, sizes in workers.

    `wait_s` is how long an action may wait beyond the start of a worker that serves it; `forecast`
    is what `holt_winters` learns.
    """

    up: float = 0.75
    down: float = 0.25
    size: int = 2
    wait_s: float = 10.0
    forecast: HoltWinters = field(default_factory=HoltWinters)


CHOICES: dict[str, Callable[[Wanted], Policy]] = {
    "predictive": lambda wanted: policies.predictive(wait_s=wanted.wait_s),
    "holt_winters": lambda wanted: holt_winters(wanted.forecast, wait_s=wanted.wait_s),
    "specification": lambda wanted: policies.every(
        10.0, policies.specification(wanted.up, wanted.down)
    ),
    "threshold": lambda wanted: policies.every(10.0, policies.threshold(wanted.up, wanted.down)),
    "hpa": lambda wanted: policies.every(15.0, policies.horizontal_pod(wanted.up)),
    "p95": lambda _: policies.every(60.0, policies.percentile(0.95)),
    "static": lambda wanted: policies.static(wanted.size),
}


def choose(name: str, wanted: Wanted) -> Policy:
    """A new policy of this name; policies keep state, so each pool has one of its own."""
    return CHOICES[name](wanted)
