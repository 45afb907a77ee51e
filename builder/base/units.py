"""Durations and sizes as people write them: `30s`, `1h30m`, `250ms`, `2GiB`, `4G`, `512K`."""

import re

from builder.base.errors import UsageError

DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(i?)B?")
POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_duration(text: str | int | float) -> float:
    """Seconds. A bare number is seconds. Raises UsageError."""
    if isinstance(text, int | float):
        return float(text)
    if DURATION.fullmatch(text.strip()):
        return sum(
            float(number) * DURATION_UNITS[unit] for number, unit in DURATION_PART.findall(text)
        )
    raise UsageError(f"{text!r} is not a duration: write for example 250ms, 30s, 5m or 1h30m")


def parse_size(text: str | int) -> int:
    """Bytes. `K`, `M`, `G` are powers of 1024, with or without `i` and `B`. Raises UsageError."""
    if isinstance(text, int):
        return text
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a size: write for example 512K, 64MiB, 2GiB or 4G")
    number, power, _ = match.groups()
    return int(float(number) * 1024 ** POWERS[power])


def format_duration(seconds: float) -> str:
    """Short and rounded: `45ms`, `1.2s`, `5m 32s`, `2h 5m`, `3d 4h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minutes}m"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours}h"


def format_size(size_bytes: int) -> str:
    """Rounded, in powers of 1024: `0 B`, `234 KB`, `1.5 GB`."""
    value = float(size_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit in ("B", "KB") else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"
