"""Small blobs in append-only segments: `{root}/segments/{number}.seg`.

Theory of operation. A write is one `pwritev` at the tail of the active segment, which outlives
the death of the process; a read is one `pread` and a check of what it gave (`checks`). The hash
is verified when a blob is written, when a start finds it, by an audit, and whenever the check is
wrong. The tables in memory say what is where; `checkpoint` writes them down now and
then, and what came after is found again by walking the last segments and by the journal, which
holds renewed leases and losses.

Each segment knows how many of its bytes were last used in which tick, so it is known without
looking how much of it may go. A segment is given back by `cleaning`: what is promised moves to
the tail, the rest is forgotten. One spare file of a segment's size is always kept, so that there
is room to move even on a disk that is full.
"""

import contextlib
import os
from collections.abc import Callable, Sequence

from builder.base.digest import HEX_LENGTHS, Digest, digest_of
from builder.stores.ages import by_age
from builder.stores.checks import check_of
from builder.stores.folder import Folder
from builder.stores.interface import NamedT
from builder.stores.journal import DROPPED, RENEWED, Journal
from builder.stores.leases import Leases
from builder.stores.packing import PLAIN, ZSTD, Packer, pays, unpacked
from builder.stores.segment import FUNCTIONS, HEADER, PLACE, Record, Segment, header
from builder.stores.table import Entry, Table
from builder.stores.warm import WarmReads

OFFSET = (1 << PLACE) - 1
FIRST = 4 * 1024 * 1024  # bytes of the first segments


class SegmentLog:
    """The blobs of at most SMALL bytes. One owner; all methods are synchronous."""

    def __init__(
        self,
        folder: Folder,
        segment_bytes: int,
        leases: Leases,
        pack: bool,
        is_whole: Callable[[Record], bool] = Record.is_whole,
    ) -> None:
        """A segment has at most `segment_bytes`. `is_whole` judges what a start finds."""
        self.root = f"{folder.root}/segments"
        self.spare_path = f"{self.root}/spare"
        self.folder = folder
        self._most = segment_bytes
        self.leases = leases
        self.is_whole = is_whole
        self.tables: dict[str, Table] = {}
        self.segments: dict[int, Segment] = {}
        self.active: Segment | None = None
        self.journal = Journal(self.root)
        self.changes = 0  # since the last checkpoint
        self.spare_bytes = 0
        self.next_number = 1
        self.lost = 0
        self.evicted = 0
        self.evicted_bytes = 0
        self._packer = Packer() if pack else None
        self.reads = WarmReads(folder.read_flags)

    @property
    def blobs(self) -> int:
        return sum(table.count for table in self.tables.values())

    @property
    def used_bytes(self) -> int:
        """What the segments and the spare one take of the disk."""
        return sum(segment.room for segment in self.segments.values()) + self.spare_bytes

    def leased_bytes(self, now: float) -> int:
        """Of records that are promised to clients."""
        free = self.leases.latest_free(now)
        return sum(
            size
            for segment in self.segments.values()
            for used, size in segment.ticks.items()
            if used > free
        )

    def ages(self, now: float) -> tuple[int, ...]:
        """Bytes of records by the time since their last use, see `ages`."""
        ticks = (one for segment in self.segments.values() for one in segment.ticks.items())
        return by_age(ticks, now)

    @property
    def segment_bytes(self) -> int:
        """Of the next segment: an eighth of what there is, so that a small store stays small."""
        return max(min(FIRST, self._most), min(self._most, self.used_bytes // 8))

    def table(self, function: str) -> Table:
        table = self.tables.get(function)
        if table is None:
            table = self.tables[function] = Table(HEX_LENGTHS[function] // 2)
        return table

    def absent(
        self, function: str, digests: Sequence[NamedT], limit: int, now: float
    ) -> tuple[dict[tuple[str, int], NamedT], list[NamedT]]:
        """Those not here, by (hash, size), and those of `limit` bytes and more, not looked for.

        The leases of the others begin again.
        """
        tick = self.leases.tick(now)
        missing, large, renewed = self.table(function).absent(digests, tick, limit)
        if renewed:
            for _, old in renewed:
                self._moved(old, old._replace(used=tick))
            self._journal(RENEWED, function, [(key, old, tick) for key, old in renewed])
        return missing, large

    def renew(self, function: str, keys: bytes, sizes: Sequence[int], now: float) -> list[bool]:
        """For each of the joined hashes whether its blob is here, and then renewed."""
        tick, number = self.leases.tick(now), FUNCTIONS.index(function)
        here, renewed = self.table(function).renew(keys, sizes, tick)
        moved: dict[tuple[int, int], int] = {}
        for key, used, length, place in renewed:
            where = (place >> PLACE, used)
            moved[where] = moved.get(where, 0) + length
            self.journal.add(RENEWED, number, tick, place, key)
        for (segment, used), size in moved.items():
            self.segments[segment].count(used, -size)
            self.segments[segment].count(tick, size)
        self.changes += len(renewed)
        self.journal.flush()
        return here

    def find(self, digest: Digest, now: float) -> Entry | None:
        """The blob's entry, renewed."""
        table = self.table(digest.function)
        key = table.key(digest.hash)
        entry = None if key is None else table.find(key)
        if key is None or entry is None or entry.size != digest.size_bytes:
            return None
        self.use(digest.function, key, entry, now)
        return entry

    def use(self, function: str, key: bytes, entry: Entry, now: float) -> None:
        """It is used in this tick."""
        tick = self.leases.tick(now)
        if entry.used < tick:
            self.set(function, key, entry._replace(used=tick))
            self._journal(RENEWED, function, [(key, entry, tick)])

    def size(self, function: str, hash_: str) -> int | None:
        table = self.table(function)
        key = table.key(hash_)
        entry = None if key is None else table.find(key)
        return None if entry is None else entry.size

    def has_room(self, size: int) -> bool:
        """Whether a blob of this size fits into the active segment."""
        most = HEADER.size + 64 + size
        return self.active is not None and self.active.open_bytes() >= most

    def next_path(self) -> str:
        """Where the file of the next segment belongs."""
        return f"{self.root}/{self.next_number:08x}.seg"

    def begin(self, path: str, room: int) -> None:
        """The file at `next_path` becomes the active segment (`opening`). Raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        number = self.next_number
        self.next_number += 1
        self.active = self.segments[number] = Segment(number, path, descriptor, room)

    def append(
        self, digest: Digest, data: bytes, now: float, frame: bytes | None = None
    ) -> tuple[Segment, bytes, Entry]:
        """Write verified bytes down, as the frame of them if there is one; `set` makes them the
        blob. Raises OSError.

        There has to be room in the active segment.
        """
        how, stored = self.pack(data) if frame is None else (ZSTD, frame)
        key = bytes.fromhex(digest.hash)
        fresh = Entry(self.leases.tick(now), len(data), 0, 0, check_of(stored))
        return self.append_raw(digest.function, key, fresh, how, stored)

    def pack(self, data: bytes) -> tuple[int, bytes]:
        """(how, the bytes to store)."""
        return (PLAIN, data) if self._packer is None else self._packer.packed(data)

    def packs(self, frame: bytes, size: int) -> bool:
        """Whether a blob of `size` bytes is kept as this frame."""
        return self._packer is not None and pays(size, len(frame))

    def append_many(self, function: str, records: bytes, entries: dict[bytes, Entry]) -> None:
        """Write down whole records of blobs that are new, and hold them. Raises OSError.

        There has to be room in the active segment, at whose tail the entries say that they lie.
        """
        segment = self.active
        assert segment is not None
        segment.append([records])
        table = self.table(function)
        for key, entry in entries.items():
            table.put(key, entry)
            segment.count(entry.used, entry.length)
        self.changes += len(entries)

    def append_raw(
        self, function: str, key: bytes, entry: Entry, how: int, stored: bytes
    ) -> tuple[Segment, bytes, Entry]:
        """Write down bytes that `entry` is the check of; the entry with its new place."""
        segment = self.active
        assert segment is not None
        number = FUNCTIONS.index(function)
        start = header(segment.number, number, entry.used, entry.size, how, len(stored))
        offset = segment.append([start, key, stored])
        length = len(start) + len(key) + len(stored)
        place = segment.number << PLACE | offset
        return segment, key, Entry(entry.used, entry.size, length, place, entry.check)

    def set(self, function: str, key: bytes, entry: Entry) -> None:
        """Held from now on, there."""
        old = self.table(function).put(key, entry)
        self._moved(old, entry)
        self.changes += 1

    def put(self, digest: Digest, data: bytes, now: float, frame: bytes | None = None) -> None:
        """Append and set."""
        _, key, entry = self.append(digest, data, now, frame)
        self.set(digest.function, key, entry)

    def drop(self, function: str, key: bytes) -> Entry | None:
        """Held no more, for whatever reason."""
        old = self.table(function).drop(key)
        self._moved(old, None)
        self.changes += 1
        return old

    def lose(self, function: str, key: bytes) -> None:
        """Promised, and damaged."""
        self.lost += 1
        old = self.drop(function, key)
        if old is not None:
            self.strike(function, key, old)

    def strike(self, function: str, key: bytes, old: Entry) -> None:
        """What lies there is not to be found again by a start."""
        self._journal(DROPPED, function, [(key, old, old.used)])

    def evict(self, function: str, key: bytes) -> None:
        old = self.drop(function, key)
        if old is not None:
            self.evicted += 1
            self.evicted_bytes += old.size

    def read_cached(self, entry: Entry, digest: Digest, now: float) -> bytes | None:
        """The stored bytes if that does not wait for the disk. Raises OSError."""
        return self.reads.read(*self.where(entry, digest), now)

    def where(self, entry: Entry, digest: Digest) -> tuple[Segment, int, int]:
        """(segment, offset of the data in it, its stored bytes)."""
        before = HEADER.size + len(digest.hash) // 2
        segment = self.segments[entry.place >> PLACE]
        return segment, (entry.place & OFFSET) + before, entry.length - before

    def give_back(self, segment: Segment) -> str | None:
        """A segment without entries: its file becomes the spare one, or is to be removed.

        Returns the path of what is to be removed, which takes long. Raises OSError.
        """
        assert segment.live_bytes == 0
        assert segment is not self.active
        del self.segments[segment.number]
        segment.gone = True
        segment.leave()
        if self.spare_bytes:
            grave = self.folder.temporary()
            os.rename(segment.path, grave)
            return grave
        os.rename(segment.path, self.spare_path)
        self.spare_bytes = segment.room
        return None

    def clear(self) -> None:
        """Forget what a start has found that the disk did not let come to its end."""
        for segment in self.segments.values():
            os.close(segment.descriptor)
        self.segments.clear()
        self.tables.clear()
        self.active = None
        self.spare_bytes = self.changes = 0

    def close(self) -> None:
        self.journal.close()
        for segment in self.segments.values():
            segment.gone = True
            segment.leave()

    def check(self) -> None:
        """Invariants: what the segments count is what the entries say."""
        ticks: dict[int, dict[int, int]] = {number: {} for number in self.segments}
        for table in self.tables.values():
            entries = [entry for _, entry in table.items()]
            assert len(entries) == table.count
            for entry in entries:
                counted = ticks[entry.place >> PLACE]
                counted[entry.used] = counted.get(entry.used, 0) + entry.length
        assert ticks == {number: s.ticks for number, s in self.segments.items()}

    def _moved(self, old: Entry | None, new: Entry | None) -> None:
        """Count an entry where it is now and no more where it was."""
        if old is not None and (segment := self.segments.get(old.place >> PLACE)) is not None:
            segment.count(old.used, -old.length)
        if new is not None:
            self.segments[new.place >> PLACE].count(new.used, new.length)

    def _journal(self, what: int, function: str, news: list[tuple[bytes, Entry, int]]) -> None:
        number = FUNCTIONS.index(function)
        for key, entry, used in news:
            self.journal.add(what, number, used, entry.place, key)
        self.changes += len(news)
        self.journal.flush()


def checked(entry: Entry, digest: Digest, stored: bytes) -> bytes | None:
    """The blob of these stored bytes, by their check; what that doubts is hashed."""
    if check_of(stored) == entry.check:
        if len(stored) == entry.size:
            return stored
        with contextlib.suppress(ValueError):
            return unpacked(ZSTD, stored, entry.size)
    return verified(entry, digest, stored)


def verified(entry: Entry, digest: Digest, stored: bytes) -> bytes | None:
    """The blob of these stored bytes; None when they are damaged."""
    how = PLAIN if len(stored) == entry.size else ZSTD
    try:
        data = unpacked(how, stored, entry.size)
    except ValueError:
        return None
    return data if digest_of(data, digest.function) == digest else None
