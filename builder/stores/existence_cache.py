"""What was present a moment ago is not asked for again.

For stores where each question is a trip over the network. `keep_s` has to be shorter than the
lease of the store below, since what is answered from here renews nothing there. A blob that
turns out to be gone is forgotten at once.
"""

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing

import trio

from builder.base.digest import Digest, is_empty
from builder.stores.failure import NOT_HERE, size_in
from builder.stores.frames import is_packed, read_packed, write_packed
from builder.stores.interface import BlobStore


class ExistenceCachedBlobs:
    """At most `most` digests, each believed for `keep_s` seconds; 250 bytes of memory each."""

    def __init__(
        self,
        store: BlobStore,
        keep_s: float,
        most: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._keep_s = keep_s
        self._most = most
        self._now = now
        self._seen: OrderedDict[Digest, float] = OrderedDict()  # the oldest first

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        since = self._now() - self._keep_s
        unknown = [one for one in dict.fromkeys(digests) if self._seen.get(one, since) <= since]
        unknown = [one for one in unknown if not is_empty(one)]
        if not unknown:
            await trio.lowlevel.checkpoint()
            return []
        missing = await self._store.find_missing(unknown)
        gone = set(missing)
        for one in unknown:
            if one in gone:
                self._seen.pop(one, None)
            else:
                self._saw(one)
        return missing

    def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        return self._read(digest, self._store.read(digest, offset, limit))

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        await self._store.write(digest, chunks)
        self._saw(digest)

    async def is_packed(self, digest: Digest) -> bool:
        return await is_packed(self._store, digest)

    def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        return self._read(digest, read_packed(self._store, digest))

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:
        await write_packed(self._store, digest, frames)
        self._saw(digest)

    async def get(self, digest: Digest) -> bytes:
        try:
            return await self._store.get(digest)
        except NOT_HERE:
            self._seen.pop(digest, None)
            raise

    async def put(self, digest: Digest, data: bytes) -> None:
        await self._store.put(digest, data)
        self._saw(digest)

    async def size_of(self, function: str, hash_: str) -> int | None:
        return await size_in(self._store, function, hash_)

    async def _read(
        self, digest: Digest, pieces: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
        except NOT_HERE:
            self._seen.pop(digest, None)
            raise

    def _saw(self, digest: Digest) -> None:
        self._seen.pop(digest, None)
        self._seen[digest] = self._now()
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
