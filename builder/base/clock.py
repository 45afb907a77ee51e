"""Time as an argument: what a program gives to the parts that must not ask for it themselves."""

from typing import Protocol


class Clock(Protocol):
    """Two clocks: `monotonic` for waiting, `wall` for telling people and peers."""

    def monotonic(self) -> float:
        """Seconds that never go back; the origin means nothing."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""
        ...
