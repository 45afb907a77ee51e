"""A policy by its name in the configuration."""

from collections.abc import Callable
from dataclasses import dataclass

from builder.scale import policies
from builder.scale.policies import Policy


@dataclass(frozen=True, slots=True)
class Wanted:
    """What policies can be told: thresholds as fractions of all slots, sizes in workers.

    `wait_s` is how long an action may wait beyond the start of a worker that serves it.
    """

    up: float = 0.75
    down: float = 0.25
    size: int = 2
    wait_s: float = 10.0


CHOICES: dict[str, Callable[[Wanted], Policy]] = {
    "predictive": lambda wanted: policies.predictive(wait_s=wanted.wait_s),
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
