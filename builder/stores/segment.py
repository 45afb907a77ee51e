"""One append-only file of small blobs: what a record looks like, and how a file is walked.

    header  number of the segment, last use, size, bytes of data, function, packing, check
    key     the hash
    data    as it is, or as one Zstandard frame

A file is given its whole room when it is made, so that appending to it cannot run out of disk. It
may be a former segment's: what that one held has another number, and so ends the walk.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from builder.base.digest import HEX_LENGTHS, digest_of
from builder.stores.packing import unpacked

HEADER = struct.Struct("<IIIIBBxxI")
START = HEADER.size
FUNCTIONS = tuple(HEX_LENGTHS)  # their order is part of the format: append only
WIDTHS = [length // 2 for length in HEX_LENGTHS.values()]
SMALL = 64 * 1024  # bytes that a blob here has at most
LONGEST = HEADER.size + max(WIDTHS) + SMALL
WINDOW = 4 * 1024 * 1024  # bytes that a walk reads at once
WARM = 128 * 1024  # bytes behind the tail whose pages are made at once
ZEROS = memoryview(bytes(WARM))
PLACE = 32  # a place is the segment's number << PLACE | offset of the record


class Record(NamedTuple):
    """`offset` and `length` are of the whole record in its file."""

    function: str
    key: bytes
    used: int
    size: int
    packing: int
    offset: int
    length: int
    data: memoryview

    def is_whole(self) -> bool:
        """Whether the data is what the key names."""
        try:
            data = unpacked(self.packing, self.data, self.size)
        except ValueError:
            return False
        found = digest_of(data, self.function)
        return len(data) == self.size and found.hash == self.key.hex()


def header(number: int, function: int, used: int, size: int, packing: int, stored: int) -> bytes:
    """What stands before a record's key."""
    start = HEADER.pack(number, used, size, stored, function, packing, 0)[:-4]
    return start + crc32(start).to_bytes(4, "little")


def walk(descriptor: int, number: int, start: int, stop: int) -> Iterator[Record]:
    """The records from `start` to `stop`, in order. Raises OSError.

    Behind bytes that are no record it looks for the next one, as far as one window goes.
    """
    at = start
    while at < stop:
        window = memoryview(os.pread(descriptor, min(WINDOW, stop - at), at))
        done = 0
        for record in parsed(window, number, at):
            yield record
            done = record.offset + record.length - at
        if not done:
            return
        at += done


def parsed(window: memoryview, number: int, base: int) -> Iterator[Record]:
    """The whole records of a window that begins at `base`."""
    at = 0
    owner = number.to_bytes(4, "little")
    whole = window.obj if isinstance(window.obj, bytes) else bytes(window)
    while at >= 0:
        record = parse(window, at, number, base)
        if record is None:
            at = whole.find(owner, at + 1)
        else:
            yield record
            at += record.length


def parse(window: memoryview, at: int, number: int, base: int) -> Record | None:
    """The record at `at` of a window that begins at `base`; None if it is not all there.

    Whether its data is what its key names is another question.
    """
    if len(window) - at < HEADER.size:
        return None
    owner, used, size, stored, function, packing, check = HEADER.unpack_from(window, at)
    if owner != number or crc32(window[at : at + HEADER.size - 4]) != check:
        return None
    if function >= len(WIDTHS):
        return None
    key_at = at + HEADER.size
    data_at = key_at + WIDTHS[function]
    end = data_at + stored
    if end > len(window):
        return None
    key = bytes(window[key_at:data_at])
    data = window[data_at:end]
    return Record(FUNCTIONS[function], key, used, size, packing, base + at, end - at, data)


@dataclass(slots=True, eq=False)
class Segment:
    """An open file; `ticks` says how many bytes of records were last used in which tick."""

    number: int
    path: str
    descriptor: int
    room: int  # bytes of the file
    tail: int = 0
    warm: int = 0  # up to here the pages are in memory
    pending: int = 0  # records that no entry points to yet
    readers: int = 0  # in threads
    gone: bool = False
    ticks: dict[int, int] = field(default_factory=dict)

    def leave(self) -> None:
        """A reader is done, or the file is given back: closed when nobody needs it any more."""
        if self.gone and not self.readers and self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def open_bytes(self) -> int:
        return self.room - self.tail

    @property
    def live_bytes(self) -> int:
        return sum(self.ticks.values())

    def count(self, tick: int, size: int) -> None:
        """`size` more bytes (or less) were last used in `tick`."""
        now = self.ticks.get(tick, 0) + size
        if now:
            self.ticks[tick] = now
        else:
            self.ticks.pop(tick, None)

    def append(self, parts: Sequence[bytes]) -> int:
        """Write at the tail; the offset. Raises OSError, and then nothing is appended."""
        length = sum(map(len, parts))
        if self.tail + length > self.warm:
            self._warm_up(length)
        if os.pwritev(self.descriptor, parts, self.tail) != length:
            whole = b"".join(parts)
            done = 0
            while done < length:
                done += os.pwrite(self.descriptor, whole[done:], self.tail + done)
        offset = self.tail
        self.tail += length
        return offset

    def _warm_up(self, length: int) -> None:
        """Have the pages of the next appends in memory: many at once cost a tenth of one by one.

        A kilobyte that lies in a page which is there costs 1 us, one that needs a new page 2.
        """
        self.warm = self.tail + length
        ahead = min(WARM, self.room - self.warm)
        if length < WARM and ahead > 0:
            os.pwrite(self.descriptor, ZEROS[:ahead], self.warm)
            self.warm += ahead
