"""What the pool does next if nothing happens meanwhile: one sentence with its countdown."""

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class Outlook:
    """`total` counts ready and starting workers; times are seconds from now."""

    total: int
    starting: int
    idle: int
    desired: int
    grows_in_s: float
    lesser: int
    shrinks_in_s: float
    asks_in_s: float | None  # a refused launch is asked for again
    held: int | None


def next_action(ahead: Outlook) -> str:
    """`Scale up (add 4 workers in 15s)`."""
    if ahead.asks_in_s is not None:
        return f"Ask the provider again for what it refused ({_when(ahead.asks_in_s)})"
    if ahead.desired > ahead.total:
        missing = ahead.desired - ahead.total
        return f"Scale up (add {_workers(missing)} {_when(ahead.grows_in_s)})"
    if ahead.lesser < ahead.total:
        surplus = ahead.total - ahead.lesser
        when = _when(ahead.shrinks_in_s) if ahead.shrinks_in_s or ahead.idle else "once idle"
        return f"Scale down (remove {_workers(surplus)} {when})"
    if ahead.held is not None:
        return f"Hold at {_workers(ahead.desired)} until it is released"
    if ahead.starting:
        return f"Wait for {_workers(ahead.starting)} to join"
    return "None (the size is right)"


def _workers(count: int) -> str:
    return f"{count} worker{'' if count == 1 else 's'}"


def _when(seconds: float) -> str:
    if seconds < 0.5:
        return "now"
    minutes, rest = divmod(ceil(seconds), 60)
    return f"in {minutes}m {rest}s" if minutes else f"in {rest}s"
