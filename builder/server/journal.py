"""The coordinator's journal: which operations have been taken and have not ended.

Theory of operation. Records are appended and never changed. They are handed to the kernel once for
each round of the scheduler's and not forced to the disk: that outlives the death of this process,
which is what it is for; after a power failure clients execute again. When most of the file is about
operations that have ended, the others are copied into a new file, which then takes its place.

A disk that is full costs the safety of a restart, and nothing else: that is said, the file stays as
it is, and now and then a new one is tried, which then has everything that waits. What the old one
tells until then is of the past: a coordinator that begins with it holds what has ended meanwhile
for clients that will not ask.
"""

import errno
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol
from zlib import crc32

from google.protobuf.message import DecodeError

from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import journal_pb2, workers_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.schedule.platform import Properties
from builder.schedule.spec import ActionSpec, Entry
from builder.server.messages import bytes_field
from builder.server.specs import spec_of
from builder.telemetry.log import get_logger

REMEMBERED = journal_pb2.Record.DESCRIPTOR.fields_by_name["remembered"].number
FORGOTTEN = journal_pb2.Record.DESCRIPTOR.fields_by_name["forgotten"].number
GRANTED = journal_pb2.Remembered.DESCRIPTOR.fields_by_name["granted"].number
HEAD = struct.Struct("!II")  # length and CRC-32 of a record's bytes
SMALL = 16 * 1024 * 1024  # bytes of a file that is not worth copying
FULL = {errno.ENOSPC, errno.EDQUOT}
AGAIN_S = 2.0  # after a write that failed

log = get_logger()


class Journal(Protocol):
    """Where the scheduler's task writes what a restart would have to know."""

    def remember(self, entry: Entry) -> None: ...

    def forget(self, operation: str) -> None: ...

    def flush(self) -> None:
        """After each round; what came before it is then safe from our own death."""
        ...


class NoJournal:
    """A restart forgets what waits; clients execute again."""

    def remember(self, entry: Entry) -> None:
        del entry

    def forget(self, operation: str) -> None:
        del operation

    def flush(self) -> None: ...


@dataclass(slots=True)
class Figures:
    """What a journal has done since its start; all but `size_bytes` only grow."""

    size_bytes: int = 0  # of the file
    replayed: int = 0  # operations that a former coordinator had left
    written_bytes: int = 0
    rewrites: int = 0
    write_s: float = 0.0  # in all writes


class FileJournal:
    """`small_bytes` is the size below which the file is left as it is.

    Opening it raises OSError, unless it is only the disk that is full: then, and later, a file that
    cannot be written is tried again each `again_s` seconds, and what it has missed is then in it.
    """

    def __init__(self, path: Path, small_bytes: int = SMALL, again_s: float = AGAIN_S) -> None:
        self._path = path
        self._small = small_bytes
        self._again_s = again_s
        self._behind_until: float | None = None  # it lacks something: when to try again
        self._live: dict[str, bytes] = {}  # operation -> its record, framed
        self._live_bytes = 0
        self.figures = Figures()
        self._unwritten = bytearray()
        self._fd = -1

    @property
    def waiting(self) -> int:
        """Operations that have not ended."""
        return len(self._live)

    def load(self) -> tuple[Entry, ...]:
        """Open it; what a former coordinator has left, in the order of asking."""
        entries: dict[str, Entry] = {}
        if self._path.exists():
            for record, framed in records(self._path.read_bytes()):
                if record.WhichOneof("kind") == "remembered":
                    if entry := _taken_up(record.remembered):
                        entries[entry.operation] = entry
                        self._keep(entry.operation, framed)
                else:
                    entries.pop(record.forgotten, None)
                    self._drop(record.forgotten)
        try:
            self._rewrite()
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._failed(error)
        self.figures.replayed = len(entries)
        return tuple(entries.values())

    def remember(self, entry: Entry) -> None:
        body = serialized(entry)
        framed = frame(bytes_field(REMEMBERED, len(body)) + body)
        self._keep(entry.operation, framed)
        self._unwritten += framed

    def forget(self, operation: str) -> None:
        if operation in self._live:
            self._drop(operation)
            name = operation.encode()
            self._unwritten += frame(bytes_field(FORGOTTEN, len(name)) + name)

    def flush(self) -> None:
        if self._behind_until is not None:
            self._unwritten.clear()  # a new file has what is live
            if time.monotonic() >= self._behind_until:
                self._try(self._rewrite)
        elif self._unwritten:
            self._try(self._append)

    def close(self) -> None:
        if self._behind_until is not None:
            self._behind_until = 0.0
        self.flush()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self._failed(error)
        else:
            if self._behind_until is not None:
                log.info("The journal is kept again", waiting=self.waiting)
            self._behind_until = None

    def _failed(self, error: OSError) -> None:
        if self._behind_until is None:
            what = "a restart would forget what comes from now on"
            log.warning(f"The journal is not kept: {what}", why=error.strerror)
        self._behind_until = time.monotonic() + self._again_s

    def _append(self) -> None:
        self._write(self._fd, self._unwritten)
        self.figures.size_bytes += len(self._unwritten)
        self._unwritten.clear()
        if self.figures.size_bytes > max(self._small, 4 * self._live_bytes):
            self._rewrite()

    def _keep(self, operation: str, framed: bytes) -> None:
        self._drop(operation)
        self._live[operation] = framed
        self._live_bytes += len(framed)

    def _drop(self, operation: str) -> None:
        self._live_bytes -= len(self._live.pop(operation, b""))

    def _rewrite(self) -> None:
        """A new file with what is live, in the place of the old one."""
        fresh = self._path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._write(fd, b"".join(self._live.values()))
            fresh.replace(self._path)
        except OSError:
            os.close(fd)
            fresh.unlink(missing_ok=True)
            raise
        self.figures.rewrites += 1
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self.figures.size_bytes = self._live_bytes

    def _write(self, fd: int, data: bytes | bytearray) -> None:
        began = time.perf_counter()
        written = 0
        with memoryview(data) as view:
            while written < len(data):
                written += os.write(fd, view[written:])
        self.figures.written_bytes += len(data)
        self.figures.write_s += time.perf_counter() - began


def message_of(entry: Entry) -> journal_pb2.Remembered:
    return journal_pb2.Remembered.FromString(serialized(entry))


def serialized(entry: Entry) -> bytes:
    """A Remembered. The action was serialized when it was admitted, and fields may be joined."""
    spec = entry.spec
    rest = journal_pb2.Remembered(
        operation=entry.operation,
        task=entry.task,
        platform=_platform(spec.properties),
        priority=spec.priority,
        skip_cache=spec.skip_cache,
        user=spec.client.user,
    )
    granted = bytes_field(GRANTED, len(spec.payload))
    return b"".join((granted, spec.payload, rest.SerializeToString()))


@lru_cache(1024)
def _platform(properties: Properties) -> pb.Platform:
    message = pb.Platform()
    for name, value in properties:
        message.properties.add(name=name, value=value)
    return message


def entry_of(message: journal_pb2.Remembered) -> Entry:
    """Raises InvalidArgumentError for needs that are not understood."""
    granted: workers_pb2.LeaseGranted = message.granted
    properties = tuple((pair.name, pair.value) for pair in message.platform.properties)
    spec: ActionSpec = spec_of(
        granted, properties, message.priority, message.skip_cache, message.user
    )
    return Entry(message.operation, message.task, spec)


def _taken_up(message: journal_pb2.Remembered) -> Entry | None:
    """None for what is not understood any more: its client asks again, and is told why."""
    try:
        return entry_of(message)
    except InvalidArgumentError as error:
        why = str(error)
        log.warning("An operation that waited is left out", operation=message.operation, why=why)
        return None


def frame(data: bytes) -> bytes:
    return HEAD.pack(len(data), crc32(data)) + data


def records(data: bytes) -> Iterator[tuple[journal_pb2.Record, bytes]]:
    """Each record with its framed bytes, up to the first that is torn or damaged."""
    start = 0
    while start + HEAD.size <= len(data):
        length, checksum = HEAD.unpack_from(data, start)
        end = start + HEAD.size + length
        body = data[start + HEAD.size : end]
        if len(body) < length or crc32(body) != checksum:
            return
        try:
            record = journal_pb2.Record.FromString(body)
        except DecodeError:
            return
        yield record, data[start:end]
        start = end
