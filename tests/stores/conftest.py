"""The stores that pass the contract, each made fresh for a test."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from builder.net.channel import Channel
from builder.net.listeners import open_listeners
from builder.net.rpc import Service
from builder.net.server import serve
from builder.server.bytestream import ByteStreamService
from builder.server.capabilities import CapabilitiesService, Served
from builder.server.cas import MAX_BATCH_BYTES, CasService
from builder.server.instances import Instances
from builder.server.uploads import Uploads
from builder.stores import object as object_
from builder.stores import redis
from builder.stores.backlog import Backlog
from builder.stores.breaker import Breaker, GuardedBlobs
from builder.stores.by_size import BySizeBlobs
from builder.stores.disk import DiskBlobStore
from builder.stores.existence_cache import ExistenceCachedBlobs
from builder.stores.interface import BlobStore
from builder.stores.memory import MemoryBlobStore
from builder.stores.metered import Meter, MeteredLocalBlobs
from builder.stores.mirrored import MirroredBlobs
from builder.stores.remote import RemoteBlobStore
from builder.stores.sharded import Shard, ShardedBlobs
from builder.stores.tiered import Through, TieredBlobs
from builder.stores.tiered_nearby import NearbyTieredBlobs
from builder.stores.verifying import VerifyingBlobs
from builder.stores.write_back import BackBlobs, WriteBack
from tests.server.direct import DirectChannel
from tests.stores.servers import BUCKET, redis_server, s3_options

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


def services_of(blobs: BlobStore) -> tuple[Service, ...]:
    instances, zstd = Instances(), ("zstd",)
    return (
        CapabilitiesService(Served(MAX_BATCH_BYTES, False, compressors=zstd), instances).service(),
        CasService(blobs, instances, compressors=zstd).service(),
        ByteStreamService(blobs, Uploads(blobs), instances, compressors=zstd).service(),
    )


LOCAL = ["memory", "disk", "disk-loaded", "disk-full-fsync", "metered", "tiered-nearby"]
COMPOSED = ["tiered", "tiered-back", "verifying", "by-size", "existence-cache", "guarded"]
COMPOSED += ["sharded", "mirrored"]
SERVED = ["redis", "object"]  # by programs of others


def composed(kind: str, memory: Callable[[], MemoryBlobStore], nursery: trio.Nursery) -> BlobStore:
    """Each wrapper around stores in memory."""
    match kind:
        case "metered":
            return MeteredLocalBlobs(memory(), Meter("tier"))
        case "verifying":
            return VerifyingBlobs(memory())
        case "by-size":
            return BySizeBlobs(100_000, memory(), memory())
        case "existence-cache":
            return ExistenceCachedBlobs(memory(), 600.0, 1000)
        case "guarded":
            return GuardedBlobs(memory(), Breaker("tier"))
        case "sharded":
            return ShardedBlobs({name: Shard(memory(), w) for name, w in (("a", 1.0), ("b", 2.5))})
        case "mirrored":
            return MirroredBlobs(memory(), memory())
    near, far = memory(), memory()
    if kind == "tiered-back":
        back = BackBlobs(near, far)
        later = WriteBack(Backlog(), 1000, "through", back.carry, back.renew)
        nursery.start_soon(later.run)
        return TieredBlobs(near, far, lambda digest: later.add(str(digest)))
    tiered = TieredBlobs(near, far, Through(near, far, required=True))
    return NearbyTieredBlobs(tiered, near) if kind == "tiered-nearby" else tiered


async def made(
    kind: str, root: Path, clock: Callable[[], float], nursery: trio.Nursery
) -> AsyncIterator[BlobStore]:
    """64 MiB of room, a lease of an hour."""
    inner: list[MemoryBlobStore] = []

    def memory() -> MemoryBlobStore:
        inner.append(MemoryBlobStore(64 * MIB, 3600.0, clock))
        return inner[-1]

    match kind:
        case _ if kind in (*COMPOSED, "metered", "tiered-nearby"):
            yield composed(kind, memory, nursery)
        case "memory":
            memory = MemoryBlobStore(64 * MIB, 3600.0, clock)
            yield memory
            memory.check()
        case "redis":
            with redis_server() as url:
                async with redis.connected(url, 60.0) as client:
                    yield VerifyingBlobs(redis.RedisBlobs(client, "t:", 64 * MIB))
        case "object":
            url = f"s3://{BUCKET}/{root.parent.name}"
            bucket = object_.opened(url, s3_options(), 60.0)
            yield VerifyingBlobs(object_.ObjectBlobs(bucket, 64 * MIB))
        case "remote":
            far = MemoryBlobStore(64 * MIB, 3600.0, clock)
            yield RemoteBlobStore(DirectChannel(*services_of(far)), "an/instance")
            far.check()
        case "remote-of-remote":  # services over a store that answers nothing at once
            far = MemoryBlobStore(64 * MIB, 3600.0, clock)
            middle = RemoteBlobStore(DirectChannel(*services_of(far)))
            yield RemoteBlobStore(DirectChannel(*services_of(middle)))
            far.check()
        case _:
            fsync = "full" if kind == "disk-full-fsync" else "none"
            disk = DiskBlobStore(root, 64 * MIB, 3600.0, fsync, clock)
            if kind == "disk-loaded":
                await disk.load()
            yield disk
            await disk.load()
            disk.check()
            disk.close()
    for one in inner:
        one.check()


@pytest.fixture(params=[*LOCAL, *COMPOSED, *SERVED, "remote", "remote-of-remote", "remote-wire"])
async def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    clock: Callable[[], float],
    nursery: trio.Nursery,
) -> AsyncIterator[BlobStore]:
    """Every kind of store; `remote-wire` is a real connection to a disk store's services."""
    if request.param != "remote-wire":
        async for one in made(request.param, tmp_path / "store", clock, nursery):
            yield one
        return
    async for far in made("disk-loaded", tmp_path / "store", clock, nursery):
        listeners = await open_listeners("127.0.0.1:0")
        await nursery.start(serve, services_of(far), listeners)
        async with Channel(listeners[0].address) as channel:
            yield RemoteBlobStore(channel)
        nursery.cancel_scope.cancel()


@pytest.fixture(params=LOCAL)
async def local_store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    clock: Callable[[], float],
    nursery: trio.Nursery,
) -> AsyncIterator[BlobStore]:
    """Those on this machine."""
    async for one in made(request.param, tmp_path / "store", clock, nursery):
        yield one
