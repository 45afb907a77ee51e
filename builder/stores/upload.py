"""A write to the disk store that its caller feeds, so that it may pause and be resumed.

Bytes are gathered, up to two megabytes where few uploads share the room for that; then two threads
hash and write them, both without the interpreter's lock; one thread does both where it is less. On
one processor a thread does nothing sooner and costs a dozen switches: there it is done in place,
while the bytes are in the cache, as long as the disk keeps up. What is visible in the end is whole
and verified, or nothing is.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import trio

from builder.base.digest import Digest, Hasher, hasher
from builder.base.errors import InvalidArgumentError
from builder.stores.folder import FULL, Folder
from builder.stores.interface import Buffer

GATHER = 2 * 1024 * 1024  # bytes that are worth the trip
GATHER_HERE = 500 * 1024  # where it is done in place: what stays in a core's cache, two messages
GATHER_LEAST = 128 * 1024
GATHER_TOGETHER = 32 * 1024 * 1024  # bytes that all uploads may hold back
GATHER_PIECES = 4096
JOINED_ABOVE = 8  # pieces: each costs a thread a turn of the interpreter's lock
WORTH_TWO = 512 * 1024  # bytes whose hashing and writing are worth a thread each
VECTORS = 1024  # pieces of one write: IOV_MAX
IN_PLACE = 1024 * 1024  # bytes at most that are hashed and written in the event loop
WANT_MUCH = frozenset({"blake3", "sha256tree"})  # half as fast in the pieces of frames


class Room(Protocol):
    """Where an upload goes, which has kept room for it."""

    folder: Folder

    def appear(self, digest: Digest, temporary: str) -> str:
        """It has come to its end and is well; the path of the blob."""
        ...

    def release(self, size: int) -> None:
        """It has come to another end."""
        ...

    async def relieve(self) -> bool:
        """The disk is full before the room is: whether there is more of it now."""
        ...


class DiskUpload:
    """Bytes that become a file of `room`."""

    def __init__(self, room: Room, digest: Digest) -> None:
        self._room = room
        self._folder = folder = room.folder
        self._digest = digest
        self._unwritten: list[Buffer] = []
        self._hasher = hasher(digest.function, digest.size_bytes)
        self._gathered: list[Buffer] = []
        self._gathered_bytes = 0
        self._full: OSError | None = None  # why `_unwritten` is not written
        self._unturned = 0  # bytes that were taken in place since others had their turn
        self._offset = 0
        self._temporary = folder.temporary()
        with folder.errors():
            self._descriptor = folder.create(self._temporary)
            folder.allocate(self._descriptor, digest.size_bytes)
        self._open = True
        folder.writers += 1

    @property
    def offset(self) -> int:
        return self._offset

    @property
    def held_bytes(self) -> int:
        """Gathered, and not yet written."""
        return self._gathered_bytes

    def follow(self, offset: int, state: Hasher, fill: Callable[[int], object]) -> None:
        """Be where another upload was: `fill(descriptor)` writes its `offset` bytes, which `state`
        has hashed. Blocks. Raises OSError."""
        fill(self._descriptor)
        self._offset, self._hasher = offset, state

    async def append(self, *pieces: Buffer) -> None:
        self._gather(pieces)
        if self._is_worth(GATHER_HERE if self._folder.prompt else GATHER):
            await self._flush()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()  # the flush is everybody's turn

    def append_nowait(self, pieces: Sequence[Buffer]) -> bool:
        folder = self._folder
        if self._full is not None or not folder.prompt:
            return False
        self._gather(pieces)
        if self._is_worth(GATHER_HERE):
            try:
                folder.in_place(self._take_here)
            except OSError as error:
                if error.errno not in FULL:
                    raise self._folder.converted(error) from error
                self._full = error
        return True

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
            self._room.release(self._digest.size_bytes)

    def _gather(self, pieces: Sequence[Buffer]) -> None:
        size = sum(map(len, pieces))
        if self._offset + size > self._digest.size_bytes:
            raise InvalidArgumentError(f"more bytes came than {self._digest} has")
        self._gathered += pieces
        self._gathered_bytes += size
        self._offset += size

    def _is_worth(self, most: int) -> bool:
        """Whether enough is gathered, which is `most` where few uploads share the room."""
        if self._gathered_bytes < most:
            most = max(GATHER_LEAST, min(most, GATHER_TOGETHER // self._folder.writers))
        return self._gathered_bytes >= most or len(self._gathered) >= GATHER_PIECES

    def _close(self) -> None:
        self._open = False
        self._folder.writers -= 1
        os.close(self._descriptor)

    async def _flush(self) -> None:
        with self._folder.errors():
            if self._full is not None:
                await self._write_rest(self._full)
            try:
                await self._take_all()
            except OSError as error:
                await self._write_rest(error)

    async def _take_all(self) -> None:
        """What is gathered is hashed and written. Raises OSError."""
        size = self._gathered_bytes
        if size <= IN_PLACE and self._folder.prompt:
            self._folder.in_place(self._take_here)
            await self._turn(size)
        elif size >= WORTH_TWO:
            await self._take_by_two(self._ungathered())
        else:
            await trio.to_thread.run_sync(self._take, self._ungathered(), JOINED_ABOVE)

    def _take_here(self) -> None:
        """In the event loop. Raises OSError."""
        self._take(self._ungathered(), GATHER_PIECES)

    async def _write_rest(self, error: OSError) -> None:
        """What is hashed, if there can be room for it. Raises OSError."""
        if error.errno not in FULL or not await self._room.relieve():
            raise error
        await trio.to_thread.run_sync(self._write)
        self._full = None

    def _ungathered(self) -> list[Buffer]:
        pieces = self._gathered
        self._gathered, self._gathered_bytes = [], 0
        return pieces

    async def _turn(self, size: int) -> None:
        """Everybody else's, after a megabyte."""
        self._unturned += size
        if self._unturned >= IN_PLACE:
            self._unturned = 0
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def _take_by_two(self, pieces: list[Buffer]) -> None:
        """Hashed by one thread while another one writes. Raises OSError."""
        failed: list[OSError] = []

        async def write() -> None:
            try:
                await trio.to_thread.run_sync(self._write)
            except OSError as error:
                failed.append(error)

        if len(pieces) > (1 if self._digest.function in WANT_MUCH else JOINED_ABOVE):
            pieces = [b"".join(pieces)]
        self._unwritten = list(pieces)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.to_thread.run_sync(self._hash, pieces)
        if failed:
            raise failed[0]

    def _hash(self, pieces: Iterable[Buffer]) -> None:
        update = self._hasher.update
        for piece in pieces:
            update(piece)

    def _take(self, pieces: list[Buffer], most: int = 1) -> None:
        if len(pieces) > (1 if self._digest.function in WANT_MUCH else most):
            pieces = [b"".join(pieces)]
        self._hash(pieces)
        self._unwritten = pieces
        self._write()

    def _write(self) -> None:
        rest = self._unwritten
        while rest:
            done = os.writev(self._descriptor, rest[:VECTORS])
            if done == sum(map(len, rest)):
                rest.clear()
                return
            count = 0
            while count < len(rest) and done >= len(rest[count]):
                done -= len(rest[count])
                count += 1
            del rest[:count]
            if done:
                rest[0] = memoryview(rest[0])[done:]

    async def _finish(self) -> None:
        if self._folder.fsync != "none":
            await trio.to_thread.run_sync(self._folder.sync_data, self._descriptor)
        path = self._room.appear(self._digest, self._temporary)
        self._close()
        if self._folder.fsync == "full":
            await trio.to_thread.run_sync(self._folder.sync_name, path)
