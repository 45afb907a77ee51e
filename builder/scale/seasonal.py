"""Holt-Winters: what the same time of the day and of the week has brought before.

Level, trend and two seasons, all added up, each smoothed exponentially. With `y` the rate of
arrivals in one step of the time (five minutes), `i` its place in the day and `j` in the week:

    level  l' = a (y - d[i] - w[j]) + (1 - a)(l + b)
    trend  b' = c (l' - l) + (1 - c) b
    day    d[i]' = e (y - l' - w[j]) + (1 - e) d[i]
    week   w[j]' = f (y - l' - d[i]) + (1 - f) w[j]

The first day gives the level (its mean) and the seasons of the day; a place in the week that was
seen once or twice learns faster than one that is well known. Sources: Winters, Management Science
6 (1960); for two seasons: Taylor, Journal of the Operational Research Society 54 (2003).
"""

from dataclasses import dataclass, field

STEP_S = 300.0
STEPS = 288  # of a day
STEPS_OF_WEEK = 7 * STEPS


@dataclass(frozen=True, slots=True)
class Smoothing:
    """Weights of the newest step, in (0, 1)."""

    level: float = 0.001
    trend: float = 0.001
    day: float = 0.1
    week: float = 0.3


@dataclass(slots=True)
class Learned:
    """All that is known, as plain values that can be kept. Rates are actions per second.

    `first_day` has them by their place until all are there, and is empty from then on.
    """

    level: float = 0.0
    trend: float = 0.0
    first_day: dict[int, float] = field(default_factory=dict)
    day: list[float] = field(default_factory=list)
    week: list[float] = field(default_factory=lambda: [0.0] * STEPS_OF_WEEK)
    seen: list[int] = field(default_factory=lambda: [0] * STEPS_OF_WEEK)


class HoltWinters:
    """`offset_s` makes a time one of the calendar: seconds since a Monday's midnight."""

    def __init__(self, offset_s: float = 0.0, smoothing: Smoothing | None = None) -> None:
        self.learned = Learned()
        self._offset_s = offset_s
        self._smoothing = smoothing or Smoothing()
        self._step: int | None = None  # the one that is not over
        self._whole = False  # whether it was seen from its beginning
        self._arrived = 0  # until then

    def observe(self, now: float, arrived: int) -> None:
        """`arrived` is a total that only grows; a step that was not seen whole does not count."""
        step = self._step_at(now)
        if step == self._step:
            return
        followed = self._step is not None and step == self._step + 1
        if followed and self._whole:
            self.add(step - 1, (arrived - self._arrived) / STEP_S)
        self._step, self._whole, self._arrived = step, followed, arrived

    def add(self, step: int, rate: float) -> None:
        """What one whole step has brought."""
        known = self.learned
        if known.day:
            self._smooth(step % STEPS, step % STEPS_OF_WEEK, rate)
            return
        known.first_day[step % STEPS] = rate
        if len(known.first_day) == STEPS:
            known.level = sum(known.first_day.values()) / STEPS
            known.day = [known.first_day[place] - known.level for place in range(STEPS)]
            known.first_day = {}

    def _smooth(self, i: int, j: int, rate: float) -> None:
        weight, known = self._smoothing, self.learned
        before, day, week = known.level, known.day[i], known.week[j]
        level = weight.level * (rate - day - week) + (1 - weight.level) * (before + known.trend)
        known.level = level
        known.trend += weight.trend * (level - before - known.trend)
        known.day[i] += weight.day * (rate - level - week - day)
        quick = max(weight.week, 1 / (known.seen[j] + 2))
        known.week[j] += quick * (rate - level - day - week)
        known.seen[j] += 1

    def rate(self, at: float) -> float | None:
        """Arrivals per second to be expected at a time soon; None before a day was seen."""
        known, step = self.learned, self._step_at(at)
        if not known.day:
            return None
        season = known.day[step % STEPS] + known.week[step % STEPS_OF_WEEK]
        return max(0.0, known.level + known.trend + season)

    def _step_at(self, at: float) -> int:
        return int((at + self._offset_s) // STEP_S)
