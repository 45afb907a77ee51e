"""Blobs from one store to another, and reading from whichever of several has them."""

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError, StatusError
from builder.stores.failure import FAILED, NOT_HERE
from builder.stores.frames import is_packed, read_packed, write_packed
from builder.stores.interface import PIECE, BlobStore

KEPT = 128 * 1024  # bytes of a writer's chunks: a small blob's, or its frames


async def copy(source: BlobStore, target: BlobStore, digest: Digest) -> None:
    """As it is kept: compressed or not. Raises what either of them raises."""
    if await is_packed(source, digest):
        async with aclosing(read_packed(source, digest)) as frames:
            await write_packed(target, digest, frames)
        return
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


async def joined(chunks: AsyncIterable[bytes], digest: Digest, most: int | None = None) -> bytes:
    """All of them. Raises InvalidArgumentError as soon as they are more than `most` bytes, or than
    the digest says."""
    data, most = bytearray(), digest.size_bytes if most is None else most
    async for chunk in chunks:
        data += chunk
        if len(data) > most:
            raise InvalidArgumentError(f"more bytes came than {digest} has")
    return bytes(data)


def cut(data: bytes, offset: int, limit: int | None) -> bytes:
    """As `read` would cut it."""
    return data[offset : None if limit is None else offset + limit]


class Chunks:
    """Chunks of a writer, which a second store can have too, as long as they are few: `begun` once
    some were taken that are not kept; `failed` when it was the writer that failed."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = aiter(chunks)
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._at = 0
        self.begun = False
        self.failed = False

    def __aiter__(self) -> "Chunks":
        """From the first one on that is kept."""
        self._at = 0
        return self

    async def __anext__(self) -> bytes:
        if self._at < len(self._kept):
            self._at += 1
            return self._kept[self._at - 1]
        try:
            chunk = await anext(self._chunks)
        except StatusError:
            self.failed = True
            raise
        self._keep(chunk)
        return chunk

    def _keep(self, chunk: bytes) -> None:
        self._kept_bytes += len(chunk)
        if self._kept_bytes > KEPT:
            self._kept.clear()
            self.begun = True
        else:
            self._kept.append(chunk)
            self._at += 1
