import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.scale.load import Learned, Rate, Series, slope


@given(st.floats(-5, 5), st.floats(-100, 100), st.integers(2, 30))
def test_the_trend_of_a_line_is_its_slope(step: float, start: float, count: int) -> None:
    """Per sample, whatever the length."""
    line = [start + step * n for n in range(count)]
    assert slope(line) == pytest.approx(step, abs=1e-6)


def test_fewer_than_two_samples_have_no_trend() -> None:
    """A line needs two points."""
    assert (slope([]), slope([3.0])) == (0.0, 0.0)


def test_smoothing_starts_at_the_first_sample() -> None:
    """And then moves by alpha of the difference; only the window forgets."""
    series = Series(alpha=0.3, window=2)
    for value in (1.0, 2.0, 2.0):
        series.add(value)
    assert series.smoothed == pytest.approx(1.51)
    assert tuple(series.samples) == (2.0, 2.0)
    assert series.trend == 0.0


def test_a_learned_duration_leaves_its_guess_at_once() -> None:
    """The first observation replaces it, the next make a mean, and many move with the times."""
    learned = Learned(guess_s=60.0)
    learned.add(10.0)
    assert learned.value_s == 10.0
    learned.add(20.0)
    assert learned.value_s == pytest.approx(15.0)
    learned.add(99.0, count=0)
    assert learned.value_s == pytest.approx(15.0)
    learned.add(99.0, count=1000)
    assert learned.value_s == pytest.approx(99.0, abs=0.2)
    learned.add(1.0)
    assert learned.value_s == pytest.approx(69.6, abs=0.2)


def test_a_steady_rate_is_known_ever_better() -> None:
    """Two a second, alternating: the mean of all, not of the last."""
    rate = Rate(120.0)
    for number in range(200):
        rate.add(3.0 if number % 2 else 1.0, 2.0)
    assert rate.value == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(("before", "after"), [(0.5, 4.0), (12.0, 0.1)])
def test_a_rate_that_changes_is_believed_at_once(before: float, after: float) -> None:
    """After half a minute little is left of what was before, up or down."""
    rate = Rate(120.0)
    for value, seconds in ((before, 600), (after, 30)):
        for _ in range(seconds // 2):
            rate.add(value, 2.0)
    assert rate.value == pytest.approx(after, abs=0.1 * before + 0.4)


def test_noise_is_no_change() -> None:
    """Four deviations of ten seconds are: 4 +- 1.8 actions/s; what is less moves it slowly."""
    rate = Rate(120.0)
    for _ in range(300):
        rate.add(4.0, 2.0)
    for _ in range(5):
        rate.add(6.0, 2.0)
    assert rate.value == pytest.approx(4.0, abs=0.2)
