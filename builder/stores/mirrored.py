"""Every blob in two stores. What only one of them has is copied to the other when it is met.

A write has to succeed in one of the two; `unpaired` counts those that could not be stored twice.
Reads are spread over both by the blob's hash. A side that fails is one that has nothing, and is
repaired when it is back: by reading, and by being asked what is missing.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Iterable
from contextlib import aclosing, suppress
from functools import partial

import trio

from builder.base.digest import Digest
from builder.base.errors import NotFoundError, StatusError
from builder.stores.copying import Chunks, copy, cut, read_either
from builder.stores.failure import FAILED, NOT_HERE, NOT_TAKEN, size_in
from builder.stores.frames import (
    Writing,
    is_packed,
    packed_first,
    read_frames_of_either,
    read_packed,
    write_packed,
    write_plain,
)
from builder.stores.interface import PIECE, BlobStore
from builder.stores.memory import absent, check_range
from builder.stores.records import Records

REPAIRED_AT_ONCE = 16  # blobs


class MirroredBlobs:
    """`a` and `b` hold the same."""

    def __init__(self, a: BlobStore, b: BlobStore) -> None:
        self._a = a
        self._b = b
        self.repaired = 0
        self.unpaired = 0

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        every = list(dict.fromkeys(digests))
        lacking: dict[BlobStore, set[Digest] | None] = {}

        async def ask(store: BlobStore) -> None:
            lacking[store] = None
            with suppress(*FAILED):
                lacking[store] = set(await store.find_missing(every))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, self._a)
            nursery.start_soon(ask, self._b)
        in_a, in_b = lacking[self._a], lacking[self._b]
        if in_a is None or in_b is None:
            gone = in_a if in_b is None else in_b
            return every if gone is None else [one for one in every if one in gone]
        await self._repair(self._a, self._b, [one for one in every if one in in_b - in_a])
        await self._repair(self._b, self._a, [one for one in every if one in in_a - in_b])
        return [one for one in every if one in in_a & in_b]

    async def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        check_range(digest, offset)
        if digest.size_bytes <= PIECE:
            if data := cut(await self.get(digest), offset, limit):
                yield data
            return
        await self.find_missing([digest])  # which repairs
        async with aclosing(read_either(self._order(digest), digest, offset, limit)) as pieces:
            try:
                async for piece in pieces:
                    yield piece
            except FAILED as error:
                raise absent(digest) from error

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        await self._write(digest, chunks, write_plain)

    async def is_packed(self, digest: Digest) -> bool:
        return await is_packed(self._a, digest) or await is_packed(self._b, digest)

    async def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        await self.find_missing([digest])  # which repairs
        stores = await packed_first(self._order(digest), digest)
        sources = [partial(read_packed, store, digest) for store in stores]
        async with aclosing(read_frames_of_either(sources)) as pieces:
            try:
                async for piece in pieces:
                    yield piece
            except FAILED as error:
                raise absent(digest) from error

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:
        await self._write(digest, frames, write_packed)

    async def get(self, digest: Digest) -> bytes:
        first, second = self._order(digest)
        with suppress(*NOT_HERE):
            return await first.get(digest)
        try:
            data = await second.get(digest)
        except FAILED as error:
            raise absent(digest) from error
        with suppress(StatusError):
            await first.put(digest, data)
            self.repaired += 1
        return data

    async def put(self, digest: Digest, data: bytes) -> None:
        try:
            await self._a.put(digest, data)
        except NOT_TAKEN:
            self.unpaired += 1
            await self._b.put(digest, data)
            return
        await self._second(self._b.put(digest, data))

    async def size_of(self, function: str, hash_: str) -> int | None:
        size = await size_in(self._a, function, hash_)
        return await size_in(self._b, function, hash_) if size is None else size

    async def _write(self, digest: Digest, chunks: AsyncIterable[bytes], write: Writing) -> None:
        source = Chunks(chunks)
        try:
            await write(self._a, digest, source)
        except NOT_TAKEN:
            if source.begun or source.failed:
                raise
            self.unpaired += 1
            await write(self._b, digest, source)
            return
        await self._second(copy(self._a, self._b, digest))

    def _order(self, digest: Digest) -> tuple[BlobStore, BlobStore]:
        return (self._a, self._b) if int(digest.hash[:2], 16) & 1 else (self._b, self._a)

    async def _second(self, writing: Awaitable[None]) -> None:
        try:
            await writing
        except (NotFoundError, *NOT_TAKEN):
            self.unpaired += 1

    async def _repair(self, source: BlobStore, target: BlobStore, digests: list[Digest]) -> None:
        limit = trio.CapacityLimiter(REPAIRED_AT_ONCE)

        async def repair(digest: Digest) -> None:
            async with limit:
                with suppress(StatusError):
                    await copy(source, target, digest)
                    self.repaired += 1

        async with trio.open_nursery() as nursery:
            for digest in digests:
                nursery.start_soon(repair, digest)


class MirroredRecords:
    """Every record in two places."""

    def __init__(self, a: Records, b: Records) -> None:
        self._a = a
        self._b = b

    async def get(self, space: str, hash_: str) -> bytes | None:
        with suppress(*FAILED):
            data = await self._a.get(space, hash_)
            if data is not None:
                return data
        with suppress(*FAILED):
            data = await self._b.get(space, hash_)
            if data is not None:
                with suppress(StatusError):
                    await self._a.put(space, hash_, data)
            return data
        return None

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        try:
            await self._a.put(space, hash_, data)
        except NOT_TAKEN:
            await self._b.put(space, hash_, data)
            return
        with suppress(*NOT_TAKEN):
            await self._b.put(space, hash_, data)
