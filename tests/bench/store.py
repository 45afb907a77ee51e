"""The disk store against plain files: `python -m tests.bench store`.

Plain files are what anybody would write: create and rename, open and read, hash included for the
large ones (the store verifies what it takes). Each figure is the best of some rounds, so that
other work on the machine counts less; all rounds of one run alternate between store and plain.
"""

import hashlib
import os
import shutil
import tempfile
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import trio

from builder.base.digest import Digest, digest_of
from builder.stores.disk import DiskBlobStore
from builder.stores.index import Index, key_of

SMALL = 2048
BLOBS = 2000
LARGE = 64 * 1024 * 1024
PIECE = 1024 * 1024
ROUNDS = 3
INDEXED = 100_000
ROOM = 1 << 34


async def timed(what: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await what()
    return time.perf_counter() - started


class Bench:
    """One folder, the same blobs for both sides."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = [os.urandom(SMALL) for _ in range(BLOBS)]
        self.digests = [digest_of(data) for data in self.blobs]
        self.large = os.urandom(LARGE)
        self.large_digest = digest_of(self.large)
        self.best: dict[str, float] = {}

    async def measure(self, name: str, what: Callable[[], Awaitable[object]]) -> None:
        self.best[name] = min(await timed(what), self.best.get(name, 1e9))

    async def run(self) -> None:
        for number in range(ROUNDS):
            folder = self.root / str(number)
            (folder / "plain").mkdir(parents=True)
            store = DiskBlobStore(folder / "store", ROOM)
            await store.load()
            await self.one_round(store, folder / "plain")
            store.close()
            shutil.rmtree(folder)

    async def one_round(self, store: DiskBlobStore, plain: Path) -> None:
        await self.measure("small_write", lambda: self.small_write(store))
        await self.measure("plain_small_write", lambda: self.plain_small_write(plain))
        await self.measure("small_read", lambda: self.small_read(store))
        await self.measure("plain_small_read", lambda: self.plain_small_read(plain))
        await self.measure("exists", lambda: self.exists(store))
        await self.measure("large_write", lambda: self.large_write(store))
        await self.measure("plain_large_write", lambda: self.plain_large_write(plain))
        await self.measure("large_read", lambda: self.large_read(store))
        await self.measure("plain_large_read", lambda: self.plain_large_read(plain))

    async def small_write(self, store: DiskBlobStore) -> None:
        for digest, data in zip(self.digests, self.blobs, strict=True):
            assert store.put_nowait(digest, data)

    async def small_read(self, store: DiskBlobStore) -> None:
        for digest in self.digests:
            assert store.get_nowait(digest)

    async def exists(self, store: DiskBlobStore) -> None:
        for _ in range(20):
            assert store.absent_nowait("sha256", self.digests) == []

    async def large_write(self, store: DiskBlobStore) -> None:
        await store.write(self.large_digest, self.pieces())

    async def large_read(self, store: DiskBlobStore) -> None:
        assert sum([len(piece) async for piece in store.read(self.large_digest)]) == LARGE

    async def plain_small_write(self, plain: Path) -> None:
        for digest, data in zip(self.digests, self.blobs, strict=True):
            with open(f"{plain}/new", "wb") as file:
                file.write(data)
            os.rename(f"{plain}/new", f"{plain}/{digest.hash}")

    async def plain_small_read(self, plain: Path) -> None:
        for digest in self.digests:
            with open(f"{plain}/{digest.hash}", "rb") as file:
                assert file.read()

    async def plain_large_write(self, plain: Path) -> None:
        state = hashlib.sha256()
        with open(f"{plain}/large", "wb", buffering=0) as file:
            for start in range(0, LARGE, PIECE):
                piece = self.large[start : start + PIECE]
                state.update(piece)
                file.write(piece)
        assert state.hexdigest() == self.large_digest.hash

    async def plain_large_read(self, plain: Path) -> None:
        with open(f"{plain}/large", "rb", buffering=0) as file:
            assert sum(len(piece) for piece in iter(lambda: file.read(PIECE), b"")) == LARGE

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, LARGE, PIECE):
            yield self.large[start : start + PIECE]


def memory_per_blob() -> float:
    """Bytes of memory that the index takes for a blob."""
    digests = [Digest(f"{number:064x}", 1000 + number) for number in range(INDEXED)]
    tracemalloc.start()
    index = Index(1 << 50, 3600.0, 4096)
    for digest in digests:
        index.add(key_of(digest.function, str(digest.hash[:1] + digest.hash[1:])), 1000, 0.0)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / INDEXED


def start_seconds(root: Path) -> float:
    """Seconds until a store of `BLOBS` blobs answers for the first time, index not loaded."""
    store = DiskBlobStore(root, ROOM)
    data = [os.urandom(100) for _ in range(BLOBS)]
    for one in data:
        store.put_nowait(digest_of(one), one)
    store.close()
    started = time.perf_counter()
    again = DiskBlobStore(root, ROOM)
    assert again.get_nowait(digest_of(data[0])) == data[0]
    took = time.perf_counter() - started
    again.close()
    return took


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Figures and ratios; a ratio above 1 means that the store is the faster one."""
    root = Path(tempfile.mkdtemp(prefix="builder-bench-"))
    try:
        bench = Bench(root)
        trio.run(bench.run)
        best = bench.best
        figures = {
            "small_write_us": best["small_write"] / BLOBS * 1e6,
            "small_read_us": best["small_read"] / BLOBS * 1e6,
            "exists_per_s": 20 * BLOBS / best["exists"],
            "large_write_gb_per_s": LARGE / best["large_write"] / 1e9,
            "large_read_gb_per_s": LARGE / best["large_read"] / 1e9,
            "bytes_of_memory_per_blob": memory_per_blob(),
            "first_answer_seconds": start_seconds(root / "start"),
        }
        ratios = {
            "small_write_vs_file": best["plain_small_write"] / best["small_write"],
            "small_read_vs_file": best["plain_small_read"] / best["small_read"],
            "large_write_vs_plain": best["plain_large_write"] / best["large_write"],
            "large_read_vs_plain": best["plain_large_read"] / best["large_read"],
        }
        return figures, ratios
    finally:
        shutil.rmtree(root)
