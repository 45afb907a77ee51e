"""The service's storage from the settings: blobs, and results that are only given when whole.

Without a `storage` section it is a directory or memory, with nothing around it. What a section
composes is opened by `assembly.composition`, which is imported only then.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from builder.assembly.tiers import Tier
from builder.base.digest import Digest
from builder.base.errors import StatusError
from builder.config.settings import Store
from builder.host.lock import owned
from builder.stores.action_cache import CheckedActionCache, Keeping
from builder.stores.disk import DiskBlobStore
from builder.stores.disk_records import DiskRecords
from builder.stores.interface import Account, ActionCache, SizedBlobStore
from builder.stores.kept_result import Entry
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords, Records
from builder.stores.routed_cache import RoutedActionCache
from builder.telemetry.log import get_logger

if TYPE_CHECKING:
    from builder.config.storage import Storage, StoreTree

log = get_logger()
AGAIN_S = 5.0  # until a disk that failed is read again


@dataclass(frozen=True, slots=True)
class Stores:
    """`serves` says whether blobs and results can be had at the moment, whichever tier is down."""

    blobs: SizedBlobStore
    records: Records
    cache: CheckedActionCache
    tiers: Sequence[Tier]
    serves: Callable[[], bool] = lambda: True
    routes: Mapping[str, "Stores"] = field(default_factory=dict)  # of instances with their own
    background: Sequence[Callable[[], Awaitable[object]]] = ()

    def of(self, instance: str) -> "Stores":
        """The storage of an instance."""
        return self.routes.get(instance, self)

    def blobs_of(self, instance: str) -> SizedBlobStore:
        return self.of(instance).blobs

    def every_cache(self) -> ActionCache:
        """The results of all instances."""
        caches = {name: stores.cache for name, stores in self.routes.items()}
        return RoutedActionCache(self.cache, caches) if caches else self.cache

    async def about(self, instance: str, action: Digest) -> Entry | None:
        """The entry of an action's result, wherever this instance keeps it."""
        return await self.of(instance).cache.about(instance, action)

    async def run(self) -> None:
        """What goes on as long as they are open: loading, writing back, looking after tiers."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.load)
            for task in self.background:
                nursery.start_soon(task)

    async def load(self) -> None:
        """Learn what disks hold from an earlier time; they serve before that is done, and a disk
        that fails meanwhile is asked again."""
        async with trio.open_nursery() as nursery:
            for tier in self.tiers:
                if tier.load is not None:
                    nursery.start_soon(_loaded, tier.name, tier.load)


@asynccontextmanager
async def open_stores(
    store: Store, storage: "Storage | None" = None, account: Account | None = None
) -> AsyncIterator[Stores]:
    """Raises UsageError when another service has a directory."""
    if storage is not None:
        async with _composed(store, storage, account) as stores:
            yield stores
        return
    async with AsyncExitStack() as stack:
        blobs, of_blobs = _plain_blobs(store, stack)
        records, of_records = _plain_records(store, stack)
        cache = _cache(store, blobs, records, account)
        yield Stores(blobs, records, cache, (of_blobs, of_records))


def _cache(
    store: Store, blobs: SizedBlobStore, records: Records, account: Account | None
) -> CheckedActionCache:
    keeping = Keeping(store.max_result_age, store.failed_results == "keep")
    return CheckedActionCache(blobs, records, keeping=keeping, account=account)


def _plain_blobs(store: Store, stack: AsyncExitStack) -> tuple[SizedBlobStore, Tier]:
    if store.kind == "memory":
        memory = MemoryBlobStore(store.max_size, store.lease)
        return memory, Tier("blobs", "memory", memory)
    pack = store.compression == "zstd"
    root = Path(store.path) / "blobs"
    disk = DiskBlobStore(root, store.max_size, store.lease, store.fsync, pack=pack)
    stack.callback(disk.close)
    return disk, Tier("blobs", "disk", disk, disk.load)


def _plain_records(store: Store, stack: AsyncExitStack) -> tuple[Records, Tier]:
    if store.kind == "memory":
        memory = MemoryRecords(store.max_results_size)
        return memory, Tier("results", "memory", memory)
    disk = DiskRecords(Path(store.path) / "results", store.max_results_size)
    stack.callback(disk.close)
    return disk, Tier("results", "disk", disk, disk.load)


@asynccontextmanager
async def _composed(
    store: Store, storage: "Storage", account: Account | None
) -> AsyncIterator[Stores]:
    from builder.assembly.composed_records import RecordsComposer  # late: only who composes pays
    from builder.assembly.composition import Composer

    async with AsyncExitStack() as stack:
        if store.kind == "disk":  # the journal lies there
            stack.enter_context(owned(Path(store.path), "directory of the service's state"))
        composer = Composer(stack)
        serve: list[Callable[[], bool]] = []

        async def blobs_of(tree: "StoreTree", name: str) -> SizedBlobStore:
            node = await composer.blobs(tree, name)
            serve.append(node.serves)
            return node.store

        async def records_of(tree: "StoreTree", name: str) -> Records:
            node = await RecordsComposer(composer).records(tree, name)
            serve.append(node.serves)
            return node.store

        if storage.blobs is None:
            blobs, tier = _plain_blobs(store, stack)
            composer.tiers.append(tier)
        else:
            blobs = await blobs_of(storage.blobs, "blobs")
        if storage.results is None:
            records, tier = _plain_records(store, stack)
            composer.tiers.append(tier)
        else:
            records = await records_of(storage.results, "results")
        routes: dict[str, Stores] = {}
        for number, route in enumerate(storage.routes):
            own_blobs, own_records = blobs, records
            if route.blobs is not None:
                own_blobs = await blobs_of(route.blobs, f"routes.{number}.blobs")
            if route.results is not None:
                own_records = await records_of(route.results, f"routes.{number}.results")
            cache = _cache(store, own_blobs, own_records, account)
            own = Stores(own_blobs, own_records, cache, ())
            routes.update(dict.fromkeys(route.instances, own))
        yield Stores(
            blobs,
            records,
            _cache(store, blobs, records, account),
            tuple(composer.tiers),
            partial(_all_serve, serve),
            routes,
            tuple(composer.background),
        )


async def _loaded(name: str, load: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await load()
        except (StatusError, OSError) as error:
            log.error("Storage not read yet", tier=name, why=str(error))
            await trio.sleep(AGAIN_S)
        else:
            return


def _all_serve(parts: Sequence[Callable[[], bool]]) -> bool:
    return all(serves() for serves in parts)
