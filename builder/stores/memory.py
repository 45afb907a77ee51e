"""Blobs in memory: for tests, for small caches, for a service inside one process.

What comes compressed is kept as it came where that pays, and so is what is first read compressed;
the room that is counted is that of the plain bytes.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from hashlib import sha256

import trio

from builder.base.digest import Digest, digest_of, hasher, is_empty
from builder.base.errors import InvalidArgumentError, NotFoundError, OutOfRangeError
from builder.reapi.compression import compressed, decompressed, decompressor
from builder.stores.entries import key_of
from builder.stores.index import Index, Occupancy
from builder.stores.interface import PIECE, Buffer, NamedT
from builder.stores.packing import pays

AT_ONCE = 64 * 1024  # bytes of a blob that is unpacked in the receive loop


def check_bytes(digest: Digest, data: bytes) -> None:
    """Raises InvalidArgumentError unless these bytes are the ones that the digest names."""
    hash_, size, function = digest
    if function == "sha256" and len(data) == size and sha256(data).hexdigest() == hash_:
        return
    check_digest(digest, digest_of(data, function))


def check_digest(digest: Digest, found: Digest) -> None:
    """The same of bytes whose digest is known."""
    if found != digest:
        raise InvalidArgumentError(
            f"the bytes are not those of {digest}: they are {found}; upload what the digest names"
        )


def check_range(digest: Digest, offset: int) -> None:
    """Raises OutOfRangeError for an offset outside of the blob."""
    if not 0 <= offset <= digest.size_bytes:
        raise OutOfRangeError(f"offset {offset} is outside of {digest}")


def absent(digest: Digest) -> NotFoundError:
    return NotFoundError(f"blob {digest} is not stored here; upload it first")


class MemoryBlobStore:
    """`capacity_bytes` of blobs; what was promised within `lease_s` seconds is never evicted."""

    def __init__(
        self,
        capacity_bytes: int,
        lease_s: float = 3 * 3600.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._index = Index(capacity_bytes, lease_s)
        self._blobs: dict[str, bytes] = {}
        self._packed: set[str] = set()  # keys of those that are kept as frames
        self._now = now

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        await trio.lowlevel.checkpoint()
        now = self._now()
        missing = [d for d in dict.fromkeys(digests) if not self._index.touch(d, now)]
        self._index.renewed.clear()
        return missing

    async def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        data = memoryview(await self.get(digest))
        check_range(digest, offset)
        end = len(data) if limit is None else min(len(data), offset + limit)
        for start in range(offset, end, PIECE):
            await trio.lowlevel.checkpoint()
            yield bytes(data[start : min(start + PIECE, end)])

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        upload = await self.begin(digest)
        try:
            async for chunk in chunks:
                await upload.append(chunk)
            await upload.commit()
        finally:
            upload.abort()

    async def get(self, digest: Digest) -> bytes:
        await trio.lowlevel.checkpoint()
        frames = self.get_packed_nowait(digest)
        if frames is None or digest.size_bytes <= PIECE:
            return self.get_nowait(digest)
        return await trio.to_thread.run_sync(decompressed, "zstd", frames, digest.size_bytes)

    async def put(self, digest: Digest, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.put_nowait(digest, data)

    async def begin(self, digest: Digest) -> "MemoryUpload":
        await trio.lowlevel.checkpoint()
        self._make_room(digest.size_bytes)
        return MemoryUpload(self, digest)

    async def is_packed(self, digest: Digest) -> bool:
        await trio.lowlevel.checkpoint()
        return key_of(digest.function, digest.hash) in self._packed

    async def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        await trio.lowlevel.checkpoint()
        frames = self.get_packed_nowait(digest)
        if frames is None:
            data = self.get_nowait(digest)
            frames = await trio.to_thread.run_sync(compressed, "zstd", data)
            key = key_of(digest.function, digest.hash)
            if self._blobs.get(key) is data and pays(len(data), len(frames)):
                self._blobs[key] = frames
                self._packed.add(key)
        for start in range(0, len(frames), PIECE):
            await trio.lowlevel.checkpoint()
            yield frames[start : start + PIECE]

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:
        upload = await self.begin_packed(digest)
        try:
            async for piece in frames:
                await upload.append(piece)
            await upload.commit()
        finally:
            upload.abort()

    async def begin_packed(self, digest: Digest) -> "MemoryPackedUpload":
        await trio.lowlevel.checkpoint()
        self._make_room(digest.size_bytes)
        return MemoryPackedUpload(self, digest)

    async def size_of(self, function: str, hash_: str) -> int | None:
        """The size in bytes of a stored blob; None if it is not here."""
        await trio.lowlevel.checkpoint()
        return self._index.size(key_of(function, hash_))

    def absent_nowait(self, function: str, digests: Sequence[NamedT]) -> list[NamedT]:
        missing = self._index.absent(function, digests, self._now())
        self._index.renewed.clear()
        return missing

    def get_nowait(self, digest: Digest) -> bytes:
        if is_empty(digest):
            return b""
        if not self._index.touch(digest, self._now()):
            raise absent(digest)
        self._index.renewed.clear()
        key = key_of(digest.function, digest.hash)
        kept = self._blobs[key]
        return decompressed("zstd", kept, digest.size_bytes) if key in self._packed else kept

    def put_nowait(self, digest: Digest, data: bytes) -> bool:
        check_bytes(digest, data)
        if is_empty(digest) or self._index.touch(digest, self._now()):
            return True
        self._make_room(len(data))
        self.keep(digest, bytes(data))
        return True

    def get_packed_nowait(self, digest: Digest) -> bytes | None:
        key = key_of(digest.function, digest.hash)
        if key not in self._packed or not self._index.touch(digest, self._now()):
            return None
        self._index.renewed.clear()
        return self._blobs[key]

    def put_packed_nowait(self, digest: Digest, frames: bytes) -> bool:
        if digest.size_bytes > AT_ONCE:
            return False
        data = decompressed("zstd", frames, digest.size_bytes)
        if not pays(len(data), len(frames)):
            return self.put_nowait(digest, data)
        check_bytes(digest, data)
        if not self._index.touch(digest, self._now()):
            self._make_room(digest.size_bytes)
            self.keep(digest, frames, is_packed=True)
        self._index.renewed.clear()
        return True

    def stamp(self) -> int:
        return self._index.stamp(self._now())

    def snapshot(self) -> Occupancy:
        return self._index.snapshot(self._now())

    def ages(self) -> tuple[int, ...]:
        """Bytes by the time since their last use, see `ages`."""
        return self._index.ages(self._now())

    def check(self) -> None:
        """Invariants, for tests."""
        self._index.check()
        assert len(self._blobs) == self._index.snapshot().blobs
        assert self._packed <= self._blobs.keys()

    def keep(self, digest: Digest, data: bytes, *, is_packed: bool = False) -> None:
        """The end of a write: verified bytes, or frames of them, for which room is reserved."""
        key = key_of(digest.function, digest.hash)
        self._blobs[key] = data
        (self._packed.add if is_packed else self._packed.discard)(key)
        self._index.add(key, digest.size_bytes, self._now())
        self.release(digest.size_bytes)

    def release(self, size: int) -> None:
        self._index.release(size)

    def _make_room(self, size: int) -> None:
        for key, _ in self._index.reserve(size, self._now()):
            del self._blobs[key]
            self._packed.discard(key)


class MemoryUpload:
    """An upload into memory; its room is reserved from the start."""

    def __init__(self, store: MemoryBlobStore, digest: Digest) -> None:
        self._store = store
        self._digest = digest
        self._data = bytearray()
        self._open = True

    @property
    def offset(self) -> int:
        return len(self._data)

    async def append(self, *pieces: Buffer) -> None:
        await trio.lowlevel.checkpoint()
        self.append_nowait(pieces)

    def append_nowait(self, pieces: Sequence[Buffer]) -> bool:
        if len(self._data) + sum(map(len, pieces)) > self._digest.size_bytes:
            raise InvalidArgumentError(f"more bytes came than {self._digest} has")
        for piece in pieces:
            self._data += piece
        return True

    async def commit(self) -> None:
        await trio.lowlevel.checkpoint()
        data = bytes(self._data)
        try:
            check_bytes(self._digest, data)
        except InvalidArgumentError:
            self.abort()
            raise
        self._open = False
        self._store.keep(self._digest, data)

    def abort(self) -> None:
        if self._open:
            self._open = False
            self._store.release(self._digest.size_bytes)


class MemoryPackedUpload:
    """The same of Zstandard frames; `offset` counts the plain bytes that they gave."""

    def __init__(self, store: MemoryBlobStore, digest: Digest) -> None:
        self._store = store
        self._digest = digest
        self._frames = bytearray()
        self._state = decompressor("zstd", digest.size_bytes)
        self._hasher = hasher(digest.function, digest.size_bytes)
        self._open = True
        self.offset = 0

    async def append(self, *pieces: Buffer) -> None:
        """Raises InvalidArgumentError for what is no frame, or gives too much."""
        for piece in pieces:
            await trio.lowlevel.checkpoint()
            self._frames += piece
            for plain in self._state.feed(bytes(piece)):
                self._hasher.update(plain)
                self.offset += len(plain)

    def append_nowait(self, _pieces: Sequence[Buffer]) -> bool:
        """Nothing is so quick here."""
        return False

    async def commit(self) -> None:
        await trio.lowlevel.checkpoint()
        digest, frames = self._digest, bytes(self._frames)
        try:
            self._state.finish()
            check_digest(digest, Digest(self._hasher.hexdigest(), self.offset, digest.function))
        except InvalidArgumentError:
            self.abort()
            raise
        self._open = False
        if pays(digest.size_bytes, len(frames)):
            self._store.keep(digest, frames, is_packed=True)
        else:
            self._store.keep(digest, decompressed("zstd", frames, digest.size_bytes))

    async def unpacked(self) -> MemoryUpload:
        """This one from `offset` on, of plain bytes. Ends this one."""
        await trio.lowlevel.checkpoint()
        self._open = False  # the room is the other one's now
        plain = MemoryUpload(self._store, self._digest)
        frames = decompressor("zstd", self._digest.size_bytes)
        plain.append_nowait(list(frames.feed(bytes(self._frames))))
        return plain

    def abort(self) -> None:
        if self._open:
            self._open = False
            self._store.release(self._digest.size_bytes)
