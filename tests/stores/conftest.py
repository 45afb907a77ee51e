"""The stores that pass the contract, each made fresh for a test."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from builder.server.bytestream import ByteStreamService
from builder.server.cas import CasService
from builder.server.instances import Instances
from builder.server.uploads import Uploads
from builder.stores.disk import DiskBlobStore
from builder.stores.interface import BlobStore
from builder.stores.memory import MemoryBlobStore
from builder.stores.remote import RemoteBlobStore
from tests.server.direct import DirectChannel

MIB = 1024 * 1024


class Time:
    """A clock that only the test moves; seconds since 1970."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


def services_of(blobs: BlobStore) -> DirectChannel:
    instances = Instances()
    uploads = Uploads(blobs)
    return DirectChannel(
        CasService(blobs, instances).service(),
        ByteStreamService(blobs, uploads, instances).service(),
    )


LOCAL = ["memory", "disk", "disk-loaded", "disk-full-fsync"]


async def made(kind: str, root: Path, clock: Callable[[], float]) -> AsyncIterator[BlobStore]:
    """64 MiB of room, a lease of an hour."""
    match kind:
        case "memory":
            memory = MemoryBlobStore(64 * MIB, 3600.0, clock)
            yield memory
            memory.check()
        case "remote":
            yield RemoteBlobStore(services_of(MemoryBlobStore(64 * MIB, 3600.0, clock)))
        case _:
            fsync = "full" if kind == "disk-full-fsync" else "none"
            disk = DiskBlobStore(root, 64 * MIB, 3600.0, fsync, clock)
            if kind == "disk-loaded":
                await disk.load()
            yield disk
            await disk.load()
            disk.check()
            disk.close()


@pytest.fixture(params=[*LOCAL, "remote"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Callable[[], float]
) -> AsyncIterator[BlobStore]:
    """Every kind of store."""
    async for one in made(request.param, tmp_path / "store", clock):
        yield one


@pytest.fixture(params=LOCAL)
async def local_store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Callable[[], float]
) -> AsyncIterator[BlobStore]:
    """Those on this machine."""
    async for one in made(request.param, tmp_path / "store", clock):
        yield one
