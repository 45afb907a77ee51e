"""A tier: one place where something is stored, as metrics and health see it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from builder.stores.index import Occupancy

if TYPE_CHECKING:  # a plain store has none of them
    from builder.stores.breaker import Breaker
    from builder.stores.metered import Meter
    from builder.stores.write_back import WriteBack


class Held(Protocol):
    """Whatever tells how full it is, and what it held before a restart."""

    def snapshot(self) -> Occupancy: ...

    def ages(self) -> Sequence[int]:
        """Bytes by the time since their last use, see `stores.ages`."""
        ...


@dataclass(slots=True)
class Tier:
    """`name` is its place in the composition; what it has not is None.

    `trouble` is what a look at its directory found; a breaker knows by itself.
    """

    name: str
    kind: str
    held: Held | None = None
    load: Callable[[], Awaitable[None]] | None = None
    meter: "Meter | None" = None
    breaker: "Breaker | None" = None
    waiting: "WriteBack | None" = None
    path: str = ""
    trouble: str = ""

    def is_well(self) -> bool:
        return not self.why()

    def why(self) -> str:
        """What is wrong with it; empty while nothing is."""
        return self.trouble or (self.breaker.why if self.breaker is not None else "")

    def sentence(self) -> str:
        return f"storage tier {self.name} is down: {self.why()}"


def down(tiers: Sequence[Tier]) -> list[str]:
    """A sentence for each that is down."""
    return [tier.sentence() for tier in tiers if not tier.is_well()]
