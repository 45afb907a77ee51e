"""A policy that knows the calendar."""

import random
from dataclasses import replace

import pytest

from builder.scale import policies
from builder.scale.autoscaler import Bounds
from builder.scale.foresight import Smoothed, holt_winters
from builder.scale.policies import View
from builder.scale.seasonal import STEP_S, STEPS, HoltWinters
from builder.scale.simulate import Report, Simulation
from builder.scale.traces import generate
from builder.scale.vendor import alike

NOON = STEPS // 2
QUIET = View(
    now=0.0,
    workers=2,
    ready=2,
    slots=2,
    queued=0,
    running=1,
    utilisation=0.1,
    smoothed=0.1,
    trend=0.0,
    samples=(1.0,),
    arrival_rate=0.1,
    service_s=10.0,
    start_up_s=40.0,
)


def noon_build() -> HoltWinters:
    """Two days, each with a load of 4 actions/s for five minutes at noon."""
    made = HoltWinters()
    for step in range(2 * STEPS):
        made.add(step, 4.0 if step % STEPS == NOON else 0.1)
    return made


def test_workers_start_before_the_work_comes() -> None:
    """So that they are ready when it does: 40 s ahead and not 50."""
    policy = holt_winters(noon_build())
    noon = (2 * STEPS + NOON) * STEP_S
    early = policy(replace(QUIET, now=noon - 50))
    wish = policy(replace(QUIET, now=noon - 40))
    assert early.workers < 5
    assert wish.workers == policies.predictive()(replace(QUIET, arrival_rate=4.0)).workers
    assert wish.why.startswith("4.0 actions/s foreseen in 40 s")


def test_a_day_unlike_the_others_is_believed() -> None:
    """At noon nothing comes, and at night much: what is there counts."""
    policy = holt_winters(noon_build())
    noon = (2 * STEPS + NOON) * STEP_S
    for second in range(200):
        wish = policy(replace(QUIET, now=noon + second))
    assert wish.workers < 5
    night = replace(QUIET, now=2.9 * STEPS * STEP_S, arrival_rate=3.0)
    assert policy(night).workers == policies.predictive()(night).workers


def test_without_a_forecast_it_is_the_plain_policy() -> None:
    """On the first day nothing is known."""
    assert holt_winters(HoltWinters())(QUIET) == policies.predictive()(QUIET)


def test_what_is_foreseen_is_seen_as_the_present_is() -> None:
    """A step goes through the same smoothing as the rate of arrivals."""
    smoothed = Smoothed(45.0)
    assert smoothed.add(0.0, 1.0) == 1.0
    assert smoothed.add(45.0, 2.0) == pytest.approx(2 - 1 / 2.718281828)
    assert smoothed.add(45.0, 5.0) == pytest.approx(2 - 1 / 2.718281828)


@pytest.mark.no_cover
def test_a_build_each_night_waits_for_no_machine() -> None:
    """From the second one on; the plain policy keeps it waiting every night, at no less cost."""

    def rate(at: float) -> float:
        return 1.5 if 7200 <= at % 86400 < 7800 else 0.0

    trace = list(generate(rate, 1.5, 3 * 86400, 10.0, random.Random(1)))
    common = {"start_up_guess_s": 40.0, "sample_every_s": 20.0, "up_cooldown_s": 0.0}
    bounds = Bounds(1, 60, 2, **common, down_cooldown_s=60.0)

    def cost(policy: policies.Policy) -> Report:
        return Simulation(bounds, policy, alike(2, 40.0)).run(trace)

    plain, seasonal = cost(policies.predictive()), cost(holt_winters(HoltWinters()))
    assert seasonal.wait_p95_s < plain.wait_p95_s / 2
    assert seasonal.worker_hours < 1.02 * plain.worker_hours
