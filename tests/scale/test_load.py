import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.scale.load import Learned, Series, slope


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
