"""A write to the disk store that its caller feeds, so that it may pause and be resumed.

Bytes are gathered, up to a megabyte where few uploads share the room for that; then one trip to a
thread hashes and writes them (both without the interpreter's lock). What is visible in the end is
whole and verified, or nothing is.
"""

import os
from collections.abc import Awaitable, Callable

import trio

from builder.base.digest import Digest, hasher
from builder.base.errors import InvalidArgumentError
from builder.stores.folder import FULL, Folder

GATHER = 1024 * 1024  # bytes that are worth the trip
GATHER_LEAST = 128 * 1024
GATHER_TOGETHER = 32 * 1024 * 1024  # bytes that all uploads may hold back
GATHER_PIECES = 4096
JOINED_ABOVE = 8  # pieces: each costs the thread a turn of the interpreter's lock


class DiskUpload:
    """`appear(digest, temporary)` ends it well and gives the path, `release(size)` otherwise.

    `relieve()` makes room on a disk that is full, if it can."""

    def __init__(
        self,
        folder: Folder,
        digest: Digest,
        appear: Callable[[Digest, str], str],
        release: Callable[[int], None],
        relieve: Callable[[], Awaitable[bool]],
    ) -> None:
        self._folder = folder
        self._digest = digest
        self._appear = appear
        self._release = release
        self._relieve = relieve
        self._unwritten: list[bytes | memoryview] = []
        self._hasher = hasher(digest.function, digest.size_bytes)
        self._gathered: list[bytes | memoryview] = []
        self._gathered_bytes = 0
        self._offset = 0
        self._temporary = folder.temporary()
        with folder.errors():
            self._descriptor = folder.create(self._temporary)
        self._open = True
        folder.writers += 1

    @property
    def offset(self) -> int:
        return self._offset

    @property
    def held_bytes(self) -> int:
        """Gathered, and not yet written."""
        return self._gathered_bytes

    async def append(self, data: bytes | memoryview) -> None:
        if self._offset + len(data) > self._digest.size_bytes:
            raise InvalidArgumentError(f"more bytes came than {self._digest} has")
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        self._offset += len(data)
        if self._gathered_bytes >= self._worth() or len(self._gathered) >= GATHER_PIECES:
            await self._flush()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()  # the flush is everybody's turn

    async def commit(self) -> None:
        try:
            await self._flush()
            found = Digest(self._hasher.hexdigest(), self._offset, self._digest.function)
            if found != self._digest:
                raise InvalidArgumentError(
                    f"the bytes are not those of {self._digest}: they are {found}; upload what "
                    "the digest names"
                )
            with self._folder.errors():
                await self._finish()
        finally:
            self.abort()

    def abort(self) -> None:
        if self._open:
            self._close()
            self._folder.discard(self._temporary)
            self._release(self._digest.size_bytes)

    def _worth(self) -> int:
        """How many bytes to gather."""
        return max(GATHER_LEAST, min(GATHER, GATHER_TOGETHER // self._folder.writers))

    def _close(self) -> None:
        self._open = False
        self._folder.writers -= 1
        os.close(self._descriptor)

    async def _flush(self) -> None:
        pieces, self._gathered = self._gathered, []
        self._gathered_bytes = 0
        if len(pieces) > JOINED_ABOVE:
            pieces = [b"".join(pieces)]
        with self._folder.errors():
            try:
                await trio.to_thread.run_sync(self._take, pieces)
            except OSError as error:
                if error.errno not in FULL or not await self._relieve():
                    raise
                await trio.to_thread.run_sync(self._write)

    def _take(self, pieces: list[bytes | memoryview]) -> None:
        for piece in pieces:
            self._hasher.update(piece)
        self._unwritten = pieces
        self._write()

    def _write(self) -> None:
        rest = self._unwritten
        while rest:
            done = os.writev(self._descriptor, rest)
            while rest and done >= len(rest[0]):
                done -= len(rest.pop(0))
            if done:
                rest[0] = memoryview(rest[0])[done:]

    async def _finish(self) -> None:
        if self._folder.fsync != "none":
            await trio.to_thread.run_sync(self._folder.sync_data, self._descriptor)
        path = self._appear(self._digest, self._temporary)
        self._close()
        if self._folder.fsync == "full":
            await trio.to_thread.run_sync(self._folder.sync_name, path)
