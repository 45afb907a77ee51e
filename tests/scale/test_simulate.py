import itertools
import random
from dataclasses import replace

import pytest

from builder.scale import policies, traces
from builder.scale.autoscaler import Bounds
from builder.scale.contenders import CONTENDERS, compete
from builder.scale.simulate import Simulation
from builder.scale.traces import Arrival
from builder.scale.vendor import alike

FIXED = Bounds(minimum=1, maximum=1)


def test_one_worker_serves_in_order() -> None:
    """Three actions of 10 s that come at once: the waits add up, the cost is the whole time."""
    trace = [Arrival(5.0, 10.0)] * 3
    report = Simulation(FIXED, policies.static(1), alike(1, 1.0)).run(trace)
    assert report.worker_hours * 3600 == pytest.approx(35.0)
    assert (report.wait_p50_s, report.wait_p99_s) == (10.0, 20.0)
    assert report.utilisation == pytest.approx(30 / 35)
    assert (report.launches, report.most_workers) == (1, 1)


def test_start_up_time_is_waited_for() -> None:
    """The first action waits for the first worker."""
    report = Simulation(FIXED, policies.static(1), alike(1, 40.0)).run([Arrival(0.0, 1.0)])
    assert report.wait_p50_s == 40.0


def test_a_trace_is_its_seed() -> None:
    """Twice the same, and near its rate."""
    shape = replace(traces.SHAPES["step"], length_s=10000.0)
    once, again = shape.trace(random.Random(1)), shape.trace(random.Random(1))
    assert once == again
    assert len([a for a in once if a.at_s < 7200]) == pytest.approx(3600, rel=0.1)
    assert sum(a.duration_s for a in once) / len(once) == pytest.approx(10.0, rel=0.1)


@pytest.mark.parametrize("shape", traces.SHAPES)
def test_no_rate_is_above_its_maximum(shape: str) -> None:
    """Thinning would silently cut it."""
    one = traces.SHAPES[shape]
    assert max(one.rate(one.length_s * n / 2000) for n in range(2000)) <= one.top


def test_a_week_is_made_of_builds() -> None:
    """Of 60 actions within half a minute, none of them at the weekend but a few."""
    trace = traces.SHAPES["week"].trace(random.Random(1))
    assert trace == sorted(trace, key=lambda one: one.at_s)
    days = [sum(1 for one in trace if one.at_s // 86400 == day) for day in range(7)]
    assert min(days[:5]) > 10 * max(days[5:])
    near = sum(1 for a, b in itertools.pairwise(trace) if b.at_s - a.at_s < 5.0)
    assert near > 0.9 * len(trace)


def test_a_pool_that_may_shrinks_to_nothing() -> None:
    """Two actions an hour apart are paid for with minutes, not with the hour between them."""
    trace = [Arrival(0.0, 10.0), Arrival(3600.0, 10.0)]
    bounds = Bounds(0, 10, 1, start_up_guess_s=40.0, down_cooldown_s=60.0)
    report = Simulation(bounds, policies.predictive(), alike(1, 40.0)).run(trace)
    assert min(workers for _, workers, _ in report.course) == 0
    assert report.worker_hours < 0.2


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_policy_comes_to_an_end(name: str) -> None:
    """Where one worker is all that there may be, and none is what it begins with."""
    report = compete(
        name, [Arrival(5.0, 1.0)], Bounds(0, 1, 1, start_up_guess_s=1.0), alike(1, 1.0)
    )
    assert report.launches >= 1


@pytest.mark.no_cover
def test_prediction_beats_polling_on_bursts() -> None:
    """A quarter fewer hours than the horizontal pod autoscaler, for the same waits."""
    trace = replace(traces.SHAPES["bursty"], length_s=1800.0).trace(random.Random(1))
    common = {"minimum": 1, "maximum": 60, "slots": 2, "start_up_guess_s": 40.0}
    ours = Bounds(**common, sample_every_s=2.0, up_cooldown_s=0.0, down_cooldown_s=60.0)
    theirs = Bounds(**common, sample_every_s=15.0, up_cooldown_s=0.0, down_cooldown_s=0.0)
    predicted = Simulation(ours, policies.predictive(), alike(2, 40.0)).run(trace)
    polled = Simulation(
        theirs, policies.every(15.0, policies.horizontal_pod()), alike(2, 40.0)
    ).run(trace)
    assert predicted.worker_hours < 0.75 * polled.worker_hours
    assert predicted.wait_p95_s <= 1.02 * polled.wait_p95_s
