"""Policies against each other on generated traces: worker-hours, and waits no worse.

`predictive` stands for us; on the trace whose bursts come at the same time each night, its sibling
that learns such times. The HPA aims at a load of 75 %; on `bursty` and `daily` it is also tuned by
hindsight, to the highest of some targets at which its p95 wait is no longer than ours.
"""

import random

from builder.scale.autoscaler import Bounds
from builder.scale.contenders import compete, horizontal_pod
from builder.scale.simulate import Report, Simulation
from builder.scale.traces import SHAPES, Arrival
from builder.scale.vendor import alike

START_UP_S = 40.0
RIVALS = ("hpa", "threshold")
OURS = {"nightly": "holt_winters"}
TUNED = ("bursty", "daily")
TARGETS = (0.95, 0.85, 0.65, 0.5)  # the cheapest first
BOUNDS = Bounds(1, 60, 2, start_up_guess_s=START_UP_S, service_guess_s=10.0)


def run() -> tuple[dict[str, float], dict[str, float]]:
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for name, shape in SHAPES.items():
        trace = shape.trace(random.Random(1))
        ours = compete(OURS.get(name, "predictive"), trace, BOUNDS, alike(BOUNDS.slots, START_UP_S))
        figures |= _figures(ours, name)
        theirs = {
            rival: compete(rival, trace, BOUNDS, alike(BOUNDS.slots, START_UP_S))
            for rival in RIVALS
        }
        if name in TUNED:
            theirs["tuned_hpa"] = _tuned(trace, ours.wait_p95_s)
        for rival, report in theirs.items():
            hours = ours.worker_hours / report.worker_hours
            ratios[f"worker_hours_vs_{rival}_{name}"] = round(hours, 3)
            figures |= _figures(report, f"{name}_{rival}")
            print(
                f"{name:8} {hours:.2f} of the worker-hours of {rival:9}"
                f" p50/p95 wait {ours.wait_p50_s:.1f}/{ours.wait_p95_s:.1f} s"
                f" against {report.wait_p50_s:.1f}/{report.wait_p95_s:.1f} s",
                flush=True,
            )
    return figures, ratios


def _figures(report: Report, name: str) -> dict[str, float]:
    return {
        f"wait_p95_s_{name}": round(report.wait_p95_s, 2),
        f"worker_hours_{name}": round(report.worker_hours, 2),
    }


def _tuned(trace: list[Arrival], wait_p95_s: float) -> Report:
    """The HPA at the highest target that keeps this wait, or else at the lowest."""
    for target in TARGETS:
        policy, paced = horizontal_pod(BOUNDS, target)
        report = Simulation(paced, policy, alike(BOUNDS.slots, START_UP_S)).run(trace)
        if report.wait_p95_s <= wait_p95_s:
            break
    return report
