"""Hot: one small blob of the segments, read or written.

A read is one look-up, one system call and one check: 3 us for two kilobytes. A write is one hash,
one look-up and one append: 8 us, a third of them the hash (`python -m tests.bench store`). What
costs one function call more here costs 2 % of either, so these two are longer than others.

As in `bulk`, all here is about the usual case, and the rest is the caller's.
"""

from hashlib import sha256
from os import pread

from xxhash import xxh3_64_intdigest

from builder.base.digest import Digest, digest_of
from builder.stores.checks import MASK, check_of
from builder.stores.log import OFFSET, SegmentLog
from builder.stores.segment import FUNCTIONS, HEADER, PLACE, START, header
from builder.stores.table import ENTRY
from builder.stores.warm import NEVER, REGION, TRUSTED_S


def read_one(log: SegmentLog, digest: Digest, now: float) -> bytes | None:
    """The blob if it is here, whole, as it was, and need not be waited for (preadv2(2)); renewed.

    Raises OSError.
    """
    hash_, size, function = digest
    if (table := log.tables.get(function)) is None or (found := table.look(hash_)) is None:
        return None
    used, held, length, place, check = found
    before = START + table.width
    if held != size or length != before + size:  # packed ones take the other way
        return None
    if used + log.leases.tick_s <= now:
        log.find(digest, now)
    segment, offset = log.segments[place >> PLACE], (place & OFFSET) + before
    data: bytes | None
    if 0.0 <= now - log.reads.warm.get(place >> REGION, NEVER) < TRUSTED_S:
        data = pread(segment.descriptor, size, offset)
    else:
        data = log.reads.read(segment, offset, size, now)
    return data if data is not None and xxh3_64_intdigest(data) & MASK == check else None


def write_one(log: SegmentLog, digest: Digest, data: bytes, now: float) -> bool:
    """Whether these bytes are a new blob, verified, and stored now. Raises OSError."""
    hash_, size, function = digest
    segment = log.active
    if segment is None or len(data) != size:
        return False
    if function == "sha256":
        key = sha256(data).digest()
        if key.hex() != hash_:
            return False
    elif digest_of(data, function) == digest:
        key = bytes.fromhex(hash_)
    else:
        return False
    table = log.table(function)
    how, stored = log.pack(data)
    length = HEADER.size + len(key) + len(stored)
    if segment.room - segment.tail < length or table.find(key) is not None:
        return False
    used = log.leases.tick(now)
    start = header(segment.number, FUNCTIONS.index(function), used, size, how, len(stored))
    place = segment.number << PLACE | segment.append((start, key, stored))
    table.add(key, ENTRY.pack(used, size, length, place, check_of(stored)))
    segment.count(used, length)
    log.changes += 1
    return True
