"""For how long what was said holds: the arithmetic of ticks and leases in whole seconds."""

import math

from builder.stores.index import TICKS_PER_LEASE, UNLEASED_TICK_S


class Leases:
    """A lease counts from the end of the tick of last use. Times are seconds since 1970."""

    def __init__(self, lease_s: float) -> None:
        self._lease = lease_s
        self.free_until = math.inf  # of what nobody is promised: the owner may keep some of it
        self.tick_s = max(1, int(lease_s / TICKS_PER_LEASE or UNLEASED_TICK_S))

    def tick(self, now: float) -> int:
        """The begin of the present tick."""
        return int(now) // self.tick_s * self.tick_s

    def latest_free(self, now: float) -> float:
        """What was last used then, or before, may go."""
        return now - self._lease - self.tick_s if self._lease else self.free_until

    def is_free(self, used: int, now: float) -> bool:
        """Whether what was last used in this tick may go."""
        return used <= self.latest_free(now)
