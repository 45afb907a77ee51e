"""Hot: reads of segments that do not wait for the disk.

Theory of operation. A `pread` of what is in the page cache takes 0.8 us; a `preadv2` that refuses
to wait takes three, because Python builds more around it, but may be asked of anything. So it is
asked once a second for each megabyte that is read whether all of it is cached: a plain read is
for those that are, the other for the rest, and a thread for what that one refuses. Memory would
have to run out within that second for a plain read to wait, and then it waits for one block.
"""

import os

from builder.host.page_cache import is_cached
from builder.stores.segment import PLACE, Segment

REGION = 20  # bits of an offset within a region
LONGEST = 256 * 1024  # bytes of a read, which may reach into the next region
REGIONS = 4096  # known at once
TRUSTED_S = 1.0
NEVER = float("-inf")


class WarmReads:
    """`flags` make `preadv2` refuse to wait; 0: nothing on this file system ever does.

    `warm` holds the regions (places less REGION bits) that were found cached, and when.
    """

    def __init__(self, flags: int) -> None:
        self._flags = flags
        self.warm: dict[int, float] = {}
        self._cold: dict[int, float] = {}

    def read(self, segment: Segment, offset: int, size: int, now: float) -> bytes | None:
        """At most LONGEST bytes; None: they have to be waited for. Raises OSError."""
        if self._is_warm(segment, (segment.number << PLACE | offset) >> REGION, now):
            return os.pread(segment.descriptor, size, offset)
        buffer = bytearray(size)
        try:
            count = os.preadv(segment.descriptor, (buffer,), offset, self._flags)
        except BlockingIOError:
            return None
        return bytes(buffer) if count == size else None

    def _is_warm(self, segment: Segment, region: int, now: float) -> bool:
        for known, answer in ((self.warm, True), (self._cold, False)):
            if 0.0 <= now - known.get(region, NEVER) < TRUSTED_S:
                return answer
        start = region << REGION & ((1 << PLACE) - 1)
        stop = min(start + (1 << REGION) + LONGEST, segment.tail)
        warm = not self._flags or is_cached(segment.descriptor, start, stop - start)
        known = self.warm if warm else self._cold
        if len(known) >= REGIONS:
            known.clear()
        known[region] = now
        return warm
