"""How much work there is: samples of it, smoothed, with their trend.

Smoothing is exponential, `s = alpha * x + (1 - alpha) * s`; the trend is the slope of the least
squares line through the last samples, in units per sample.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, sqrt


@dataclass(frozen=True, slots=True)
class Load:
    """What the scheduler counts for one pool. Totals only grow, since its start.

    `queued` actions wait for a slot, `running` hold one; `service_s` is the sum of the seconds
    that finished actions held theirs, `running_s` of those that the running ones have had so far.
    """

    queued: int = 0
    running: int = 0
    arrived: int = 0
    finished: int = 0
    service_s: float = 0.0
    running_s: float = 0.0


LATEST_S = 10.0
CHANGE = 4.0  # standard deviations of a Poisson process
CHANGE_FLOOR = 0.1  # actions per second
SEEN_ENOUGH = 20  # finished actions, to know their mean duration


def slope(samples: Sequence[float]) -> float:
    """The slope of the least squares line, per sample; 0 for fewer than two."""
    count = len(samples)
    if count < 2:
        return 0.0
    middle = (count - 1) / 2
    mean = sum(samples) / count
    over = sum((n - middle) * (value - mean) for n, value in enumerate(samples))
    return over / sum((n - middle) ** 2 for n in range(count))


class Series:
    """The last samples of one quantity, and their exponentially smoothed value."""

    def __init__(self, alpha: float, window: int) -> None:
        self._alpha = alpha
        self._samples: deque[float] = deque(maxlen=window)
        self._trend: float | None = None
        self.smoothed = 0.0

    def add(self, value: float) -> None:
        first = not self._samples
        self.smoothed = value if first else self.smoothed + self._alpha * (value - self.smoothed)
        self._samples.append(value)
        self._trend = None

    @property
    def trend(self) -> float:
        if self._trend is None:
            self._trend = slope(self._samples)
        return self._trend

    @property
    def samples(self) -> Sequence[float]:
        """The newest last. It changes with each one that is added."""
        return self._samples


class Rate:
    """Arrivals per second: their mean since it last changed, of `flow_s` at most.

    A change is what the last ten seconds cannot be by the noise of a Poisson process: then
    something has begun, or ended, and what was before tells nothing any more. So a steady rate has
    a steady mean, and a new one is believed at once.
    """

    def __init__(self, flow_s: float) -> None:
        self._flow_s = flow_s
        self._latest = 0.0
        self._over_s = 0.0
        self.value = 0.0

    def add(self, rate: float, seconds: float) -> None:
        """What came within the last `seconds`."""
        self._latest += (1 - exp(-seconds / LATEST_S)) * (rate - self._latest)
        self._over_s = min(self._flow_s, self._over_s + seconds)
        self.value += (1 - exp(-seconds / self._over_s)) * (rate - self.value)
        noise = sqrt(max(self.value, CHANGE_FLOOR) / (2 * LATEST_S))
        if abs(self._latest - self.value) > CHANGE * noise:
            self.value, self._over_s = self._latest, LATEST_S / 2


class Learned:
    """A running mean of observed durations; starts at a guess.

    The plain mean of the first `1 / alpha`, then an exponential one of about as many: durations
    vary tenfold, and a pool that follows their noise launches workers for nothing.
    """

    def __init__(self, guess_s: float, alpha: float = 0.3) -> None:
        self.value_s = guess_s
        self._alpha = alpha
        self._seen = 0

    def with_pending(self, pending_s: float) -> float:
        """While little has been seen, what those have taken that have not ended counts, too.

        A first burst of long actions would else look like one of short ones until it is over.
        """
        if self._seen >= SEEN_ENOUGH:
            return self.value_s
        return self.value_s + pending_s / (self._seen + 1)

    def add(self, seconds: float, count: int = 1) -> None:
        """`count` observations whose mean is `seconds`."""
        if count < 1:
            return
        self._seen += count
        share = max(1 - (1 - self._alpha) ** min(count, 5000), count / self._seen)
        self.value_s += share * (seconds - self.value_s)
