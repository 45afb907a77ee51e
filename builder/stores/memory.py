"""Blobs in memory: for tests, for small caches, for a service inside one process."""

import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from hashlib import sha256

import trio

from builder.base.digest import Digest, digest_of, is_empty
from builder.base.errors import InvalidArgumentError, NotFoundError, OutOfRangeError
from builder.stores.entries import key_of
from builder.stores.index import Index, Occupancy
from builder.stores.interface import PIECE, Buffer, NamedT


def check_bytes(digest: Digest, data: bytes) -> None:
    """Raises InvalidArgumentError unless these bytes are the ones that the digest names."""
    hash_, size, function = digest
    if function == "sha256" and len(data) == size and sha256(data).hexdigest() == hash_:
        return
    found = digest_of(data, function)
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
        data = memoryview(self.get_nowait(digest))
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
        return self.get_nowait(digest)

    async def put(self, digest: Digest, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.put_nowait(digest, data)

    async def begin(self, digest: Digest) -> "MemoryUpload":
        await trio.lowlevel.checkpoint()
        self._make_room(digest.size_bytes)
        return MemoryUpload(self, digest)

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
        return self._blobs[key_of(digest.function, digest.hash)]

    def put_nowait(self, digest: Digest, data: bytes) -> bool:
        check_bytes(digest, data)
        if is_empty(digest) or self._index.touch(digest, self._now()):
            return True
        self._make_room(len(data))
        self.keep(digest, bytes(data))
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

    def keep(self, digest: Digest, data: bytes) -> None:
        """The end of a write: verified bytes for which room is reserved."""
        key = key_of(digest.function, digest.hash)
        self._blobs[key] = data
        self._index.add(key, len(data), self._now())
        self.release(len(data))

    def release(self, size: int) -> None:
        self._index.release(size)

    def _make_room(self, size: int) -> None:
        for key, _ in self._index.reserve(size, self._now()):
            del self._blobs[key]


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
