"""Content-defined chunking: the two functions of REAPI 2.12, `FAST_CDC_2020` and `REP_MAX_CDC`.

Both run a Gear hash over the bytes, `h = (h << 1) + GEAR[byte]` modulo 2^64, so a hash depends on
the last 64 bytes only and a boundary on the content around it. FAST_CDC_2020 cuts where the hash
has zeros under a mask (Xia et al., "The Design of Fast Content-Defined Chunking", 2020, level 2
normalisation), which pyfastcdc does; tests compare it with the published vectors and with the
plain loop. REP_MAX_CDC cuts where the hash is largest within a horizon, which keeps every chunk
between `min` and `2 * min`; no library has it, so `gear` finds the largest.

A chunker makes cutters; a cutter is for one blob and is given, again and again, what follows the
last cut. Speed: 450 MB/s for FAST_CDC_2020; for REP_MAX_CDC 100 MB/s with numpy, 9 without.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from builder.base.errors import InvalidArgumentError
from builder.reapi.gear import WINDOW, Largest, fastest_largest

Data = bytes | memoryview


class Cutter(Protocol):
    """One blob on its way through a chunker."""

    def cut(self, view: memoryview) -> int:
        """The length of the next chunk. `view` begins where the last one ended; it has the
        chunker's `lookahead` bytes, or all that are left."""
        ...


class Chunker(Protocol):
    @property
    def lookahead(self) -> int: ...

    @property
    def worth(self) -> int:
        """Blobs below this size are one chunk."""
        ...

    def cutter(self) -> Cutter: ...


def lengths(chunker: Chunker, data: Data) -> Iterator[int]:
    """The lengths of the chunks of these bytes, in order."""
    view, at, cutter = memoryview(data), 0, chunker.cutter()
    while at < len(view):
        length = cutter.cut(view[at : at + chunker.lookahead])
        yield length
        at += length


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

    @property
    def lookahead(self) -> int:
        return self.average * 4

    @property
    def worth(self) -> int:
        return self.average * 4

    def cutter(self) -> "FastCutter":
        return FastCutter(self.average, self.seed)


class FastCutter:
    """Remembers nothing: the hash begins anew in each chunk."""

    def __init__(self, average: int, seed: int) -> None:
        from pyfastcdc import FastCDC  # late: few services are asked to cut

        sizes = {"min_size": average // 4, "max_size": average * 4}
        self._chunker = FastCDC(average, **sizes, normalized_chunking=2, seed=seed)

    def cut(self, view: memoryview) -> int:
        for chunk in self._chunker.cut_buf(view):
            return chunk.length
        return 0


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

    @property
    def lookahead(self) -> int:
        return 2 * self.minimum + self.horizon

    @property
    def worth(self) -> int:
        return 2 * self.minimum

    def cutter(self) -> "RepMaxCutter":
        return RepMaxCutter(self.minimum, *_largest())


@cache
def _largest() -> tuple[Largest, int]:
    return fastest_largest()  # late: few services are asked to cut


class RepMaxCutter:
    """Remembers the largest hash of each whole block, for the next chunks look there again."""

    def __init__(self, minimum: int, largest: Largest, block: int) -> None:
        self._minimum = minimum
        self._largest = largest
        self._block = block  # positions
        self._at = 0  # where the view begins, in the blob
        self._blocks: dict[int, tuple[int, int]] = {}  # block -> largest hash, its position

    def cut(self, view: memoryview) -> int:
        """Cut at the best position, or at the best that leaves a whole chunk before that one."""
        minimum = self._minimum
        if len(view) < 2 * minimum:
            length = len(view)
        else:
            length = len(view) - minimum
            while True:
                length = self._best(view, minimum, length)
                if length < 2 * minimum:
                    break
                length -= minimum
        self._at += length
        gone = self._at // self._block
        self._blocks = {n: found for n, found in self._blocks.items() if n >= gone}
        return length

    def _best(self, view: memoryview, first: int, last: int) -> int:
        """The first of the positions with the largest hash, from `first` to `last`, both in."""
        here, end, best, where = self._at + first, self._at + last + 1, -1, 0
        while here < end:
            block = here // self._block
            stop = min((block + 1) * self._block, end)
            whole = stop - here == self._block
            found = self._blocks.get(block) if whole else None
            if found is None:
                value, place = self._largest(view[here - self._at - WINDOW : stop - self._at - 1])
                found = value, here + place
                if whole:
                    self._blocks[block] = found
            if found[0] > best:
                best, where = found
            here = stop
        return where - self._at
