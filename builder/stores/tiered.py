"""Blobs in a near store, filled from a far one.

Theory of operation. What is asked for is looked for near, then far; what was only far is kept
near from then on. So a blob that was damaged near is healed by being read. A write ends near;
`onward` brings it to the far store (now, later, or never). A tier that fails is one that has
nothing: reads go to the other, and so do writes that the near one cannot take.

What is said to be present is promised by a tier that keeps leases. Where only the near one does
(`far_keeps` is false), what is found far is brought near before it is said to be present, and
what cannot be brought is missing; what the near one has no room for is refused. Where only the
far one does, the near one is never asked.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial

import trio

from builder.base.digest import Digest
from builder.base.errors import NotFoundError, StatusError
from builder.stores.copying import Chunks, copy, cut, read_either
from builder.stores.failure import FAILED, NOT_HERE, NOT_TAKEN, missing_or_all, size_in
from builder.stores.frames import (
    Writing,
    each,
    is_packed,
    read_frames_of_either,
    read_packed,
    write_packed,
    write_plain,
)
from builder.stores.interface import (
    PIECE,
    BlobStore,
    LocalPackedStore,
    ResumableStore,
    Upload,
)
from builder.stores.memory import absent, check_range

BROUGHT_AT_ONCE = 16  # blobs

Onward = Callable[[Digest], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Keeping:
    """Which tier keeps leases, and whether a call fails when the far one does."""

    near: bool = True
    far: bool = True
    far_required: bool = False


class TieredBlobs:
    """`near` before `far`."""

    def __init__(
        self, near: BlobStore, far: BlobStore, onward: Onward, keeping: Keeping | None = None
    ) -> None:
        self.near = near
        self.far = far
        self.onward = onward
        self._keeping = keeping or Keeping()
        self.far_failures = 0  # of questions that the near tier could not answer

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        every = list(dict.fromkeys(digests))
        gone = await missing_or_all(self.near, every)
        asked = gone if self._keeping.near else every
        if not asked:
            return []
        try:
            absent_far = await self.far.find_missing(asked)
        except FAILED:
            self.far_failures += 1
            if self._keeping.far_required:
                raise
            return gone
        if self._keeping.near and not self._keeping.far:
            lacking = set(absent_far)
            lacking |= await self._bring([one for one in gone if one not in lacking])
            return [one for one in gone if one in lacking]
        return absent_far

    async def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        check_range(digest, offset)
        if digest.size_bytes <= PIECE:
            if data := cut(await self.get(digest), offset, limit):
                yield data
            return
        whole = offset == 0 and (limit is None or limit >= digest.size_bytes)
        if whole and isinstance(self.near, ResumableStore) and await self._is_only_far(digest):
            pieces = _filling(self.near.begin, digest, self.far.read(digest))
        else:
            pieces = read_either((self.near, self.far), digest, offset, limit)
        async with aclosing(self._told(digest, pieces)) as told:
            async for piece in told:
                yield piece

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        await self._write(digest, chunks, write_plain)

    async def is_packed(self, digest: Digest) -> bool:
        return await is_packed(self.near, digest) or await is_packed(self.far, digest)

    def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        sources = partial(read_packed, self.near, digest), partial(self._far_frames, digest)
        return self._told(digest, read_frames_of_either(sources))

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:
        await self._write(digest, frames, write_packed)

    async def get(self, digest: Digest) -> bytes:
        with suppress(*NOT_HERE):
            return await self.near.get(digest)
        try:
            data = await self.far.get(digest)
        except FAILED as error:
            raise self._far_failed(digest, error) from error
        with suppress(StatusError):  # a near tier that is full or down has a bad day, not we
            await self.near.put(digest, data)
        return data

    async def put(self, digest: Digest, data: bytes) -> None:
        try:
            await self.near.put(digest, data)
        except NOT_TAKEN:
            if not self._keeping.far:
                raise
            await self.far.put(digest, data)
            return
        await self.onward(digest)

    async def size_of(self, function: str, hash_: str) -> int | None:
        """The size in bytes of a stored blob; None if it is not here."""
        size = await size_in(self.near, function, hash_)
        return await size_in(self.far, function, hash_) if size is None else size

    def _far_failed(self, digest: Digest, error: StatusError) -> StatusError:
        """What a reader is told: a blob that cannot be had is missing, unless we have to fail."""
        self.far_failures += 1
        return error if self._keeping.far_required else absent(digest)

    async def _told(
        self, digest: Digest, pieces: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            try:
                async for piece in pieces:
                    yield piece
            except FAILED as error:
                raise self._far_failed(digest, error) from error

    async def _write(self, digest: Digest, chunks: AsyncIterable[bytes], write: Writing) -> None:
        source = Chunks(chunks)
        try:
            await write(self.near, digest, source)
        except NOT_TAKEN:
            if source.begun or source.failed or not self._keeping.far:
                raise
            await write(self.far, digest, source)
            return
        await self.onward(digest)

    async def _is_only_far(self, digest: Digest) -> bool:
        return bool(await missing_or_all(self.near, [digest]))

    async def _far_frames(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        """Those of the far blob, which is kept near as they pass."""
        frames = read_packed(self.far, digest)
        if isinstance(self.near, LocalPackedStore):
            frames = _filling(self.near.begin_packed, digest, frames)
        elif digest.size_bytes <= PIECE:
            frames = _filling_at_once(self.near, digest, frames)
        async with aclosing(frames):
            async for piece in frames:
                yield piece

    async def _bring(self, digests: Iterable[Digest]) -> set[Digest]:
        """Copy these near; those that could not be."""
        failed: set[Digest] = set()
        limit = trio.CapacityLimiter(BROUGHT_AT_ONCE)

        async def bring(digest: Digest) -> None:
            async with limit:
                try:
                    await copy(self.far, self.near, digest)
                except StatusError:
                    failed.add(digest)

        async with trio.open_nursery() as nursery:
            for digest in digests:
                nursery.start_soon(bring, digest)
        return failed


async def _filling(
    begin: Callable[[Digest], Awaitable[Upload]],
    digest: Digest,
    pieces: AsyncGenerator[bytes, None],
) -> AsyncGenerator[bytes, None]:
    """These pieces, which become a blob as they pass; a reader that leaves early leaves nothing."""
    upload = None
    with suppress(StatusError):  # a near tier that is full or down has a bad day, not we
        upload = await begin(digest)
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                if upload is not None:
                    try:
                        await upload.append(piece)
                    except StatusError:
                        upload.abort()
                        upload = None
                yield piece
        if upload is not None:
            with suppress(StatusError):
                await upload.commit()
    finally:
        if upload is not None:
            upload.abort()


async def _filling_at_once(
    near: BlobStore, digest: Digest, frames: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """The same of a small blob, into a store whose writes cannot be fed."""
    gathered = []
    async with aclosing(frames):
        async for piece in frames:
            gathered.append(piece)
            yield piece
    async with aclosing(each(gathered)) as pieces:
        with suppress(StatusError):
            await write_packed(near, digest, pieces)


class Through:
    """Write-through: what is near is far too when a write returns.

    A far tier that cannot take it fails the write if it is `required`; otherwise the near copy
    is all there is, and `skipped` counts it.
    """

    def __init__(self, near: BlobStore, far: BlobStore, *, required: bool = False) -> None:
        self._near = near
        self._far = far
        self._required = required
        self.skipped = 0

    async def __call__(self, digest: Digest) -> None:
        try:
            await copy(self._near, self._far, digest)
        except (NotFoundError, *NOT_TAKEN):
            if self._required:
                raise
            self.skipped += 1


async def nowhere(*_blob_or_record: object) -> None:
    """No write-through: the far tier is only read."""
    await trio.lowlevel.checkpoint()
