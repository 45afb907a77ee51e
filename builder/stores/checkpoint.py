"""The tables on the disk, so that a million blobs are known again within a second.

A checkpoint `index` is written aside and renamed: one line of JSON, the tables' records, and a
BLAKE3 of all before. It begins with the turn of the journal, and is taken bucket by bucket while
the store goes on: what changes meanwhile is in the journal or behind the tail that the checkpoint
names, and both are read after it. Without a good checkpoint all segments are walked.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from blake3 import blake3

from builder.base.digest import HEX_LENGTHS
from builder.stores.checks import check_of
from builder.stores.folder import remove, write_all
from builder.stores.journal import DROPPED, lines, numbers
from builder.stores.log import SegmentLog
from builder.stores.segment import FUNCTIONS, LONGEST, PLACE, Segment, walk
from builder.stores.table import BUCKETS, Entry, Table

FORMAT = "builder small blobs 3"  # 1 had no checks of the data, 2 had other ones
SLICE = 128  # buckets that are copied in one go, below 100 us for a million blobs


@dataclass(frozen=True, slots=True)
class Covered:
    """What a checkpoint holds: segments before `number`, that one to `tail`, older journals."""

    journal: int
    number: int
    tail: int
    ticks: dict[str, list[tuple[int, int]]] | None  # of each segment, if nothing changed meanwhile


class Checkpoint:
    """One being written; take all slices, then `write` in a thread or here."""

    def __init__(self, log: SegmentLog) -> None:
        self._log = log
        os.makedirs(log.root, exist_ok=True)
        active = log.active
        number, tail = (log.next_number, 0) if active is None else (active.number, active.tail)
        pending = [s for s in log.segments.values() if s.pending]
        if pending:  # their records are not in the tables yet
            number, tail = min(s.number for s in pending), 0
        self._covered = Covered(log.journal.turn(), number, tail, None)
        self._changes = log.changes
        self._ticks: dict[int, list[tuple[int, int]]] | None = None
        self._slices: dict[str, list[bytes]] = {function: [] for function in log.tables}

    def slices(self) -> Iterator[None]:
        """Copies a piece of the tables at each step; other calls may go on in between."""
        for function, slices in self._slices.items():
            for start in range(0, BUCKETS, SLICE):
                slices.append(self._log.tables[function].dump(start, start + SLICE))
                yield
        if self._log.changes == self._changes:  # else they are counted at the next start
            self._ticks = {n: list(s.ticks.items()) for n, s in self._log.segments.items()}

    def write(self) -> None:
        """Blocks for the disk. Raises OSError; the checkpoint before is good then."""
        covered = self._covered
        tables = {function: sum(map(len, s)) for function, s in self._slices.items()}
        first = {
            "format": FORMAT,
            "journal": covered.journal,
            "segment": covered.number,
            "tail": covered.tail,
            "tables": tables,
            "ticks": self._ticks,
        }
        state = blake3()
        aside = f"{self._log.root}/index.new"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            try:
                every = [piece for slices in self._slices.values() for piece in slices]
                for piece in (json.dumps(first).encode() + b"\n", *every):
                    state.update(piece)
                    write_all(descriptor, piece)
                write_all(descriptor, state.digest())
                self._log.folder.sync_data(descriptor)
            finally:
                os.close(descriptor)
            os.rename(aside, f"{self._log.root}/index")
        except OSError:
            remove(aside)
            raise
        self._log.journal.forget(covered.journal)

    def done(self) -> None:
        """After a good `write`."""
        self._log.changes -= self._changes


def checkpoint(log: SegmentLog) -> None:
    """Write the tables down in one go. Raises OSError."""
    one = Checkpoint(log)
    for _ in one.slices():
        pass
    one.write()
    one.done()


def restore(log: SegmentLog, latest: int) -> None:
    """Fill a log from its directory; nothing was used after `latest`. Raises OSError.

    Made for a thread, while nobody else uses the log. It may be tried again after an error.
    """
    log.clear()
    if not os.path.isdir(log.root):
        return
    _open_files(log)
    covered = _read_index(log)
    if covered is not None and not _counted(log, covered):
        _count(log)
    start, tail = (0, 0) if covered is None else (covered.number, covered.tail)
    for number in sorted(log.segments):
        if number >= start:
            _walk(log, log.segments[number], tail if number == start else 0, latest)
    for number in numbers(log.root):
        _replay(log, number, latest)
        log.journal.number = max(log.journal.number, number)
    if covered is not None:
        log.journal.number = max(log.journal.number, covered.journal)
    log.journal.number += 1  # the last line of the one before may be cut short
    log.active = log.segments[max(log.segments)] if log.segments else None


def _open_files(log: SegmentLog) -> None:
    for name in os.listdir(log.root):
        path = f"{log.root}/{name}"
        if name == "spare":
            log.spare_bytes = os.stat(path).st_size
        elif name.endswith(".seg"):
            number = int(name.removesuffix(".seg"), 16)
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            room = os.fstat(descriptor).st_size
            log.segments[number] = Segment(number, path, descriptor, room)
            log.next_number = max(log.next_number, number + 1)
    if log.spare_bytes < LONGEST:  # it was being made
        remove(f"{log.root}/spare")
        log.spare_bytes = 0


def _read_index(log: SegmentLog) -> Covered | None:
    """The tables of the last checkpoint; None when there is no good one."""
    try:
        with open(f"{log.root}/index", "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    if blake3(data[:-32]).digest() != data[-32:]:
        return None
    end = data.index(b"\n") + 1
    first = json.loads(data[:end])
    if first["format"] != FORMAT:
        return None
    for function, size in first["tables"].items():
        table = Table(HEX_LENGTHS[function] // 2)
        table.restore(data[end : end + size])
        log.tables[function] = table
        end += size
    log.next_number = max(log.next_number, first["segment"])
    return Covered(first["journal"], first["segment"], first["tail"], first["ticks"])


def _counted(log: SegmentLog, covered: Covered) -> bool:
    """Take the segments' counts from the checkpoint, if they are the same segments."""
    counts = {int(number): ticks for number, ticks in (covered.ticks or {}).items()}
    if covered.ticks is None or not counts.keys() <= log.segments.keys():
        return False
    for number, ticks in counts.items():
        log.segments[number].ticks = dict(ticks)
    return True


def _count(log: SegmentLog) -> None:
    """Count what the tables hold in its segments; forget what lay in one that is gone."""
    for table in log.tables.values():
        gone = []
        for key, entry in table.items():
            segment = log.segments.get(entry.place >> PLACE)
            if segment is None:
                gone.append(key)
            else:
                segment.count(entry.used, entry.length)
        for key in gone:
            table.drop(key)


def _walk(log: SegmentLog, segment: Segment, start: int, latest: int) -> None:
    """Take in the records after a checkpoint; one that is torn was never acknowledged."""
    segment.tail = start
    for record in walk(segment.descriptor, segment.number, start, segment.room):
        if not log.is_whole(record):
            continue
        place = segment.number << PLACE | record.offset
        used = min(record.used, latest)
        entry = Entry(used, record.size, record.length, place, check_of(record.data))
        log.set(record.function, record.key, entry)
        segment.tail = record.offset + record.length


def _replay(log: SegmentLog, number: int, latest: int) -> None:
    for line in lines(log.root, number):
        function = FUNCTIONS[line.function]
        entry = log.table(function).find(line.key)
        if entry is None:
            continue
        if line.what != DROPPED:
            used = max(entry.used, min(line.used, latest))
            log.set(function, line.key, entry._replace(used=used))
        elif entry.place == line.place:
            log.drop(function, line.key)
