from dataclasses import replace

import pytest

from builder.scale import policies
from builder.scale.policies import View

QUIET = View(
    now=0.0,
    workers=4,
    ready=4,
    slots=2,
    queued=0,
    running=4,
    utilisation=0.5,
    smoothed=0.5,
    trend=0.0,
    samples=(4.0, 4.0),
    arrival_rate=1.0,
    service_s=4.0,
    start_up_s=10.0,
)


def test_the_specification_keeps_its_size_between_the_thresholds() -> None:
    """And says the numbers."""
    wish = policies.specification()(QUIET)
    assert (wish.workers, wish.why) == (
        4,
        "predicted load 50% (trend +0.00) is within 25% and 75%",
    )


def test_the_specification_grows_by_how_far_it_is_above() -> None:
    """Smoothed plus trend counts; a full pool of 4 at 150 % doubles."""
    wish = policies.specification()(replace(QUIET, smoothed=1.4, trend=0.1))
    assert wish.workers == 8


def test_a_rising_trend_below_the_threshold_asks_for_nothing() -> None:
    """The published formula turns negative here; ours is clamped at 0."""
    assert policies.specification()(replace(QUIET, smoothed=0.1, trend=0.1)).workers == 4


def test_a_flat_idle_pool_shrinks() -> None:
    """Trend 0 and load 0 halve it."""
    assert policies.specification()(replace(QUIET, smoothed=0.0)).workers == 2


def test_a_plain_threshold_steps() -> None:
    """Half as many again, a quarter less, or nothing."""
    wish = policies.threshold()
    assert wish(replace(QUIET, utilisation=0.9)).workers == 6
    assert wish(replace(QUIET, utilisation=0.1)).workers == 3
    assert wish(QUIET).workers == 4
    assert wish(replace(QUIET, workers=0, ready=0, queued=1, utilisation=0.0)).workers == 1


@pytest.mark.parametrize(
    ("demand", "pods", "wanted"),
    [
        (6, 4, 4),  # exactly the target of 1.5 on each
        (6.5, 4, 4),  # within a tenth
        (7, 4, 5),
        (12, 4, 8),
        (100, 4, 8),  # not more than twice as many at once
        (100, 1, 4),  # or four
        (0, 4, 1),
    ],
)
def test_the_horizontal_pod_autoscaler(demand: float, pods: int, wanted: int) -> None:
    """ceil(metric / target), as Kubernetes limits it."""
    view = replace(QUIET, running=demand, workers=pods)
    assert policies.horizontal_pod()(view).workers == wanted


def test_the_horizontal_pod_autoscaler_stabilises_before_it_limits() -> None:
    """The largest recommendation of five minutes counts, and is grown to even when it is over."""
    wish = policies.horizontal_pod()
    assert wish(replace(QUIET, running=24)).workers == 8
    assert wish(replace(QUIET, now=15.0, workers=8, running=0)).workers == 16
    assert wish(replace(QUIET, now=300.0, workers=16, running=0)).workers == 16
    assert wish(replace(QUIET, now=301.0, workers=16, running=0)).workers == 1


def test_a_percentile_serves_most_samples() -> None:
    """One peak in a hundred is not served."""
    view = replace(QUIET, samples=(2.0,) * 99 + (50.0,))
    assert policies.percentile()(view).workers == 1
    assert policies.percentile()(replace(QUIET, samples=())).workers == 4


def test_square_root_staffing() -> None:
    """4 actions/s of 4 s offer 16; 16 + 1.8 * 4 slots are 12 workers of 2."""
    wish = policies.predictive()(replace(QUIET, arrival_rate=4.0))
    assert (wish.workers, wish.urgent) == (12, False)


def test_a_queue_that_drains_before_a_launch_could_help_asks_for_nothing() -> None:
    """8 slots work off 2 actions of 4 s long before a new worker is there."""
    assert policies.predictive()(replace(QUIET, running=8, queued=2)).workers <= 5


def test_a_long_queue_is_urgent() -> None:
    """It asks for enough to drain it within seconds of their start."""
    wish = policies.predictive(wait_s=10.0)(replace(QUIET, running=8, queued=200))
    assert wish.urgent
    assert wish.workers >= 30


def test_nothing_at_all_wants_nothing() -> None:
    """And the first action in an empty pool wants a worker, at once."""
    none = replace(QUIET, workers=0, ready=0, running=0, arrival_rate=0.0)
    assert policies.predictive()(none).workers == 0
    wish = policies.predictive()(replace(none, queued=1))
    assert (wish.workers, wish.urgent) == (1, True)


def test_what_comes_hardly_ever_keeps_no_worker() -> None:
    """One action in ten minutes: the last worker goes, but not from under a running action."""
    rare = replace(QUIET, running=0, arrival_rate=1 / 600)
    assert policies.predictive()(rare).workers == 0
    assert policies.predictive()(replace(rare, running=1)).workers == 1
    assert policies.predictive()(replace(rare, arrival_rate=1 / 60)).workers == 1


def test_a_polling_policy_is_asked_at_its_period_only() -> None:
    """In between its last wish stands."""
    wish = policies.every(10.0, policies.threshold())
    assert wish(replace(QUIET, utilisation=0.9)).workers == 6
    assert wish(replace(QUIET, now=9.0)).workers == 6
    assert wish(replace(QUIET, now=10.0)).workers == 4
