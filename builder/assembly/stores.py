"""The service's storage from the settings: blobs, and results that are only given when whole."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.config.settings import Store
from builder.stores.action_cache import CheckedActionCache
from builder.stores.disk import DiskBlobStore
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import DiskRecords, MemoryRecords


@dataclass(frozen=True, slots=True)
class Stores:
    blobs: DiskBlobStore | MemoryBlobStore
    records: DiskRecords | MemoryRecords
    cache: CheckedActionCache

    async def load(self) -> None:
        """Learn what a disk holds from an earlier time; both serve before that is done."""
        if isinstance(self.blobs, DiskBlobStore):
            await self.blobs.load()
        if isinstance(self.records, DiskRecords):
            await self.records.load()


@asynccontextmanager
async def open_stores(store: Store) -> AsyncIterator[Stores]:
    """Raises UsageError when another service has the directory."""
    if store.kind == "memory":
        blobs = MemoryBlobStore(store.max_size, store.lease)
        records = MemoryRecords(store.max_results_size)
        yield Stores(blobs, records, CheckedActionCache(blobs, records))
        return
    root = Path(store.path)
    pack = store.compression == "zstd"
    disk = DiskBlobStore(root / "blobs", store.max_size, store.lease, store.fsync, pack=pack)
    try:
        results = DiskRecords(root / "results", store.max_results_size)
        try:
            yield Stores(disk, results, CheckedActionCache(disk, results))
        finally:
            results.close()
    finally:
        disk.close()
