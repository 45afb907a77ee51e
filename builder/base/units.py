"""Durations and sizes as people write them: `30s`, `1h30m`, `250ms`, `2GiB`, `4G`, `512K`."""

import re

from builder.base.errors import UsageError
from builder.base.shown import format_duration as format_duration

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


def format_size(size_bytes: int) -> str:
    """Rounded, in powers of 1024: `0 B`, `234 KB`, `1.5 GB`."""
    value = float(size_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit in ("B", "KB") else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"
