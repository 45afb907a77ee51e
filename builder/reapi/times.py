"""Times of messages that others have filled in.

A field takes any 64 bits of seconds and any nanoseconds, and protobuf's own methods raise for what
is outside of the years 1 to 9999: one such time in a stored result would be an error of everything
that lists results.
"""

from typing import Protocol

SECOND = 10**9
FIRST, LAST = -62135596800 * SECOND, 253402300800 * SECOND - 1  # of the years 1 and 9999


class Time(Protocol):
    """A Timestamp or a Duration."""

    @property
    def seconds(self) -> int: ...

    @property
    def nanos(self) -> int: ...


def nanoseconds(time: Time) -> int:
    """Since 1970, or how many it lasts; the nearest that both kinds can say."""
    return bounded(time.seconds * SECOND + time.nanos)


def bounded(nanoseconds_: int) -> int:
    return min(max(nanoseconds_, FIRST), LAST)
