"""An invocation as its actions tell of it, summed up one by one.

Nothing of an action but what is added is kept, so the sum over ten thousand actions costs as much
as looking at each of them once.
"""

from collections import Counter
from dataclasses import dataclass, field

from builder.builds.lookups import Found

BAD = ("failed", "refused", "lost")


@dataclass(slots=True)
class Tally:
    """Times are seconds since 1970; `last_s` is the end of the last action that has ended."""

    id: str
    tool: str = ""
    outcomes: Counter[str] = field(default_factory=Counter)  # "" for what goes on
    started_s: float = float("inf")
    last_s: float = 0.0
    looked_up: int = 0  # hits that were no operations: the client only looked
    listed: int = 0  # of those, the ones that are known one by one
    _targets: set[str] = field(default_factory=set)

    def add(self, outcome: str, target: str, queued_s: float, ended_s: float) -> None:
        self.outcomes[outcome] += 1
        self._targets.add(target)
        if queued_s < self.started_s:
            self.started_s = queued_s
        if outcome and ended_s > self.last_s:
            self.last_s = ended_s

    def add_lookups(self, found: Found, listed: int = 0, offset_s: float = 0.0) -> None:
        """`offset_s` brings the times of `found` to seconds since 1970."""
        self.tool = self.tool or found.tool
        self.looked_up += found.hits
        self.listed += listed
        self._targets.update(found.targets)
        self.started_s = min(self.started_s, found.first_s + offset_s)
        self.last_s = max(self.last_s, found.last_s + offset_s)

    @property
    def actions(self) -> int:
        return self.outcomes.total() + self.looked_up

    @property
    def targets(self) -> int:
        return len(self._targets - {""})

    @property
    def failed(self) -> int:
        return sum(self.outcomes[outcome] for outcome in BAD)

    @property
    def hits(self) -> int:
        return self.outcomes["cached"] + self.looked_up

    @property
    def rows(self) -> int:
        """Of its actions, those that are known one by one."""
        return self.outcomes.total() + self.listed

    @property
    def ran(self) -> int:
        """Of those, the ones that were no hits."""
        return self.outcomes.total() - self.outcomes["cached"]

    @property
    def took_s(self) -> float | None:
        """None while something of it goes on."""
        return None if self.outcomes[""] else self.last_s - self.started_s
