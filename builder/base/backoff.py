"""How long to wait before the next try: grows by a factor, with jitter, up to a limit."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds. `jitter` is the share of a delay that chance takes away."""

    first_s: float = 0.1
    limit_s: float = 5.0
    factor: float = 1.6
    jitter: float = 0.2

    def delay(self, failures: int, chance: Callable[[], float]) -> float:
        """The delay after so many failures in a row (1 is the first); `chance` is in [0, 1)."""
        whole = min(self.limit_s, self.first_s * self.factor ** min(failures - 1, 64))
        return whole * (1 - self.jitter * chance())
