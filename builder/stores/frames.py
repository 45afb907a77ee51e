"""Blobs as Zstandard frames, from any store and to any store.

Theory of operation. A store that is put together from others (`PackedStore`) hands frames through
as they are, by asking these functions of the stores below it. So a blob is compressed at most once
on its way, by the one store that holds it plain, and unpacked at most once, by the one that can
hold nothing else; what lies compressed somewhere is given out from there byte for byte.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import aclosing

import trio
from blake3 import blake3

from builder.base.digest import Digest
from builder.base.errors import NotFoundError, StatusError
from builder.reapi import compression
from builder.stores.failure import FAILED, NOT_HERE
from builder.stores.interface import PIECE, BlobStore, Buffer, PackedStore, Upload

ZSTD = "zstd"
IN_PLACE = 32 * 1024  # bytes that take 0.1 ms to compress
STEP = 64 * 1024  # compressed bytes that are unpacked before others have their turn

Writing = Callable[[BlobStore, Digest, AsyncIterable[bytes]], Awaitable[None]]


async def is_packed(store: BlobStore, digest: Digest) -> bool:
    """As `PackedStore.is_packed`, of any store; False for one that fails."""
    if not isinstance(store, PackedStore):
        return False
    try:
        return await store.is_packed(digest)
    except FAILED:
        return False


def read_packed(store: BlobStore, digest: Digest) -> AsyncGenerator[bytes, None]:
    """As `PackedStore.read_packed`, of any store: what it holds plain is compressed here."""
    if isinstance(store, PackedStore):
        return store.read_packed(digest)
    return compressing(ZSTD, store.read(digest), digest.size_bytes)


async def write_plain(store: BlobStore, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
    await store.write(digest, chunks)


async def write_packed(store: BlobStore, digest: Digest, frames: AsyncIterable[bytes]) -> None:
    """As `PackedStore.write_packed`, of any store: what can only be held plain is unpacked here."""
    if isinstance(store, PackedStore):
        await store.write_packed(digest, frames)
        return
    async with aclosing(unpacking(digest, frames)) as pieces:
        await store.write(digest, pieces)


async def each(pieces: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    """These, for who wants them one by one."""
    for piece in pieces:
        yield piece


async def packed_first(stores: Sequence[BlobStore], digest: Digest) -> list[BlobStore]:
    """The same stores; those that would have to compress the blob come last."""
    packed = [store for store in stores if await is_packed(store, digest)]
    return packed + [store for store in stores if store not in packed]


async def read_frames_of_either(
    sources: Sequence[Callable[[], AsyncGenerator[bytes, None]]],
) -> AsyncGenerator[bytes, None]:
    """From the first that has the blob. Raises what the last one raises.

    Where one fails on the way, the next one goes on if it has the very same frames, as copies do;
    else the failure is raised, since two halves of frames are no frames.
    """
    sent, seen = 0, blake3()
    failure: StatusError = NotFoundError("there is no store that could have it")
    for source in sources:
        try:
            async with aclosing(_after(source(), sent, seen.digest(), failure)) as pieces:
                async for piece in pieces:
                    sent += len(piece)
                    seen.update(piece)
                    yield piece
            return
        except NOT_HERE as error:
            if source is sources[-1] or (sent and not isinstance(error, FAILED)):
                raise
            failure = error


async def _after(
    frames: AsyncGenerator[bytes, None], sent: int, hash_: bytes, otherwise: StatusError
) -> AsyncGenerator[bytes, None]:
    """What follows the first `sent` bytes, if they have this hash."""
    seen = blake3()
    async with aclosing(frames):
        async for piece in frames:
            if sent:
                head, rest = piece[:sent], piece[sent:]
                seen.update(head)
                sent -= len(head)
                if not sent and seen.digest() != hash_:
                    raise otherwise
                piece = rest
            if piece:
                yield piece
    if sent:
        raise otherwise


async def compressing(
    name: str, pieces: AsyncGenerator[bytes, None], size: int
) -> AsyncGenerator[bytes, None]:
    """These pieces, of `size` bytes together, compressed; they are closed at the end."""
    state = compression.compressor(name, size)
    async with aclosing(pieces):
        async for piece in pieces:
            if len(piece) <= IN_PLACE:
                data = state.compress(piece)
            else:
                data = await trio.to_thread.run_sync(state.compress, piece)
            if data:
                yield data
    if data := state.flush():
        yield data


async def unpacking(digest: Digest, frames: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """The plain bytes, in pieces of at most 1 MiB. Raises InvalidArgumentError for what are no
    frames of so many bytes; their hash is not looked at."""
    state = compression.decompressor(ZSTD, digest.size_bytes)
    async for data in frames:
        for start in range(0, len(data), STEP):
            await trio.lowlevel.checkpoint()
            for plain in state.feed(data[start : start + STEP]):
                for at in range(0, len(plain), PIECE):
                    yield plain[at : at + PIECE]
    state.finish()


class UnpackingUpload:
    """A `PackedUpload` into a store that keeps this blob plain: what comes goes on unpacked."""

    def __init__(self, digest: Digest, plain: Upload) -> None:
        self._plain = plain
        self._state = compression.decompressor(ZSTD, digest.size_bytes)
        self._open = True

    @property
    def offset(self) -> int:
        return self._plain.offset

    async def append(self, *pieces: Buffer) -> None:
        """Raises InvalidArgumentError for what is no frame, or gives too much."""
        for data in self._state.feed(b"".join(pieces)):
            await self._plain.append(data)

    def append_nowait(self, _pieces: Sequence[Buffer]) -> bool:
        """Nothing is so quick here."""
        return False

    async def commit(self) -> None:
        try:
            self._state.finish()
        except StatusError:
            self.abort()
            raise
        await self._plain.commit()

    async def unpacked(self) -> Upload:
        """What came is plain already."""
        await trio.lowlevel.checkpoint()
        self._open = False
        return self._plain

    def abort(self) -> None:
        if self._open:
            self._plain.abort()
