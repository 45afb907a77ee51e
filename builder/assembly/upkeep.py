"""What `builder cas` does with many blobs: of a store that stands still, or of a service."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from builder.assembly.blob_folder import BlobFolder, Progress, export, import_
from builder.assembly.cas import closure, service_blobs
from builder.assembly.dial import client_access, open_channel
from builder.base.digest import Digest
from builder.base.errors import BuilderError, UsageError
from builder.base.units import format_size
from builder.config.settings import Settings
from builder.stores.audit import audit
from builder.stores.disk import DiskBlobStore
from builder.stores.interface import BlobStore
from builder.stores.remote import RemoteBlobStore

Say = Callable[[str], object]
Copies = BlobFolder | BlobStore


@asynccontextmanager
async def store_here(settings: Settings) -> AsyncIterator[DiskBlobStore]:
    """The store of this machine, loaded. Raises UsageError while a service has it."""
    store = settings.store
    root = Path(store.path) / "blobs"
    if store.kind != "disk" or not root.is_dir():
        raise UsageError(f"there is no store in {store.path}; name another with --store")
    pack = store.compression == "zstd"
    disk = DiskBlobStore(root, store.max_size, store.lease, store.fsync, pack=pack)
    try:
        await disk.load()
        yield disk
    finally:
        disk.close()


@asynccontextmanager
async def healing(settings: Settings, source: str | None) -> AsyncIterator[Copies | None]:
    """Where whole copies may be: a directory that was exported, or another service."""
    if source is None:
        yield None
        return
    if _is_folder(source):
        yield BlobFolder(Path(source))
        return
    async with open_channel(source, client_access(settings.client)) as channel:
        yield RemoteBlobStore(channel, settings.client.instance)


def _is_folder(source: str) -> bool:
    return os.path.isdir(source)


async def verify(
    settings: Settings, say: Say, repair: bool = False, source: str | None = None
) -> tuple[int, int, int]:
    """(blobs checked, of them damaged, of those healed); says each damaged one.

    With `repair` they are put aside, and fetched again from `source` where that has them.
    """
    checked_blobs = damaged = healed = 0
    async with (
        store_here(settings) as store,
        healing(settings, source) as copies,
        aclosing(audit(store, repair)) as findings,
    ):
        async for digest, whole in findings:
            checked_blobs += 1
            if whole:
                continue
            damaged += 1
            is_healed = repair and await _heal(store, copies, digest)
            healed += is_healed
            say(f"{_outcome(repair, is_healed)}: {digest}")
    return checked_blobs, damaged, healed


def _outcome(repair: bool, is_healed: bool) -> str:
    if is_healed:
        return "damaged, put aside and healed"
    return "damaged and put aside" if repair else "damaged"


async def _heal(store: DiskBlobStore, copies: Copies | None, digest: Digest) -> bool:
    if copies is None:
        return False
    try:
        async with aclosing(copies.read(digest)) as pieces:
            await store.write(digest, pieces)
    except BuilderError:  # it is not there either, or not whole
        return False
    return True


async def export_to(
    settings: Settings, root: Path, digests: Sequence[Digest], trees: bool, say: Say
) -> str:
    """Copy blobs of the service into a directory; without digests all of the store here."""
    progress, folder = Progress(say), BlobFolder(root)
    if not digests:
        async with store_here(settings) as store:
            await export(store, list(store.digests()), folder, progress)
        return progress.summary("exported")
    async with service_blobs(settings) as blobs:
        every = list(digests)
        for digest in digests if trees else ():
            every += await closure(blobs, digest)
        await export(blobs, every, folder, progress)
    return progress.summary("exported")


async def import_from(
    settings: Settings, root: Path, into_store: bool, say: Say, complain: Say
) -> tuple[str, int]:
    """Copy a directory's blobs into the service, or into the store here; how many were wrong."""
    progress, folder = Progress(say), BlobFolder(root)
    async with (store_here if into_store else service_blobs)(settings) as blobs:
        await import_(folder, blobs, progress, complain)
    return progress.summary("imported"), progress.wrong


async def stats(settings: Settings) -> list[tuple[str, str]]:
    """Labels and figures."""
    async with store_here(settings) as store:
        full, log = store.snapshot(), store.small.log
        return [
            ("Blobs", str(full.blobs)),
            ("In segments", f"{log.blobs} in {len(log.segments)} segments"),
            ("In files", str(store.files.snapshot().blobs)),
            ("Used", f"{format_size(full.used_bytes)} of {format_size(full.capacity_bytes)}"),
        ]


async def shrink(settings: Settings, to_bytes: int) -> str:
    """What was done, in one line."""
    async with store_here(settings) as store:
        await store.shrink(to_bytes)
        full = store.snapshot()
        return (
            f"{full.evicted_blobs} blobs evicted ({format_size(full.evicted_bytes)}), "
            f"{format_size(full.used_bytes)} used"
        )
