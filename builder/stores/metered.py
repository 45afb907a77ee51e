"""What a tier does, counted: what was found and not found, bytes, failures, and seconds."""

import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from itertools import compress

from builder.base.digest import Digest
from builder.base.errors import DataLossError, NotFoundError, ResourceExhaustedError
from builder.stores.failure import FAILED, size_in
from builder.stores.frames import is_packed, read_packed, write_packed
from builder.stores.interface import (
    BlobStore,
    LocalBulkStore,
    LocalStore,
    NamedT,
    PackedUpload,
    Upload,
)
from builder.stores.records import Records

Observe = Callable[[str, float], object]  # (operation, seconds)


@dataclass(slots=True)
class Meter:
    """Figures of the tier `name` since its start. A hit is a blob or record that was there."""

    name: str
    observe: Observe = lambda _operation, _seconds: None
    now: Callable[[], float] = time.perf_counter
    hits: int = 0
    misses: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    refused: int = 0  # writes for which there was no room
    failures: int = 0

    @contextmanager
    def call(self, operation: str) -> Iterator[None]:
        start = self.now()
        try:
            yield
        except (NotFoundError, DataLossError):
            self.misses += 1
            raise
        except ResourceExhaustedError:
            self.refused += 1
            raise
        except FAILED:
            self.failures += 1
            raise
        finally:
            self.observe(operation, self.now() - start)


class MeteredBlobs:
    """`store`, counted by `meter`."""

    def __init__(self, store: BlobStore, meter: Meter) -> None:
        self._store = store
        self._meter = meter

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        every = list(dict.fromkeys(digests))
        with self._meter.call("find"):
            missing = await self._store.find_missing(every)
        self._meter.misses += len(missing)
        self._meter.hits += len(every) - len(missing)
        return missing

    def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        return self._read(self._store.read(digest, offset, limit))

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        with self._meter.call("write"):
            await self._store.write(digest, chunks)
        self._meter.written_bytes += digest.size_bytes

    async def is_packed(self, digest: Digest) -> bool:
        return await is_packed(self._store, digest)

    def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        return self._read(read_packed(self._store, digest))

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:
        with self._meter.call("write"):
            await write_packed(self._store, digest, frames)
        self._meter.written_bytes += digest.size_bytes

    async def get(self, digest: Digest) -> bytes:
        with self._meter.call("get"):
            data = await self._store.get(digest)
        self._meter.hits += 1
        self._meter.read_bytes += len(data)
        return data

    async def put(self, digest: Digest, data: bytes) -> None:
        with self._meter.call("put"):
            await self._store.put(digest, data)
        self._meter.written_bytes += len(data)

    async def size_of(self, function: str, hash_: str) -> int | None:
        return await size_in(self._store, function, hash_)

    async def _read(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        with self._meter.call("read"):
            async with aclosing(pieces):
                async for piece in pieces:
                    self._meter.read_bytes += len(piece)
                    yield piece
        self._meter.hits += 1


class MeteredLocalBlobs(MeteredBlobs):
    """The same of a store on this machine. What it answers at once is counted, and not timed."""

    def __init__(self, store: LocalStore, meter: Meter) -> None:
        super().__init__(store, meter)
        self._local = store
        self.stamp = store.stamp

    def absent_nowait(self, function: str, digests: Sequence[NamedT]) -> list[NamedT] | None:
        missing = self._local.absent_nowait(function, digests)
        if missing is not None:
            self._meter.misses += len(missing)
            self._meter.hits += len(digests) - len(missing)
        return missing

    def get_nowait(self, digest: Digest) -> bytes | None:
        data = self._local.get_nowait(digest)
        if data is not None:
            self._meter.hits += 1
            self._meter.read_bytes += len(data)
        return data

    def put_nowait(self, digest: Digest, data: bytes) -> bool:
        if not self._local.put_nowait(digest, data):
            return False
        self._meter.written_bytes += len(data)
        return True

    async def begin(self, digest: Digest) -> Upload:
        upload = await self._local.begin(digest)
        self._meter.written_bytes += digest.size_bytes
        return upload

    def get_packed_nowait(self, digest: Digest) -> bytes | None:
        frames = self._local.get_packed_nowait(digest)
        if frames is not None:
            self._meter.hits += 1
            self._meter.read_bytes += len(frames)
        return frames

    def put_packed_nowait(self, digest: Digest, frames: bytes) -> bool:
        if not self._local.put_packed_nowait(digest, frames):
            return False
        self._meter.written_bytes += digest.size_bytes
        return True

    async def begin_packed(self, digest: Digest) -> PackedUpload:
        upload = await self._local.begin_packed(digest)
        self._meter.written_bytes += digest.size_bytes
        return upload


class MeteredBulkBlobs(MeteredLocalBlobs):
    """The same of a store that can be asked for thousands of blobs at once."""

    def __init__(self, store: LocalBulkStore, meter: Meter) -> None:
        super().__init__(store, meter)
        self._bulk = store

    def strange(
        self, function: str, keys: bytes, sizes: Callable[[], Sequence[int]], at_most: int
    ) -> list[bool] | None:
        flags = self._bulk.strange(function, keys, sizes, at_most)
        self._meter.misses += sum(flags or ())
        return flags

    def renew_nowait(self, function: str, keys: bytes, sizes: Sequence[int]) -> list[bool] | None:
        renewed = self._bulk.renew_nowait(function, keys, sizes)
        self._meter.hits += sum(renewed or ())
        return renewed

    def get_many_nowait(
        self, function: str, keys: bytes, sizes: Sequence[int]
    ) -> list[bytes | None]:
        found = self._bulk.get_many_nowait(function, keys, sizes)
        read = [len(blob) for blob in found if blob is not None]
        self._meter.hits += len(read)
        self._meter.read_bytes += sum(read)
        return found

    def put_many_nowait(self, function: str, keys: bytes, blobs: Sequence[bytes]) -> list[bool]:
        stored = self._bulk.put_many_nowait(function, keys, blobs)
        self._meter.written_bytes += sum(map(len, compress(blobs, stored)))
        return stored


class MeteredRecords:
    """`records`, counted by `meter`."""

    def __init__(self, records: Records, meter: Meter) -> None:
        self._records = records
        self._meter = meter

    async def get(self, space: str, hash_: str) -> bytes | None:
        with self._meter.call("get"):
            data = await self._records.get(space, hash_)
        if data is None:
            self._meter.misses += 1
        else:
            self._meter.hits += 1
            self._meter.read_bytes += len(data)
        return data

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        with self._meter.call("put"):
            await self._records.put(space, hash_, data)
        self._meter.written_bytes += len(data)
