"""Large blobs that lie compressed, and how a blob comes from one form to the other.

Theory of operation. A blob has one form at a time, and it follows its use. What comes compressed
is kept as it came, if that pays. What is first read compressed is compressed on the way, once, and
kept so if that pays. What lies compressed and is read from far behind its start is made plain,
since most often it is one frame, which can be read from its start only; from then on it is read
where one wants to. So is what is read plain for the third time since it was read compressed, as
inputs of actions are: to unpack it costs more than twice what a read does. Each change is a rename
of a complete file over the other, so that a reader that has the old one open goes on with that.

A change needs room for both forms, and is left out where that would be at the cost of other blobs.
"""

import errno
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import Protocol, TypeVar

import trio

from builder.base.digest import Digest, Hasher, hasher
from builder.base.errors import NotFoundError
from builder.reapi.compression import Compressor, compressor
from builder.stores.folder import Folder, write_all
from builder.stores.packed import PlainReader, packed_bytes, pays, trailer

PIECE = 256 * 1024  # bytes of one read
FAR = 1024 * 1024  # bytes that may be unpacked in vain for a read from the middle
UNPACKED_READS = 2  # before a blob is made plain
REMEMBERED = 4096  # blobs that were read so
TRIED = 8 * 1024 * 1024  # bytes after which it shows whether compression pays

T = TypeVar("T")


class Files(Protocol):
    """What it needs of `files.FileBlobStore`."""

    folder: Folder

    def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]: ...

    def open(self, digest: Digest) -> int:
        """A descriptor. Raises NotFoundError."""
        ...

    def is_verified(self, digest: Digest, file: os.stat_result) -> bool: ...

    def judge(self, digest: Digest, found: Digest, file: os.stat_result) -> None:
        """Raises NotFoundError for a blob that is not what it was; else the file is verified."""
        ...

    def damaged(self, digest: Digest) -> NotFoundError:
        """To be raised: the blob is put aside."""
        ...

    def reserve_free(self, size: int) -> bool:
        """Keep room that nobody has to leave; whether there is so much."""
        ...

    def release(self, size: int) -> None: ...

    def is_plain(self, digest: Digest) -> bool:
        """Whether the blob's file is as the blob is."""
        ...

    def replace(self, digest: Digest, temporary: str) -> None:
        """The same blob in another form, if it is still here."""
        ...


class Forms:
    """Of the blobs of `files`. With `keep` false, nothing is kept compressed that is not yet."""

    def __init__(self, files: Files, keep: bool) -> None:
        self._files = files
        self._folder = files.folder
        self.keep = keep
        self._packing: set[Digest] = set()
        self._reads: dict[Digest, int] = {}  # plain ones, of compressed blobs
        self._unpacking = trio.Lock()

    async def read(
        self, descriptor: int, digest: Digest, offset: int, end: int
    ) -> AsyncGenerator[bytes, None]:
        """The plain bytes of a compressed file, some at least."""
        file = os.fstat(descriptor)
        is_often = self._is_often_read(digest) and not self._unpacking.locked()
        is_dear = is_often or offset > FAR
        if is_dear and await self._made_plain(descriptor, digest, file):
            async with aclosing(self._files.read(digest, offset, end - offset)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        state = await self._unverified(descriptor, digest, file, end - offset)
        reader = self._reader(descriptor, digest, file)
        for start in range(0, offset, PIECE):  # others have their turns meanwhile
            await self._run(digest, partial(reader.skip, min(PIECE, offset - start)))
        for start in range(offset, end, PIECE):
            want = min(PIECE, end - start)
            piece = await self._run(digest, partial(_read, reader, want, state))
            if len(piece) != want:
                raise self._files.damaged(digest)
            if state is not None and start + want == end:
                self._files.judge(digest, digest._replace(hash=state.hexdigest()), file)
            yield piece

    async def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        """The whole blob as Zstandard frames: those that it lies in, or one."""
        self._reads.pop(digest, None)
        descriptor = self._files.open(digest)
        try:
            file = os.fstat(descriptor)
            if file.st_size == digest.size_bytes:
                pieces = self._compressed(digest)
            else:
                await self._unverified(descriptor, digest, file, 0)
                pieces = self._as_stored(descriptor, self._packed(descriptor, digest, file))
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
        finally:
            os.close(descriptor)

    def _is_often_read(self, digest: Digest) -> bool:
        """Whether it was read plain as often as it may be; counts this time."""
        count = self._reads.pop(digest, 0)
        if count >= UNPACKED_READS:
            return True
        self._reads[digest] = count + 1
        if len(self._reads) > REMEMBERED:
            del self._reads[next(iter(self._reads))]
        return False

    def _packed(self, descriptor: int, digest: Digest, file: os.stat_result) -> int:
        """How many bytes of frames. Raises NotFoundError for a file that was cut."""
        with self._folder.errors():
            packed = packed_bytes(descriptor, file.st_size, digest.size_bytes)
        if packed is None:
            raise self._files.damaged(digest)
        return packed

    def _reader(self, descriptor: int, digest: Digest, file: os.stat_result) -> PlainReader:
        return PlainReader(descriptor, self._packed(descriptor, digest, file))

    async def _unverified(
        self, descriptor: int, digest: Digest, file: os.stat_result, wanted: int
    ) -> Hasher | None:
        """Who reads all has to hash on the way, by this; for others it is done here."""
        if self._files.is_verified(digest, file):
            return None
        state = hasher(digest.function, digest.size_bytes)
        if wanted == digest.size_bytes:
            return state
        reader, size = self._reader(descriptor, digest, file), 0
        while data := await self._run(digest, partial(_read, reader, PIECE, state)):
            size += len(data)
        self._files.judge(digest, Digest(state.hexdigest(), size, digest.function), file)
        return None

    async def _as_stored(self, descriptor: int, packed: int) -> AsyncGenerator[bytes, None]:
        for start in range(0, packed, PIECE):
            want = min(PIECE, packed - start)
            with self._folder.errors():
                if is_cached(descriptor, start, start + want - 1):
                    await trio.lowlevel.checkpoint()
                    piece = os.pread(descriptor, want, start)
                else:
                    piece = await trio.to_thread.run_sync(os.pread, descriptor, want, start)
            yield piece

    async def _compressed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        """One frame, made on the way, and kept if that pays."""
        state = compressor("zstd", digest.size_bytes)
        copy, taken = self._copy(digest), 0
        try:
            async with aclosing(self._files.read(digest)) as pieces:
                async for piece in pieces:
                    data = await trio.to_thread.run_sync(_compress, state, piece, copy)
                    taken += len(piece)
                    if copy is not None and taken >= TRIED and not pays(taken, copy.size):
                        self._end(copy)
                        copy = None
                    if data:
                        yield data
            last = state.flush()
            if copy is not None:
                copy.write(last)
                await self._keep(copy)
            yield last
        finally:
            if copy is not None:
                self._end(copy)

    async def _keep(self, copy: "Copy") -> None:
        """The copy becomes the blob, if it may."""
        digest = copy.digest
        if copy.is_whole and pays(digest.size_bytes, copy.size):
            with suppress(OSError):
                await trio.to_thread.run_sync(copy.finish, trailer(copy.size, digest.size_bytes))
                self._files.replace(digest, copy.path)

    def _copy(self, digest: Digest) -> "Copy | None":
        """Where the compressed form may be written, if nobody else does that now."""
        size = digest.size_bytes
        if not self.keep or digest in self._packing or not self._files.reserve_free(size):
            return None
        try:
            copy = Copy(self._folder, digest)
        except OSError:
            self._files.release(size)
            return None
        self._packing.add(digest)
        return copy

    def _end(self, copy: "Copy") -> None:
        self._packing.discard(copy.digest)
        self._files.release(copy.digest.size_bytes)
        copy.close()

    async def _made_plain(self, descriptor: int, digest: Digest, file: os.stat_result) -> bool:
        """Whether the blob is plain now. Raises NotFoundError for one that is damaged."""
        async with self._unpacking:
            if self._files.is_plain(digest):
                return True
            if not self._files.reserve_free(digest.size_bytes):
                return False
            copy = None
            try:
                copy = Copy(self._folder, digest)
                state = await self._unverified(descriptor, digest, file, digest.size_bytes)
                reader = self._reader(descriptor, digest, file)
                unpacking = partial(unpack, reader, copy, state, digest.size_bytes)
                await trio.to_thread.run_sync(unpacking)
                if state is not None:
                    self._files.judge(digest, digest._replace(hash=state.hexdigest()), file)
                await trio.to_thread.run_sync(copy.finish)
                self._files.replace(digest, copy.path)
            except OSError:
                return False
            except ValueError:
                raise self._files.damaged(digest) from None
            finally:
                self._files.release(digest.size_bytes)
                if copy is not None:
                    copy.close()
            return True

    async def _run(self, digest: Digest, step: Callable[[], T]) -> T:
        """Where it is done soonest. Raises NotFoundError for what are no frames any more."""
        try:
            with self._folder.errors():
                if self._folder.prompt:
                    await trio.lowlevel.checkpoint()
                    return step()
                return await trio.to_thread.run_sync(step)
        except ValueError:
            raise self._files.damaged(digest) from None


class Copy:
    """The file of a blob's other form, while it is made."""

    def __init__(self, folder: Folder, digest: Digest) -> None:
        """Raises OSError."""
        self.digest = digest
        self.path = folder.temporary()
        self.size = 0
        self.is_whole = True
        self._folder = folder
        self._descriptor = folder.create(self.path)

    def write(self, data: bytes) -> None:
        """What the disk does not take is not there: see `is_whole`."""
        try:
            write_all(self._descriptor, data)
            self.size += len(data)
        except OSError:
            self.is_whole = False

    def finish(self, last: bytes = b"") -> None:
        """Written, and on the disk as far as the folder promises. Raises OSError."""
        write_all(self._descriptor, last)
        self._folder.sync_data(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
        self._folder.discard(self.path)


def unpack(reader: PlainReader, copy: Copy, state: Hasher | None, size: int) -> None:
    """All plain bytes into a copy. Raises OSError, and ValueError if they are not so many."""
    while data := _read(reader, PIECE, state):
        copy.write(data)
    if not copy.is_whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if copy.size != size:
        raise ValueError(f"the frames give {copy.size} bytes of {size}")


def is_cached(descriptor: int, *offsets: int) -> bool:
    """Whether bytes at these offsets can be read without waiting for the disk (preadv2(2))."""
    probe = bytearray(1)
    try:
        return all(os.preadv(descriptor, [probe], at, os.RWF_NOWAIT) == 1 for at in offsets)
    except OSError:  # not cached, or a file system that cannot tell
        return False


def _read(reader: PlainReader, want: int, state: Hasher | None) -> bytes:
    data = reader.read(want)
    if state is not None:
        state.update(data)
    return data


def _compress(state: Compressor, piece: bytes, copy: Copy | None) -> bytes:
    data = state.compress(piece)
    if copy is not None and data:
        copy.write(data)
    return data
