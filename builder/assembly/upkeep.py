"""What `builder cas` does with many blobs: of a store that stands still, or of a service."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.assembly.blob_folder import BlobFolder, Progress, export, import_
from builder.assembly.cas import closure, service_blobs
from builder.assembly.dial import client_access, open_channel
from builder.assembly.disks import disks_of, opened, the_disk
from builder.base.digest import Digest
from builder.base.errors import BuilderError
from builder.base.units import format_size
from builder.config.settings import Settings
from builder.stores.audit import audit
from builder.stores.disk import DiskBlobStore
from builder.stores.interface import BlobStore
from builder.stores.remote import RemoteBlobStore

Say = Callable[[str], object]
Copies = BlobFolder | BlobStore


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


@dataclass(slots=True)
class Verified:
    """So many blobs were checked, of them damaged, of those healed."""

    checked: int = 0
    damaged: int = 0
    healed: int = 0


async def verify(
    settings: Settings,
    say: Say,
    repair: bool = False,
    source: str | None = None,
    tier: str | None = None,
) -> Verified:
    """Says each damaged blob of all disks, or of one.

    With `repair` they are put aside, and fetched again from `source` where that has them.
    """
    found = Verified()
    async with healing(settings, source) as copies:
        for disk in disks_of(settings, tier):
            async with opened(disk) as store, aclosing(audit(store, repair)) as findings:
                async for digest, whole in findings:
                    found.checked += 1
                    if whole:
                        continue
                    found.damaged += 1
                    is_healed = repair and await _heal(store, copies, digest)
                    found.healed += is_healed
                    say(f"{_outcome(repair, is_healed)}: {digest}")
    return found


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
    """Copy blobs of the service into a directory; without digests all of the disks here."""
    progress, folder = Progress(say), BlobFolder(root)
    if not digests:
        for disk in disks_of(settings):
            async with opened(disk) as store:
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
    async with AsyncExitStack() as stack:
        blobs: BlobStore
        if into_store:
            blobs = await stack.enter_async_context(opened(the_disk(settings, None)))
        else:
            blobs = await stack.enter_async_context(service_blobs(settings))
        await import_(folder, blobs, progress, complain)
    return progress.summary("imported"), progress.wrong


async def stats(settings: Settings, tier: str | None = None) -> list[tuple[str, str]]:
    """Labels and figures of all disks, each under its name where there are several; or of one."""
    found: list[tuple[str, str]] = []
    disks = disks_of(settings, tier)
    for disk in disks:
        async with opened(disk) as store:
            full, log = store.snapshot(), store.small.log
        used = f"{format_size(full.used_bytes)} of {format_size(full.capacity_bytes)}"
        found += [("Tier", disk.name)] if len(disks) > 1 else []
        found += [
            ("Blobs", str(full.blobs)),
            ("In segments", f"{log.blobs} in {len(log.segments)} segments"),
            ("In files", str(store.files.snapshot().blobs)),
            ("Used", used),
        ]
    return found


async def shrink(settings: Settings, to_bytes: int, tier: str | None = None) -> str:
    """What was done, in one line. Raises UsageError where it is not said which disk is meant."""
    async with opened(the_disk(settings, tier)) as store:
        await store.shrink(to_bytes)
        full = store.snapshot()
        return (
            f"{full.evicted_blobs} blobs evicted ({format_size(full.evicted_bytes)}), "
            f"{format_size(full.used_bytes)} used"
        )
