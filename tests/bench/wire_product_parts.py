"""The product's own coordinator on a disk store, as `bench wire` calls it.

A bearer token is asked for, calls are counted, and results are complete or not given: whatever
`builder serve` does is done here. `python -m tests.bench.wire_product_parts FOLDER all CORE` prints
its port and that of the same GetActionResult with nothing that watches, and serves until stdin
ends.
"""

import os
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import trio

from builder.assembly.coordinator import open_coordinator
from builder.assembly.stores import Stores
from builder.base.digest import Digest, digest_of
from builder.config.kinds import Address, Secret
from builder.config.settings import Auth, Settings, Token
from builder.net.hooks import Hooks
from builder.net.listeners import open_listeners
from builder.net.server import serve
from builder.reapi.pb import remote_execution_pb2 as re_pb
from builder.server.action_cache import ActionCacheService
from builder.server.instances import Instances
from tests.bench.wire_servers_parts import ENTRIES, TOKEN, digest, stdin_ends

SMALL_BLOBS = 3800  # of 1 KiB: a batch below 4 MiB
LARGE = 64 * 1024 * 1024
HUGE = 1024 * 1024 * 1024
ROOM = 16 * HUGE
ANY_PORT = Address("127.0.0.1", 0)


def small_blob(number: int) -> bytes:
    return (b"%08d" % number) * 128


def large_blob() -> bytes:
    return (bytes(range(256)) * 4096) * (LARGE >> 20)


def packable_blob(number: int) -> bytes:
    """Of the same size; half of it is news, as zstd sees it."""
    return Random(number).randbytes(LARGE // 2).hex().encode()


async def parts(size: int) -> AsyncGenerator[bytes, None]:
    for _ in range(size // LARGE):
        yield large_blob()


def huge_digest() -> Digest:
    """Of sixteen times the large blob."""
    return digest_of(large_blob() * (HUGE // LARGE))


async def fill(stores: Stores) -> None:
    """Every blob that the bench asks for."""
    blobs = stores.blobs
    for number in range(SMALL_BLOBS):
        await blobs.put(digest_of(small_blob(number)), small_blob(number))
    await blobs.write(digest_of(large_blob()), parts(LARGE))
    await blobs.write(huge_digest(), parts(HUGE))


async def results(stores: Stores) -> None:
    """Those that the bench asks for."""
    for number in range(ENTRIES):
        data = b"%d" % number
        await stores.blobs.put(digest_of(data), data)
        result = re_pb.ActionResult(exit_code=0)
        for name in ("a.o", "a.d"):
            file = result.output_files.add(path=f"bazel-out/k8/bin/{name}")
            file.digest.hash, file.digest.size_bytes = digest(number), len(data)
        result.execution_metadata.worker = "worker-1"
        await stores.cache.store("", Digest(digest(number), 140 + number % 60), result)


def settings(folder: Path) -> Settings:
    base = Settings(role="coordinator")
    return replace(
        base,
        coordinator=replace(base.coordinator, listen=ANY_PORT),
        reapi=replace(base.reapi, listen=ANY_PORT),
        store=replace(base.store, path=str(folder), max_size=ROOM),
        auth=Auth("token", (Token("bench", Secret(TOKEN), "writer"),)),
    )


async def run(folder: Path, full: bool = True) -> None:
    listeners = await open_listeners("127.0.0.1:0")
    async with open_coordinator(settings(folder)) as coordinator, trio.open_nursery() as nursery:
        await coordinator.stores.load()
        await results(coordinator.stores)
        if full:
            await fill(coordinator.stores)
        bare = ActionCacheService(coordinator.stores.cache, coordinator.stores.blobs, Instances())
        hooks = Hooks(coordinator.guard.authorize)
        await nursery.start(partial(serve, [bare.service()], listeners, hooks=hooks))
        ports = [one.rpartition(":")[2] for one in (coordinator.reapi, listeners[0].address)]
        print(*ports, flush=True)
        await stdin_ends()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[3])})
    trio.run(run, Path(sys.argv[1]), sys.argv[2] == "all")
