"""Blobs from one store to another, and reading from whichever of several has them."""

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError, StatusError
from builder.stores.failure import FAILED, NOT_HERE
from builder.stores.interface import PIECE, BlobStore


async def copy(source: BlobStore, target: BlobStore, digest: Digest) -> None:
    """Raises what either of them raises."""
    if digest.size_bytes <= PIECE:
        await target.put(digest, await source.get(digest))
        return
    async with aclosing(source.read(digest)) as pieces:
        await target.write(digest, pieces)


async def read_either(
    stores: Sequence[BlobStore], digest: Digest, offset: int, limit: int | None
) -> AsyncGenerator[bytes, None]:
    """From the first that has it. Where one fails on the way, the next goes on from there.

    Raises what the last one raises. Damage that shows after the first piece is raised at once:
    what was handed out may be part of it.
    """
    sent = 0
    for store in stores:
        rest = None if limit is None else limit - sent
        try:
            async with aclosing(store.read(digest, offset + sent, rest)) as pieces:
                async for piece in pieces:
                    sent += len(piece)
                    yield piece
            return
        except NOT_HERE as error:
            if store is stores[-1] or (sent and not isinstance(error, FAILED)):
                raise


async def joined(chunks: AsyncIterable[bytes], digest: Digest) -> bytes:
    """All of them. Raises InvalidArgumentError as soon as they are too many."""
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > digest.size_bytes:
            raise InvalidArgumentError(f"more bytes came than {digest} has")
    return bytes(data)


def cut(data: bytes, offset: int, limit: int | None) -> bytes:
    """As `read` would cut it."""
    return data[offset : None if limit is None else offset + limit]


class Chunks:
    """Chunks of a writer: `begun` once one was taken, so that no other store can have them all;
    `failed` when it was the writer that failed."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = aiter(chunks)
        self.begun = False
        self.failed = False

    def __aiter__(self) -> "Chunks":
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except StatusError:
            self.failed = True
            raise
        self.begun = True
        return chunk
