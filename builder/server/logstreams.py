"""Logs that clients write while others read: build.bazel.remote.logstream.v1.LogStreamService.

A log is made by CreateLogStream, written by ByteStream.Write under a name that only its maker
knows, and read by ByteStream.Read under its public name, from any offset: a read goes on until the
log is finished. Logs are in memory and bounded; the oldest finished ones are forgotten first.
Source: REAPI logstream v1.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable

import trio

from builder.base.errors import (
    AbortedError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    ResourceExhaustedError,
)
from builder.base.units import format_size
from builder.net.rpc import Call, Context, Method, Service
from builder.reapi.pb import remote_logstream_pb2 as pb
from builder.server.chunks import WriteChunk, next_chunk
from builder.server.messages import parse

NAME = "build.bazel.remote.logstream.v1.LogStreamService"
COLLECTION = "logstreams"
MOST_LOGS = 1000
MOST_LOG_BYTES = 8 * 1024 * 1024
MOST_BYTES = 64 * 1024 * 1024
PIECE = 64 * 1024
LONGEST_PARENT = 500  # characters


class Log:
    """`writer` is the call that feeds it."""

    __slots__ = ("changed", "data", "finished", "writer")

    def __init__(self) -> None:
        self.data = bytearray()
        self.finished = False
        self.writer: Call | None = None
        self.changed = trio.Event()

    def notify(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


class LogStreams:
    """`new_id` gives names that cannot be guessed."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._logs: OrderedDict[str, Log] = OrderedDict()
        self._secrets: dict[str, str] = {}  # name to write -> name to read
        self._bytes = 0

    def service(self) -> Service:
        return Service(NAME, (Method(f"/{NAME}/CreateLogStream", unary=self.create),))

    def create(self, data: bytes, _context: Context) -> bytes:
        parent = parse(pb.CreateLogStreamRequest, data).parent.strip("/")
        if len(parent) > LONGEST_PARENT:
            raise InvalidArgumentError(f"a log's parent may have {LONGEST_PARENT} characters")
        prefix = f"{parent}/" if parent else ""
        name = f"{prefix}{COLLECTION}/{self._new_id()}"
        secret = f"{name}/{self._new_id()}"
        self._make_room()
        self._logs[name] = Log()
        self._secrets[secret] = name
        return pb.LogStream(name=name, write_resource_name=secret).SerializeToString()

    async def read(self, name: str, offset: int) -> AsyncGenerator[bytes, None]:
        """From `offset` until the log is finished. Raises NotFoundError, OutOfRangeError."""
        log = self._logs.get(name)
        if log is None:
            raise NotFoundError(f"there is no log {name[:200]!r} here, or no longer")
        if log.finished and offset > len(log.data):
            raise OutOfRangeError(f"read_offset {offset} is beyond the log's {len(log.data)} bytes")
        while True:
            if piece := bytes(log.data[offset : offset + PIECE]):
                offset += len(piece)
                yield piece
            elif log.finished:
                return
            else:
                await log.changed.wait()

    def can_write(self, name: str) -> bool:
        return name in self._secrets

    def status(self, name: str) -> tuple[int, bool]:
        """Bytes that have come, and whether it is finished."""
        log = self._logs[self._secrets[name]]
        return len(log.data), log.finished

    async def write(self, first: WriteChunk, call: Call) -> int:
        """Take a call's chunks to its end; the size then. Another call may take the log over."""
        name = first.resource_name
        log = self._logs[self._secrets[name]]
        log.writer = call
        chunk: WriteChunk | None = first
        while chunk is not None:
            if log.writer is not call:
                raise AbortedError("another call writes this log now")
            self._append(log, chunk, name)
            if chunk.finish_write:
                break
            chunk = await next_chunk(call)
        return len(log.data)

    def _append(self, log: Log, chunk: WriteChunk, name: str) -> None:
        if chunk.resource_name not in ("", name):
            raise InvalidArgumentError("resource_name changed within one write")
        if chunk.write_offset != len(log.data) or (log.finished and chunk.size_bytes):
            end = "and finished" if log.finished else "go on there"
            raise InvalidArgumentError(
                f"write_offset is {chunk.write_offset} and the log has {len(log.data)} bytes, {end}"
            )
        if len(log.data) + chunk.size_bytes > MOST_LOG_BYTES:
            raise ResourceExhaustedError(f"a log may have {format_size(MOST_LOG_BYTES)}")
        if self._bytes + chunk.size_bytes > MOST_BYTES:
            self._forget_finished(chunk.size_bytes)
        log.data += chunk.joined()
        self._bytes += chunk.size_bytes
        log.finished = log.finished or chunk.finish_write
        log.notify()

    def _make_room(self) -> None:
        if len(self._logs) >= MOST_LOGS:
            oldest = next((n for n, log in self._logs.items() if log.finished), None)
            self._forget(oldest or next(iter(self._logs)))

    def _forget_finished(self, need: int) -> None:
        for name in [name for name, log in self._logs.items() if log.finished]:
            self._forget(name)
            if self._bytes + need <= MOST_BYTES:
                return
        raise ResourceExhaustedError(f"logs that are open have {format_size(MOST_BYTES)} together")

    def _forget(self, name: str) -> None:
        log = self._logs.pop(name)
        self._bytes -= len(log.data)
        log.finished = True  # whoever reads or writes it still has it
        log.notify()
        for secret in [s for s, one in self._secrets.items() if one == name]:
            del self._secrets[secret]
