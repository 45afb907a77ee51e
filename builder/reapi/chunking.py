"""Content-defined chunking: the two functions of REAPI 2.12, `FAST_CDC_2020` and `REP_MAX_CDC`.

Both run a Gear hash over the bytes, `h = (h << 1) + GEAR[byte]` modulo 2^64, so a hash depends on
the last 64 bytes only and a boundary on the content around it. FAST_CDC_2020 cuts where the hash
has zeros under a mask (Xia et al., "The Design of Fast Content-Defined Chunking", 2020, level 2
normalisation); REP_MAX_CDC cuts where the hash is largest within a horizon, which keeps every
chunk between `min` and `2 * min`.

The GEAR table is the first 64 bits of MD5 over 64 repetitions of each byte.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import md5

from builder.base.errors import InvalidArgumentError

Data = bytes | memoryview
MASK_64 = (1 << 64) - 1
WINDOW = 64
GEAR = tuple(
    int.from_bytes(md5(bytes([n]) * 64, usedforsecurity=False).digest()[:8]) for n in range(256)
)
# By log2 of the size; from the published implementation of FastCDC 2020.
MASKS = {
    5: 0x1804110,
    6: 0x1803110,
    7: 0x18035100,
    8: 0x1800035300,
    9: 0x19000353000,
    10: 0x590003530000,
    11: 0xD90003530000,
    12: 0xD90103530000,
    13: 0xD90303530000,
    14: 0xD90313530000,
    15: 0xD90F03530000,
    16: 0xD90303537000,
    17: 0xD90703537000,
    18: 0xD90707537000,
    19: 0xD91707537000,
    20: 0xD91747537000,
    21: 0xD91767537000,
    22: 0xD93767537000,
    23: 0xD93777537000,
    24: 0xD93777577000,
    25: 0xDB3777577000,
}


@dataclass(frozen=True, slots=True)
class FastCdc2020:
    """Sizes in bytes: `average` is a power of two from 1 KiB to 1 MiB; a chunk has a quarter of
    it at the least (but the last one) and four times it at the most. Raises InvalidArgumentError.
    """

    average: int = 512 * 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if self.average.bit_count() != 1 or not 1024 <= self.average <= 1 << 20:
            raise InvalidArgumentError(
                f"average chunk size {self.average} is no power of two from 1 KiB to 1 MiB"
            )

    def lengths(self, data: Data) -> Iterator[int]:
        """The lengths of the chunks of these bytes, in order."""
        gear = tuple(value ^ self.seed for value in GEAR)
        view, at = memoryview(data), 0
        while at < len(view):
            length = self._cut(view[at : at + self.average * 4], gear)
            yield length
            at += length

    def _cut(self, view: memoryview, gear: tuple[int, ...]) -> int:
        """The first chunk's length. Positions are even numbers: peers look at pairs of bytes."""
        minimum, size = self.average // 4, len(view)
        if size <= minimum:
            return size
        power = self.average.bit_length() - 1
        middle, end = min(self.average, size) & ~1, size & ~1
        fingerprint = 0
        for start, stop, mask in (
            (minimum & ~1, middle, MASKS[power + 2]),
            (middle, end, MASKS[power - 2]),
        ):
            for n, byte in enumerate(view[start:stop], start):
                fingerprint = ((fingerprint << 1) + gear[byte]) & MASK_64
                if not fingerprint & mask:
                    return n
        return size


@dataclass(frozen=True, slots=True)
class RepMaxCdc:
    """Sizes in bytes: chunks have `minimum` to `2 * minimum - 1`; a larger `horizon` finds the
    same boundaries again more often after an edit. Raises InvalidArgumentError."""

    minimum: int = 256 * 1024
    horizon: int = 8 * 256 * 1024

    def __post_init__(self) -> None:
        if self.minimum < WINDOW or self.horizon < 0:
            raise InvalidArgumentError(
                f"minimum chunk size {self.minimum} or horizon {self.horizon} is too small: "
                f"want at least {WINDOW} and 0"
            )

    def lengths(self, data: Data) -> Iterator[int]:
        """The lengths of the chunks of these bytes, in order."""
        view, at = memoryview(data), 0
        while at < len(view):
            length = self._cut(view[at : at + 2 * self.minimum + self.horizon])
            yield length
            at += length

    def _cut(self, view: memoryview) -> int:
        """Cut at the best position, or at the best that leaves a whole chunk before that one.

        The hash's records are ascending, so the best before a limit is the last record there.
        """
        minimum = self.minimum
        if len(view) < 2 * minimum:
            return len(view)
        limit = len(view)
        for offset in reversed(self._records(view[: len(view) - minimum])):
            if offset <= limit:
                if offset < minimum:
                    return minimum + offset
                limit = offset - minimum
        raise AssertionError("the first record is at 0")

    def _records(self, view: memoryview) -> list[int]:
        """Where the hash after the minimum is larger than ever before, counted from there."""
        minimum = self.minimum
        best = 0
        for byte in view[minimum - WINDOW : minimum]:
            best = ((best << 1) + GEAR[byte]) & MASK_64
        value, found = best, [0]
        for offset, byte in enumerate(view[minimum:], 1):
            value = ((value << 1) + GEAR[byte]) & MASK_64
            if value > best:
                best = value
                found.append(offset)
        return found
