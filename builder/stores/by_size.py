"""Small blobs in one store, large ones in another."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable

from builder.base.digest import Digest
from builder.stores.failure import size_in
from builder.stores.frames import is_packed, read_packed, write_packed
from builder.stores.interface import BlobStore


class BySizeBlobs:
    """Blobs of at most `limit` bytes in `small`."""

    def __init__(self, limit: int, small: BlobStore, large: BlobStore) -> None:
        self._limit = limit
        self._small = small
        self._large = large

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        every = list(dict.fromkeys(digests))
        missing: set[Digest] = set()
        for store in (self._small, self._large):
            if share := [digest for digest in every if self._store(digest) is store]:
                missing.update(await store.find_missing(share))
        return [digest for digest in every if digest in missing]

    def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        return self._store(digest).read(digest, offset, limit)

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        await self._store(digest).write(digest, chunks)

    async def is_packed(self, digest: Digest) -> bool:
        return await is_packed(self._store(digest), digest)

    def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        return read_packed(self._store(digest), digest)

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:
        await write_packed(self._store(digest), digest, frames)

    async def get(self, digest: Digest) -> bytes:
        return await self._store(digest).get(digest)

    async def put(self, digest: Digest, data: bytes) -> None:
        await self._store(digest).put(digest, data)

    async def size_of(self, function: str, hash_: str) -> int | None:
        size = await size_in(self._small, function, hash_)
        return await size_in(self._large, function, hash_) if size is None else size

    def _store(self, digest: Digest) -> BlobStore:
        return self._small if digest.size_bytes <= self._limit else self._large
