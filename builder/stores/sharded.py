"""Blobs spread over several stores, each with its share.

Theory of operation. Rendezvous hashing says which shard a blob belongs to, and which is next. A
shard that fails has its share taken over by the next one, for reads and writes alike; nothing
else moves. When it is back, what was written elsewhere meanwhile has to be found: so of a shard
that has failed once, what it lacks is looked for in the next one too, as long as this process
lives.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import trio

from builder.base.digest import Digest
from builder.base.errors import StatusError
from builder.stores.copying import Chunks, read_either
from builder.stores.failure import FAILED, NOT_HERE, size_in
from builder.stores.frames import (
    Writing,
    is_packed,
    read_frames_of_either,
    read_packed,
    write_packed,
    write_plain,
)
from builder.stores.interface import BlobStore
from builder.stores.memory import absent
from builder.stores.records import Records
from builder.stores.rendezvous import ranked


@dataclass(frozen=True, slots=True)
class Shard:
    """A store and its share of the whole, in proportion to the other weights."""

    store: BlobStore
    weight: float = 1.0


class ShardedBlobs:
    """Shards by name. The name decides what a shard gets, so it stays when an address changes."""

    def __init__(self, shards: Mapping[str, Shard]) -> None:
        self._stores = {name: shard.store for name, shard in shards.items()}
        self._weights = {name: shard.weight for name, shard in shards.items()}
        self._failed: set[str] = set()  # at least once

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        every = list(dict.fromkeys(digests))
        missing = await self._missing({one: self._ranked(one)[0] for one in every})
        again = {one: place for one in missing for place in self._second(one)}
        if again:
            missing = (missing - again.keys()) | await self._missing(again)
        return [one for one in every if one in missing]

    def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        return self._read(digest, read_either(self._two(digest), digest, offset, limit))

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        await self._write(digest, chunks, write_plain)

    async def is_packed(self, digest: Digest) -> bool:
        return any([await is_packed(store, digest) for store in self._two(digest)])

    def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        sources = [partial(read_packed, store, digest) for store in self._two(digest)]
        return self._read(digest, read_frames_of_either(sources))

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:
        await self._write(digest, frames, write_packed)

    async def get(self, digest: Digest) -> bytes:
        error: StatusError = absent(digest)
        for place in self._ranked(digest)[:2]:
            try:
                return await self._stores[place].get(digest)
            except NOT_HERE as found:
                if isinstance(found, FAILED):
                    self._failed.add(place)
                else:
                    error = found
        raise error

    async def put(self, digest: Digest, data: bytes) -> None:
        first, *others = self._ranked(digest)
        try:
            await self._stores[first].put(digest, data)
        except FAILED:
            self._failed.add(first)
            if not others:
                raise
            await self._stores[others[0]].put(digest, data)

    async def size_of(self, function: str, hash_: str) -> int | None:
        for place in ranked(hash_, self._weights):
            size = await size_in(self._stores[place], function, hash_)
            if size is not None:
                return size
        return None

    async def _read(
        self, digest: Digest, pieces: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            try:
                async for piece in pieces:
                    yield piece
            except FAILED as error:
                self._failed.update(self._ranked(digest)[:2])
                raise absent(digest) from error

    async def _write(self, digest: Digest, chunks: AsyncIterable[bytes], write: Writing) -> None:
        first, *others = self._ranked(digest)
        source = Chunks(chunks)
        try:
            await write(self._stores[first], digest, source)
        except FAILED:
            if source.failed:
                raise
            self._failed.add(first)
            if source.begun or not others:
                raise
            await write(self._stores[others[0]], digest, source)

    def _ranked(self, digest: Digest) -> list[str]:
        return ranked(digest.hash, self._weights)

    def _two(self, digest: Digest) -> list[BlobStore]:
        """Its shard, and the next one."""
        return [self._stores[place] for place in self._ranked(digest)[:2]]

    def _second(self, digest: Digest) -> list[str]:
        """Where else a blob may be that its shard does not have: nowhere, or in one place."""
        first, *others = self._ranked(digest)
        return others[:1] if first in self._failed else []

    async def _missing(self, asked: Mapping[Digest, str]) -> set[Digest]:
        """Ask each blob's place; of a place that fails, all are missing."""
        missing: set[Digest] = set()

        async def ask(place: str) -> None:
            share = [digest for digest, where in asked.items() if where == place]
            try:
                missing.update(await self._stores[place].find_missing(share))
            except FAILED:
                self._failed.add(place)
                missing.update(share)

        async with trio.open_nursery() as nursery:
            for place in dict.fromkeys(asked.values()):
                nursery.start_soon(ask, place)
        return missing


class ShardedRecords:
    """Records by the same rule. What a failed shard had is a miss; the next one takes its place."""

    def __init__(self, shards: Mapping[str, tuple[Records, float]]) -> None:
        self._records = {name: records for name, (records, _) in shards.items()}
        self._weights = {name: weight for name, (_, weight) in shards.items()}

    async def get(self, space: str, hash_: str) -> bytes | None:
        for place in ranked(hash_, self._weights)[:2]:
            try:
                return await self._records[place].get(space, hash_)
            except FAILED:
                continue
        return None

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        first, *others = ranked(hash_, self._weights)
        try:
            await self._records[first].put(space, hash_, data)
        except FAILED:
            if not others:
                raise
            await self._records[others[0]].put(space, hash_, data)
