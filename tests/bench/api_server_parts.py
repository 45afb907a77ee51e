"""The real services on a disk store, with an auth check and metrics: what `bench api` calls.

`python -m tests.bench.api_server_parts FOLDER CORE` prints its port and serves until stdin ends.
"""

import os
import sys
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import trio

from builder.base.digest import Digest, digest_of
from builder.net.listeners import open_listeners
from builder.net.server import serve
from builder.reapi.pb import remote_execution_pb2 as re_pb
from builder.server.action_cache import ActionCacheService
from builder.server.bytestream import ByteStreamService
from builder.server.cas import CasService
from builder.server.instances import Instances
from builder.server.uploads import Uploads
from builder.stores.action_cache import CheckedActionCache
from builder.stores.disk import DiskBlobStore
from builder.stores.records import DiskRecords
from tests.bench.wire_servers_parts import ENTRIES, digest, guarded, ready, stdin_ends

SMALL_BLOBS = 3800  # of 1 KiB: a batch below 4 MiB
LARGE = 64 * 1024 * 1024
ROOM = 1 << 34


def small_blob(number: int) -> bytes:
    return (b"%08d" % number) * 128


def large_blob() -> bytes:
    return (bytes(range(256)) * 4096) * (LARGE >> 20)


async def once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


async def fill(blobs: DiskBlobStore, cache: CheckedActionCache) -> None:
    """Every blob and result that the bench asks for."""
    for number in range(SMALL_BLOBS):
        data = small_blob(number)
        await blobs.write(digest_of(data), once(data))
    await blobs.write(digest_of(large_blob()), once(large_blob()))
    for number in range(ENTRIES):
        data = b"%d" % number
        await blobs.write(digest_of(data), once(data))
        result = re_pb.ActionResult(exit_code=0)
        file = result.output_files.add(path="bazel-out/k8/bin/a.o")
        file.digest.hash, file.digest.size_bytes = digest(number), len(data)
        action = Digest(digest(number), 140 + number % 60)
        await cache.store("", action, result)


async def run(folder: Path) -> None:
    blobs = DiskBlobStore(folder / "blobs", ROOM)
    records = DiskRecords(folder / "results", 1 << 30)
    cache = CheckedActionCache(blobs, records)
    await blobs.load()
    await records.load()
    await fill(blobs, cache)
    instances = Instances()
    services = [
        CasService(blobs, instances).service(),
        ByteStreamService(blobs, Uploads(blobs), instances).service(),
        ActionCacheService(cache, blobs, instances).service(),
    ]
    listeners = await open_listeners("127.0.0.1:0")
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, services, listeners, hooks=guarded()))
        ready(int(listeners[0].address.rpartition(":")[2]))
        await stdin_ends()
        nursery.cancel_scope.cancel()
    records.close()
    blobs.close()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[2])})
    trio.run(run, Path(sys.argv[1]))
