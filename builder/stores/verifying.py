"""A store whose bytes are believed only when their hash is right.

For stores that others write to, or that cannot check themselves (Redis, object stores, other
servers). A damaged blob is missing from then on, until it is written again; `damaged` counts
them. A large one is hashed as it passes: its last piece is held back until the hash is known, so
no reader ever has all of it.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing

from builder.base.digest import Digest, digest_of, hasher
from builder.base.errors import DataLossError, NotFoundError
from builder.stores.failure import size_in
from builder.stores.interface import BlobStore

REMEMBERED = 10_000  # damaged blobs


class VerifyingBlobs:
    """`store`, checked; `tell(digest)` is called for each damaged blob that is met."""

    def __init__(self, store: BlobStore, tell: Callable[[Digest], object] = lambda _: None) -> None:
        self._store = store
        self._tell = tell
        self._bad: OrderedDict[Digest, None] = OrderedDict()
        self.damaged = 0

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        every = list(dict.fromkeys(digests))
        if not self._bad:
            return await self._store.find_missing(every)
        missing = set(await self._store.find_missing([d for d in every if d not in self._bad]))
        return [d for d in every if d in missing or d in self._bad]

    async def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        self._check(digest)
        whole = offset == 0 and (limit is None or limit >= digest.size_bytes)
        state = hasher(digest.function, digest.size_bytes) if whole else None
        held = b""
        try:
            async with aclosing(self._store.read(digest, offset, limit)) as pieces:
                async for piece in pieces:
                    if state is not None:
                        state.update(piece)
                    if held:
                        yield held
                    held = piece
        except DataLossError:
            raise self._damaged(digest) from None
        if state is not None and state.hexdigest() != digest.hash:
            raise self._damaged(digest)
        if held:
            yield held

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        await self._store.write(digest, chunks)
        self._bad.pop(digest, None)

    async def get(self, digest: Digest) -> bytes:
        self._check(digest)
        try:
            data = await self._store.get(digest)
        except DataLossError:
            raise self._damaged(digest) from None
        if digest_of(data, digest.function) != digest:
            raise self._damaged(digest)
        return data

    async def put(self, digest: Digest, data: bytes) -> None:
        await self._store.put(digest, data)
        self._bad.pop(digest, None)

    async def size_of(self, function: str, hash_: str) -> int | None:
        size = await size_in(self._store, function, hash_)
        return None if size is None or Digest(hash_, size, function) in self._bad else size

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
