"""Giving segments back: what is promised moves to the tail, the rest is forgotten.

Theory of operation. A segment is worth cleaning when enough of it is dead or no longer promised.
Among those the one whose bytes were used the longest time ago goes first, so eviction follows the
order of use, to a segment's width. Reading and making files happen in a thread, settling in steps
of some records with other calls in between: none of them waits longer than for a neighbour's write.
"""

import os
from dataclasses import dataclass

import trio

from builder.stores.checks import check_of
from builder.stores.folder import remove
from builder.stores.log import SegmentLog
from builder.stores.opening import keep_spare, open_segment
from builder.stores.segment import PLACE, WINDOW, Record, Segment, parsed
from builder.stores.table import Entry

STEP = 24 * 1024  # bytes settled in one go, about 50 us
RECORD = 3 * 1024  # bytes that a record counts for besides its own
LOOKED_AT = 250  # ticks that are summed up in one go, about 50 us
WORTH = 2  # a segment is taken in the order of use if 1/WORTH of it may go
LEAST = 8  # and not at all if less than 1/LEAST of it may


@dataclass(frozen=True, slots=True)
class Candidate:
    """What could be given back, and when its bytes were used on the average."""

    segment: Segment
    free_bytes: int
    used: float


async def candidate(log: SegmentLog, now: float, before: int) -> Candidate | None:
    """The segment with a number below `before` to clean next; None when leases forbid it.

    The limit is what makes an end of moving to and fro: what is moved goes to higher numbers.
    """
    found = []
    free, looked_at = log.leases.latest_free(now), 0
    for segment in list(log.segments.values()):
        if segment.number >= before or segment is log.active or segment.pending:
            continue
        found.append(_judged(segment, free))
        looked_at += len(segment.ticks)
        if looked_at > LOOKED_AT:
            looked_at = 0
            await trio.lowlevel.checkpoint()
    worth = [c for c in found if c.free_bytes * WORTH >= c.segment.room]
    if worth:
        return min(worth, key=lambda c: c.used)
    best = max(found, key=lambda c: c.free_bytes, default=None)
    return None if best is None or best.free_bytes * LEAST < best.segment.room else best


def _judged(segment: Segment, free: float) -> Candidate:
    """`free` is as `Leases.latest_free` says."""
    ticks = segment.ticks
    kept = sum([size for used, size in ticks.items() if used > free])
    weighed = sum([used * size for used, size in ticks.items()])
    return Candidate(segment, segment.room - kept, weighed / segment.live_bytes if ticks else 0.0)


async def clean(log: SegmentLog, segment: Segment, now: float) -> None:
    """Empty a segment and give it back. Raises OSError; then it is as good as before."""
    first = log.next_number if log.active is None else log.active.number
    at = 0
    while segment.live_bytes and at < segment.room:
        segment.readers += 1
        try:
            data = await trio.to_thread.run_sync(
                os.pread, segment.descriptor, min(WINDOW, segment.room - at), at
            )
        finally:
            segment.readers -= 1
        start, spent = at, 0
        for record in parsed(memoryview(data), segment.number, at):
            spent += record.length + RECORD
            if spent > STEP:
                await trio.lowlevel.checkpoint()
                spent = 0
            await _settle(log, segment, record, now)
            at = record.offset + record.length
        if at == start:
            break
    if segment.live_bytes:
        await _forget(log, segment)
    if log.folder.fsync != "none":  # what was moved has to be as safe as it was
        for number in range(first, log.next_number):
            await trio.to_thread.run_sync(os.fdatasync, log.segments[number].descriptor)
    grave = log.give_back(segment)
    if grave is not None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(remove, grave)
    if not log.spare_bytes:
        await keep_spare(log)


async def _settle(log: SegmentLog, segment: Segment, record: Record, now: float) -> None:
    while (entry := _kept(log, segment, record, now)) is not None:
        if log.has_room(len(record.data)):
            data = bytes(record.data)
            _, key, moved = log.append_raw(record.function, record.key, entry, record.packing, data)
            log.set(record.function, key, moved)
            return
        await open_segment(log, may_take_spare=True)  # then it may be another entry


def _kept(log: SegmentLog, segment: Segment, record: Record, now: float) -> Entry | None:
    """The entry of a record that has to move; what nobody is promised is evicted."""
    entry = log.table(record.function).find(record.key)
    if entry is None or entry.place != segment.number << PLACE | record.offset:
        return None
    if log.leases.is_free(entry.used, now):
        log.evict(record.function, record.key)
        return None
    if check_of(record.data) != entry.check:  # what is damaged may not get a good check by moving
        log.lose(record.function, record.key)
        return None
    return entry


async def _forget(log: SegmentLog, segment: Segment) -> None:
    """What a damaged segment held and no walk finds: lost."""
    for function, table in log.tables.items():
        await trio.lowlevel.checkpoint()
        held = [key for key, entry in table.items() if entry.place >> PLACE == segment.number]
        for key in held:
            log.lose(function, key)
