"""A store whose bytes are believed only when their hash is right.

For stores that others write to, or that cannot check themselves (Redis, object stores, other
servers). A damaged blob is missing from then on, until it is written again; `damaged` counts
them. A large one is hashed as it passes (`proven`), and what comes as frames is unpacked for that.
A store that raises DataLossError by itself (`is_proven`) is not hashed a second time.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing

from builder.base.digest import Digest, digest_of
from builder.base.errors import DataLossError, NotFoundError
from builder.stores.failure import size_in
from builder.stores.frames import is_packed, read_packed, write_packed
from builder.stores.interface import BlobStore
from builder.stores.proven import FramesProof, PlainProof, proven

REMEMBERED = 10_000  # damaged blobs


class VerifyingBlobs:
    """`store`, checked; `tell(digest)` is called for each damaged blob that is met."""

    def __init__(
        self,
        store: BlobStore,
        tell: Callable[[Digest], object] = lambda _: None,
        *,
        is_proven: bool = False,
    ) -> None:
        self._store = store
        self._is_proven = is_proven
        self._tell = tell
        self._bad: OrderedDict[Digest, None] = OrderedDict()
        self.damaged = 0

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        every = list(dict.fromkeys(digests))
        if not self._bad:
            return await self._store.find_missing(every)
        missing = set(await self._store.find_missing([d for d in every if d not in self._bad]))
        return [d for d in every if d in missing or d in self._bad]

    def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        pieces = self._store.read(digest, offset, limit)
        whole = offset == 0 and (limit is None or limit >= digest.size_bytes)
        if whole and not self._is_proven:
            pieces = proven(digest, pieces, PlainProof(digest))
        return self._told(digest, pieces)

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        await self._store.write(digest, chunks)
        self._bad.pop(digest, None)

    async def is_packed(self, digest: Digest) -> bool:
        return digest not in self._bad and await is_packed(self._store, digest)

    def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        frames = read_packed(self._store, digest)
        if not self._is_proven:
            frames = proven(digest, frames, FramesProof(digest))
        return self._told(digest, frames)

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:
        await write_packed(self._store, digest, frames)
        self._bad.pop(digest, None)

    async def get(self, digest: Digest) -> bytes:
        self._check(digest)
        try:
            data = await self._store.get(digest)
        except DataLossError:
            raise self._damaged(digest) from None
        if not self._is_proven and digest_of(data, digest.function) != digest:
            raise self._damaged(digest)
        return data

    async def put(self, digest: Digest, data: bytes) -> None:
        await self._store.put(digest, data)
        self._bad.pop(digest, None)

    async def size_of(self, function: str, hash_: str) -> int | None:
        size = await size_in(self._store, function, hash_)
        return None if size is None or Digest(hash_, size, function) in self._bad else size

    async def _told(
        self, digest: Digest, pieces: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """These pieces; DATA_LOSS means that the blob is damaged."""
        self._check(digest)
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
        except DataLossError:
            raise self._damaged(digest) from None

    def _check(self, digest: Digest) -> None:
        if digest in self._bad:
            raise _missing(digest)

    def _damaged(self, digest: Digest) -> NotFoundError:
        self.damaged += 1
        self._bad[digest] = None
        if len(self._bad) > REMEMBERED:
            self._bad.popitem(last=False)
        self._tell(digest)
        return _missing(digest)


def _missing(digest: Digest) -> NotFoundError:
    return NotFoundError(f"blob {digest} is damaged where it is stored; upload it again")
