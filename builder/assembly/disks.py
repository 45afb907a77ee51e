"""The disks of a storage, opened while no service uses them: what `builder cas` looks after.

The other kinds of store have tools of their own, and the service watches them while it runs.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.base.errors import UsageError
from builder.config.settings import Settings
from builder.config.storage import DiskTier, Metered, Sharded, StoreTree
from builder.stores.disk import DiskBlobStore


@dataclass(frozen=True, slots=True)
class Disk:
    """A tier by the name that status and metrics give it."""

    name: str
    tier: DiskTier


def disks_of(settings: Settings, name: str | None = None) -> list[Disk]:
    """All that hold blobs, or the one of that name. Raises UsageError when there is none."""
    leaves = list(_leaves_of(settings))
    found = [Disk(tier, one) for tier, _, one in leaves if isinstance(one, DiskTier)]
    found = [disk for disk in found if name in (None, disk.name)]
    if not found and name is None and len(leaves) == 1 and settings.storage is None:
        raise UsageError(f"there is no store in {settings.store.path}; name another with --store")
    if not found:
        told = ", ".join(f"{tier} ({kind})" for tier, kind, _ in leaves)
        wanted = "no disk" if name is None else f"no disk {name!r}"
        raise UsageError(f"this storage has {wanted} to work on: it is made of {told}")
    return found


def the_disk(settings: Settings, name: str | None) -> Disk:
    """The only one, or the one of that name. Raises UsageError."""
    found = disks_of(settings, name)
    if len(found) > 1:
        told = ", ".join(disk.name for disk in found)
        raise UsageError(f"this storage has several disks: say which with --tier, of {told}")
    return found[0]


@asynccontextmanager
async def opened(disk: Disk) -> AsyncIterator[DiskBlobStore]:
    """It, loaded. Raises UsageError while a service has it, or when it is not there."""
    store = _store(disk.tier)
    try:
        await store.load()
        yield store
    finally:
        store.close()


def _store(one: DiskTier) -> DiskBlobStore:
    root = Path(one.path)
    if not root.is_dir():
        raise UsageError(f"there is no store in {root}; name another with --store or --config")
    pack = one.compression == "zstd"
    return DiskBlobStore(root, one.max_size, one.lease, one.fsync, pack=pack)


def _leaves_of(settings: Settings) -> Iterator[tuple[str, str, Any]]:
    """(name, kind, settings) of each store of blobs that stores by itself."""
    storage, store = settings.storage, settings.store
    if storage is not None and storage.blobs is not None:
        yield from _leaves(storage.blobs, "blobs")
    elif store.kind == "disk":
        path = str(Path(store.path) / "blobs")
        yield (
            "blobs",
            "disk",
            DiskTier(path, store.max_size, store.lease, store.fsync, store.compression),
        )
    else:
        yield "blobs", store.kind, None
    for number, route in enumerate(storage.routes if storage is not None else ()):
        if route.blobs is not None:
            yield from _leaves(route.blobs, f"routes.{number}.blobs")


def _leaves(tree: StoreTree, name: str) -> Iterator[tuple[str, str, Any]]:
    """Named as `assembly.composition` names them."""
    kind, one = tree.chosen()
    below = list(tree.children())
    if not below:
        yield name, kind, one
    for number, (path, child) in enumerate(below):
        if isinstance(one, Sharded):
            yield from _leaves(child, f"{name}.{one.shards[number].name}")
        elif isinstance(one, Metered):
            yield from _leaves(child, one.name)
        else:
            yield from _leaves(child, name if len(below) == 1 else f"{name}.{path[-1]}")
