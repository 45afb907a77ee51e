"""Holt-Winters against waves whose next value is known."""

import random
from math import pi, sin

import pytest

from builder.scale.seasonal import STEP_S, STEPS, STEPS_OF_WEEK, HoltWinters

DAY_S = 86400.0


def wave(step: int) -> float:
    """A day: most at noon, nothing at midnight."""
    return 2.0 + 2.0 * sin(2 * pi * step / STEPS - pi / 2)


def working(step: int) -> float:
    """A week: two of seven days bring a tenth."""
    return wave(step) * (1.0 if step % STEPS_OF_WEEK < 5 * STEPS else 0.1)


def taught(rate: object, steps: int) -> HoltWinters:
    made = HoltWinters()
    assert callable(rate)
    for step in range(steps):
        made.add(step, rate(step))
    return made


def expected(made: HoltWinters, step: int) -> float:
    found = made.rate(step * STEP_S)
    assert found is not None
    return found


def test_nothing_is_foreseen_before_a_day_was_seen() -> None:
    """Of a part of it nobody knows what the rest will bring."""
    assert taught(wave, STEPS - 1).rate(0.0) is None
    assert taught(wave, STEPS).rate(0.0) == pytest.approx(0.0)


def test_a_day_that_comes_again_is_foreseen_exactly() -> None:
    """One is enough when all are alike."""
    made = taught(wave, STEPS)
    for step in range(STEPS, 2 * STEPS):
        assert expected(made, step) == pytest.approx(wave(step))
        made.add(step, wave(step))


def test_the_weekend_is_learned_as_what_it_is() -> None:
    """After ten weeks every step of the eleventh is right to 3 % of the peak."""
    made = taught(working, 10 * STEPS_OF_WEEK)
    errors = []
    for step in range(10 * STEPS_OF_WEEK, 11 * STEPS_OF_WEEK):
        errors.append(abs(expected(made, step) - working(step)))
        made.add(step, working(step))
    assert max(errors) < 0.03 * 4.0


def test_a_growing_load_is_followed() -> None:
    """1 % a day: after a month the forecast for the next day is less than a day behind."""

    def growing(step: int) -> float:
        return wave(step) + 0.02 * step / STEPS

    made = taught(growing, 30 * STEPS)
    behind = []
    for step in range(30 * STEPS, 31 * STEPS):
        behind.append(growing(step) - expected(made, step))
        made.add(step, growing(step))
    assert abs(sum(behind) / STEPS) < 0.02


def test_many_days_are_steadier_than_one_minute() -> None:
    """A mean of days varies less than a smoothed minute does: a Poisson process of 4 actions/s
    smoothed over 45 s has a deviation of 0.21."""
    chance = random.Random(1)
    made = taught(lambda _step: chance.gauss(4.0, (4.0 / STEP_S) ** 0.5), 3 * STEPS_OF_WEEK)
    errors = [expected(made, step) - 4.0 for step in range(3 * STEPS_OF_WEEK, 4 * STEPS_OF_WEEK)]
    deviation = (sum(error * error for error in errors) / len(errors)) ** 0.5
    assert deviation < 0.12


def test_only_whole_steps_count() -> None:
    """Neither the one that was under way at the start nor those that nobody watched."""
    made = HoltWinters()
    made.observe(100.0, 50)
    made.observe(STEP_S, 60)
    made.observe(2 * STEP_S - 1, 80)
    assert made.learned.first_day == {}
    made.observe(2 * STEP_S, 90)
    assert made.learned.first_day == {1: 0.1}
    made.observe(9 * STEP_S, 1000)
    made.observe(10 * STEP_S, 1060)
    assert made.learned.first_day == {1: 0.1}
    made.observe(11 * STEP_S, 1090)
    assert made.learned.first_day == {1: 0.1, 10: 0.1}


def test_the_calendar_decides_the_place() -> None:
    """The same moment of another week, whatever the clock started at."""
    made = HoltWinters(offset_s=3 * DAY_S)
    made.observe(0.0, 0)
    made.observe(STEP_S, 0)
    made.observe(2 * STEP_S, 30)
    assert made.learned.first_day == {1: 0.1}
    assert made._step_at(4 * DAY_S) % STEPS_OF_WEEK == 0
