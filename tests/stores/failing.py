"""A store that can be taken down, and that counts what it is asked for."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing

import trio

from builder.base.digest import Digest
from builder.base.errors import UnavailableError
from builder.stores.interface import BlobStore
from builder.stores.records import Records


class FailingBlobs:
    """`inner`, while it is not `down`."""

    def __init__(self, inner: BlobStore) -> None:
        self.inner = inner
        self.down = False
        self.calls: Counter[str] = Counter()
        self.asked: list[Digest] = []  # by find_missing

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        every = list(digests)
        await self._called("find_missing")
        self.asked += every
        return await self.inner.find_missing(every)

    async def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        await self._called("read")
        async with aclosing(self.inner.read(digest, offset, limit)) as pieces:
            async for piece in pieces:
                yield piece
                await self._called("piece")

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        await self._called("write")
        await self.inner.write(digest, chunks)

    async def get(self, digest: Digest) -> bytes:
        await self._called("get")
        return await self.inner.get(digest)

    async def put(self, digest: Digest, data: bytes) -> None:
        await self._called("put")
        await self.inner.put(digest, data)

    async def _called(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self.calls[name] += 1
        if self.down:
            raise UnavailableError("it was taken down")


class FailingRecords:
    """The same of records."""

    def __init__(self, inner: Records) -> None:
        self.inner = inner
        self.down = False

    async def get(self, space: str, hash_: str) -> bytes | None:
        await self._called()
        return await self.inner.get(space, hash_)

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        await self._called()
        await self.inner.put(space, hash_, data)

    async def _called(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.down:
            raise UnavailableError("it was taken down")
