"""A store that is read and never written, whatever is asked of it.

Writing what is present is no error, as everywhere; the rest is refused.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable

from builder.base.digest import Digest
from builder.base.errors import PermissionDeniedError
from builder.stores.failure import size_in
from builder.stores.frames import is_packed, read_packed
from builder.stores.interface import BlobStore
from builder.stores.memory import check_bytes
from builder.stores.records import Records


class ReadOnlyBlobs:
    def __init__(self, store: BlobStore) -> None:
        self._store = store

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        return await self._store.find_missing(digests)

    def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        return self._store.read(digest, offset, limit)

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:  # noqa: ARG002
        await self._refuse(digest)

    async def is_packed(self, digest: Digest) -> bool:
        return await is_packed(self._store, digest)

    def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        return read_packed(self._store, digest)

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:  # noqa: ARG002
        await self._refuse(digest)

    async def get(self, digest: Digest) -> bytes:
        return await self._store.get(digest)

    async def put(self, digest: Digest, data: bytes) -> None:
        check_bytes(digest, data)
        await self._refuse(digest)

    async def size_of(self, function: str, hash_: str) -> int | None:
        return await size_in(self._store, function, hash_)

    async def _refuse(self, digest: Digest) -> None:
        if await self._store.find_missing([digest]):
            raise PermissionDeniedError(f"blob {digest} is not stored: this storage is read-only")


class ReadOnlyRecords:
    def __init__(self, records: Records) -> None:
        self._records = records

    async def get(self, space: str, hash_: str) -> bytes | None:
        return await self._records.get(space, hash_)

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        if await self._records.get(space, hash_) != data:
            raise PermissionDeniedError(f"result {hash_} is not kept: this storage is read-only")
