"""Policies against each other on generated traces: worker-hours, and waits no worse.

`predictive` stands for us; on the trace whose bursts come at the same time each night, its sibling
that learns such times.
"""

import random

from builder.scale.autoscaler import Bounds
from builder.scale.contenders import compete
from builder.scale.traces import SHAPES, generate

START_UP_S = 40.0
RIVALS = ("hpa", "threshold")
OURS = {"nightly": "holt_winters"}


def run() -> tuple[dict[str, float], dict[str, float]]:
    bounds = Bounds(1, 60, 2, start_up_guess_s=START_UP_S, service_guess_s=10.0)
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for shape, (rate, top, length) in SHAPES.items():
        trace = list(generate(rate, top, length, 10.0, random.Random(1)))
        ours = compete(OURS.get(shape, "predictive"), trace, bounds, START_UP_S)
        figures[f"wait_p95_s_{shape}"] = round(ours.wait_p95_s, 2)
        figures[f"worker_hours_{shape}"] = round(ours.worker_hours, 2)
        for rival in RIVALS:
            theirs = compete(rival, trace, bounds, START_UP_S)
            figures[f"wait_p95_s_{shape}_{rival}"] = round(theirs.wait_p95_s, 2)
            hours = ours.worker_hours / theirs.worker_hours
            ratios[f"worker_hours_vs_{rival}_{shape}"] = round(hours, 3)
            print(
                f"{shape:8} {hours:.2f} of the worker-hours of {rival:9}"
                f" p95 wait {ours.wait_p95_s:.1f} s against {theirs.wait_p95_s:.1f} s",
                flush=True,
            )
    return figures, ratios
