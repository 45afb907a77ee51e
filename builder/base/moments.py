"""Moments as people write them: `fixed`, `2024-05-01T12:00:00Z`, or seconds since 1970."""

import re

from builder.base.errors import UsageError

FIXED, FIRST = "fixed", 315532800  # 1980-01-01, the first day that a zip file can hold
LAST = 253402300799  # of the year 9999, the last one that has four digits
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d([Zz]|[+-]\d\d:\d\d)")
RIGHT = f"use {FIXED}, 2024-05-01T12:00:00Z, or seconds since 1970"


def parse_moment(text: str | int) -> int:
    """Whole seconds since 1970, UTC. Raises UsageError. Source: RFC 3339, section 5.6."""
    from datetime import datetime  # late: few ask

    found = -1
    if isinstance(text, int):
        found = text
    elif text == FIXED:
        found = FIRST
    elif text.isascii() and text.isdigit():
        found = int(text[:20])
    elif RFC_3339.fullmatch(text):
        try:
            found = int(datetime.fromisoformat(text.upper()).timestamp())
        except ValueError:
            found = -1  # such as the thirteenth month
    if not 0 <= found <= LAST:
        raise UsageError(f"{text!r} is no moment: {RIGHT}")
    return found


def format_moment(moment: int) -> str:
    """In UTC: `1980-01-01T00:00:00Z`."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
