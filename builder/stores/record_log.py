"""Records in segments: the log of small blobs (`log`), with values that may be replaced.

Theory of operation. A record's key is the BLAKE3 of its name; its data begins with a check of key
and value, so that a start knows what is whole. What is replaced is struck off in the journal: else
a start that walks the segments could find the older value once the newer one was evicted. Nothing
is promised, so what was used the longest time ago goes: cleaning keeps the rest.
"""

import math
import os
from collections import Counter
from collections.abc import Callable

from blake3 import blake3

from builder.stores.checks import check_of
from builder.stores.folder import Folder
from builder.stores.leases import Leases
from builder.stores.log import OFFSET, SegmentLog
from builder.stores.log_keeper import LogKeeper
from builder.stores.packing import PLAIN
from builder.stores.sealing import CHECK, sealed, unsealed
from builder.stores.segment import FUNCTIONS, PLACE, SMALL, START, Record, header
from builder.stores.table import ENTRY, Entry

FUNCTION = "blake3"  # what the keys are
NUMBER = FUNCTIONS.index(FUNCTION)
WIDTH = 32
LONGEST = SMALL - CHECK - 1  # bytes of a value
OLD = 4  # 1/OLD of all bytes may go at a time


class RecordLog:
    """One owner. Nothing is known before `keeper.load`."""

    def __init__(self, folder: Folder, segment_bytes: int, now: Callable[[], float]) -> None:
        self.log = SegmentLog(folder, segment_bytes, Leases(0.0), pack=False, is_whole=_is_whole)
        self.keeper = LogKeeper(self.log, now)
        self._table = self.log.table(FUNCTION)
        self._now = now

    async def load(self) -> None:
        """Learn what an earlier process left. Idempotent."""
        await self.keeper.load()
        self._table = self.log.table(FUNCTION)

    def holds(self, name: str) -> bool:
        return self._table.find(_key(name)) is not None

    def get(self, name: str) -> bytes | None:
        """A record, read in place: it is a few kilobytes. Raises OSError."""
        key = _key(name)
        entry = self._table.find(key)
        if entry is None:
            return None
        now = self._now()
        segment, start = self.log.segments[entry.place >> PLACE], START + WIDTH
        offset = (entry.place & OFFSET) + start
        stored = os.pread(segment.descriptor, entry.length - start, offset)
        if check_of(stored) != entry.check and unsealed(stored, key.hex()) is None:
            self.log.lose(FUNCTION, key)
            return None
        self.log.use(FUNCTION, key, entry, now)
        return stored[CHECK:]

    def has_room(self, value: bytes) -> bool:
        """Whether it fits into the active segment."""
        return self.log.has_room(CHECK + len(value))

    def put(self, name: str, value: bytes) -> None:
        """There has to be room. Raises OSError, and then nothing has changed.

        Hot, and so as `single.write_one` in one piece: a coordinator puts one for each action.
        """
        log, key, table = self.log, _key(name), self._table
        segment = log.active
        assert segment is not None
        stored = sealed(value, key.hex())
        size, used = len(stored), log.leases.tick(self._now())
        length, check = START + WIDTH + size, check_of(stored)
        start = header(segment.number, NUMBER, used, size, PLAIN, size)
        place = segment.number << PLACE | segment.append((start, key, stored))
        old = table.find(key)
        if old is None:
            table.add(key, ENTRY.pack(used, size, length, place, check))
            segment.count(used, length)
            log.changes += 1
        else:
            log.set(FUNCTION, key, Entry(used, size, length, place, check))
            log.strike(FUNCTION, key, old)

    def forget(self, name: str) -> None:
        """It is kept elsewhere from now on."""
        key = _key(name)
        old = self.log.drop(FUNCTION, key) if self._table.find(key) is not None else None
        if old is not None:
            self.log.strike(FUNCTION, key, old)

    async def evict(self, before: int, rival: float | None) -> bool:
        """Clean one of the segments below that number, the one that is worth it most.

        False when there is none, or when what the `rival` has was used before it.
        """
        leases = self.log.leases
        leases.free_until = self._old()
        found = await self.keeper.candidate(before)
        if found is None:  # too little of any one
            leases.free_until = math.inf
            found = await self.keeper.candidate(before)
        if found is None or (rival is not None and found.used > rival):
            return False
        await self.keeper.clean(found.segment)
        return True

    def _old(self) -> float:
        """Until when the oldest part of all bytes was used."""
        ticks: Counter[int] = Counter()
        for segment in self.log.segments.values():
            ticks.update(segment.ticks)
        left = ticks.total() / OLD
        for used in sorted(ticks):
            left -= ticks[used]
            if left <= 0:
                return used
        return math.inf


def _key(name: str) -> bytes:
    return blake3(name.encode()).digest()


def _is_whole(record: Record) -> bool:
    return unsealed(bytes(record.data), record.key.hex()) is not None
