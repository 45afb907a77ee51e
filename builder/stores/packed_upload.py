"""An upload of Zstandard frames to the disk store: what comes is written as it came, what it gives
is hashed.

Theory of operation. Nobody knows before the end whether it pays to keep the frames. It mostly does,
since who has compressed them thought so; else they are unpacked into another file at the end, which
for bytes that no one can compress costs little more than a copy.

When a call is cut, so is a frame, and the client goes on with another one that begins at the byte
of the blob that came last (REAPI, `Write`: offsets of a first request count plain bytes). Two
halves of frames are no frames: `unpacked` is the same upload from there on, of plain bytes.
"""

import errno
import os
from collections.abc import Sequence
from functools import partial

import trio

from builder.base.digest import Digest, hasher
from builder.base.errors import InvalidArgumentError
from builder.reapi.compression import decompressor
from builder.stores.folder import FULL, write_all
from builder.stores.interface import Buffer
from builder.stores.packed import READ, pays, trailer
from builder.stores.upload import DiskUpload, Room

GATHER = 128 * 1024  # bytes that are worth the trip to a thread


class DiskPackedUpload:
    """Frames that become a file of `room`. `offset` counts the plain bytes that they gave."""

    def __init__(self, room: Room, digest: Digest) -> None:
        self._room = room
        self._folder = folder = room.folder
        self._digest = digest
        self._hasher = hasher(digest.function, digest.size_bytes)
        self._frames = decompressor("zstd", digest.size_bytes)
        self._gathered: list[Buffer] = []
        self._gathered_bytes = 0
        self._unwritten = b""
        self._offset = 0
        self._packed = 0  # bytes that are in the file
        self._temporary = folder.temporary()
        with folder.errors():
            self._descriptor = folder.create(self._temporary)
        self._open = True

    @property
    def offset(self) -> int:
        return self._offset

    async def append(self, *pieces: Buffer) -> None:
        """Compressed bytes. Raises InvalidArgumentError for what is no frame, or gives too much."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._gathered += pieces
        self._gathered_bytes += sum(map(len, pieces))
        if self._gathered_bytes >= GATHER:
            await self._flush()

    def append_nowait(self, _pieces: Sequence[Buffer]) -> bool:
        """Nothing is so quick here."""
        return False

    async def commit(self) -> None:
        try:
            await self._flush()
            self._frames.finish()
            found = Digest(self._hasher.hexdigest(), self._offset, self._digest.function)
            if found != self._digest:
                raise InvalidArgumentError(
                    f"the bytes are not those of {self._digest}: they are {found}; upload what "
                    "the digest names"
                )
            if pays(self._digest.size_bytes, self._packed):
                with self._folder.errors():
                    await self._finish()
            else:
                await (await self.unpacked()).commit()
        finally:
            self.abort()

    async def unpacked(self) -> DiskUpload:
        """This upload as one of plain bytes, with those that have come. Ends this one.

        What came and is not yet counted by `offset` is not among them.
        """
        with self._folder.errors():
            plain = DiskUpload(self._room, self._digest)
            try:
                await trio.to_thread.run_sync(
                    plain.follow, self._offset, self._hasher, self._unpack
                )
            except BaseException:
                self._close()  # the room is released once, by the other one
                plain.abort()
                raise
        self._close()
        return plain

    def abort(self) -> None:
        if self._open:
            self._close()
            self._room.release(self._digest.size_bytes)

    def _close(self) -> None:
        self._open = False
        os.close(self._descriptor)
        self._folder.discard(self._temporary)

    async def _flush(self) -> None:
        data = b"".join(self._gathered)
        self._gathered, self._gathered_bytes = [], 0
        with self._folder.errors():
            try:
                if self._folder.prompt and len(data) <= 2 * GATHER:
                    await trio.lowlevel.checkpoint()
                    self._folder.in_place(partial(self._take, data))
                else:
                    await trio.to_thread.run_sync(self._take, data)
            except OSError as error:
                if error.errno not in FULL or not await self._room.relieve():
                    raise
                await trio.to_thread.run_sync(self._write)

    def _take(self, data: bytes) -> None:
        """Hashed and written. Raises OSError, and then `_write` is to be tried again."""
        self._unwritten = data
        for plain in self._frames.feed(data):
            self._hasher.update(plain)
            self._offset += len(plain)
        self._write()

    def _write(self) -> None:
        """What was taken. Raises OSError."""
        os.lseek(self._descriptor, self._packed, os.SEEK_SET)
        write_all(self._descriptor, self._unwritten)
        self._packed += len(self._unwritten)
        self._unwritten = b""

    def _unpack(self, target: int) -> None:
        """Write the plain bytes that have come to another file. Raises OSError."""
        if self._unwritten:
            self._write()
        frames, given = decompressor("zstd", self._digest.size_bytes), 0
        source = os.open(self._temporary, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while data := os.read(source, READ):
                for plain in frames.feed(data):
                    write_all(target, plain)
                    given += len(plain)
        finally:
            os.close(source)
        if given != self._offset:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def _finish(self) -> None:
        await trio.to_thread.run_sync(self._end_file)
        path = self._room.appear(self._digest, self._temporary)
        self._open = False
        os.close(self._descriptor)
        if self._folder.fsync == "full":
            await trio.to_thread.run_sync(self._folder.sync_name, path)

    def _end_file(self) -> None:
        write_all(self._descriptor, trailer(self._packed, self._digest.size_bytes))
        self._folder.sync_data(self._descriptor)
