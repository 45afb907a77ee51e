"""Hot: many small blobs of the segments at once.

What was written together lies together and is mostly read together, so reads that are neighbours
in a segment are one system call, and so is all that a batch writes. For the rest, a blob costs its
look-up and its check: 1.5 us to read a kilobyte, 4 us to write it, where one call each takes 4 and
12 (`python -m tests.bench store`, and `wire` with framing: figures.batch_read_blobs_per_s).

All here is about the usual case. What is not usual - a lease to be renewed, bytes that are not in
the page cache or fail their check, a blob that is there already, no room - is left to the caller,
who asks for that blob alone.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256

from builder.base.digest import HEX_LENGTHS, digest_of
from builder.stores.checks import check_of
from builder.stores.log import OFFSET, SegmentLog
from builder.stores.packing import ZSTD, unpacked
from builder.stores.segment import FUNCTIONS, HEADER, PLACE, header
from builder.stores.table import Entry, Location
from builder.stores.warm import LONGEST

GAP = 4096  # bytes between two blobs that are read with them rather than apart


def read_many(
    log: SegmentLog, function: str, keys: bytes, sizes: Sequence[int], now: float
) -> list[bytes | None]:
    """The blobs whose hashes are joined in `keys`; None: ask for that one. Raises OSError."""
    found = log.table(function).locate(keys, sizes, int(now) - log.leases.tick_s)
    answer: list[bytes | None] = [None] * len(sizes)
    before = HEADER.size + HEX_LENGTHS[function] // 2
    for start, end, some in runs(found):
        window = log.reads.read(log.segments[start >> PLACE], start & OFFSET, end - start, now)
        if window is not None:
            _cut(window, start - before, some, before, answer)
    return answer


def runs(found: Sequence[Location]) -> Iterator[tuple[int, int, Sequence[Location]]]:
    """What is read together: from which place to which one, and what of it is wanted."""
    first = 0
    while first < len(found):
        start, last = found[first][0], first
        end = start + found[first][2]
        for at in range(first + 1, len(found)):
            place, _, length, _, _ = found[at]
            if place - end > GAP or place + length - start > LONGEST:
                break
            end, last = max(end, place + length), at
        yield start, end, found[first : last + 1]
        first = last + 1


def _cut(
    window: bytes, base: int, found: Sequence[Location], before: int, answer: list[bytes | None]
) -> None:
    """Put the blobs of a window into the answer; `base` is its place, less what precedes data."""
    for place, index, length, size, check in found:
        at = place - base
        data = window[at : at + length - before]
        if check_of(data) != check:
            continue
        if len(data) == size:
            answer[index] = data
            continue
        try:
            answer[index] = unpacked(ZSTD, data, size)
        except ValueError:
            continue


def write_many(
    log: SegmentLog, function: str, keys: bytes, blobs: Sequence[bytes], now: float
) -> list[bool]:
    """Whether each blob is stored now; False: put that one. Raises OSError, and then none is.

    `keys` are the hashes, joined, that the blobs should have.
    """
    segment = log.active
    if segment is None:
        return [False] * len(blobs)
    table, width = log.table(function), HEX_LENGTHS[function] // 2
    strange = table.strange(keys)
    used, number = log.leases.tick(now), FUNCTIONS.index(function)
    offset, room = segment.tail, segment.open_bytes()
    parts: list[bytes] = []
    entries: dict[bytes, Entry] = {}
    stored = [False] * len(blobs)
    for index, data in enumerate(blobs):
        key = keys[index * width : index * width + width]
        if not data or not strange[index] or key in entries or not _is_named(key, function, data):
            continue
        how, packed = log.pack(data)
        length = HEADER.size + width + len(packed)
        room -= length
        if room < 0:
            break
        parts += (header(segment.number, number, used, len(data), how, len(packed)), key, packed)
        place = segment.number << PLACE | offset
        entries[key] = Entry(used, len(data), length, place, check_of(packed))
        offset += length
        stored[index] = True
    if entries:
        log.append_many(function, b"".join(parts), entries)
    return stored


def _is_named(key: bytes, function: str, data: bytes) -> bool:
    if function == "sha256":
        return sha256(data).digest() == key
    return digest_of(data, function).hash == key.hex()
