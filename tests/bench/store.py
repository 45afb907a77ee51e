"""The disk store against plain files: `python -m tests.bench store`.

Plain files are what anybody would write: create and rename, open and read, hash included for the
large ones (the store verifies what it takes). Each figure is the best of some rounds, so that
other work on the machine counts less; all rounds of one run alternate between store and plain,
small blobs in batches of a few hundred. Both sides know the digests before they write.
"""

import hashlib
import itertools
import os
import shutil
import tempfile
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

from builder.base.digest import Digest, digest_of
from builder.stores.disk import DiskBlobStore
from builder.stores.entries import PackedEntries
from builder.stores.index import Index
from builder.stores.table import Entry, Table

SMALL = 2048
BLOBS = 2000
LARGE = 64 * 1024 * 1024
PIECE = 1024 * 1024
ROUNDS = 3
BATCH = 250  # small blobs that are timed together
INDEXED = 1_000_000
ROOM = 1 << 34

Blob = tuple[Digest, bytes]

READERS_UNDER = 4000  # reads whose slowest hundredth is looked at


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
        self.others = _named([os.urandom(SMALL) for _ in range(BLOBS)])
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
        named = list(zip(self.digests, self.blobs, strict=True))
        for start in range(0, BLOBS, BATCH):
            batch = named[start : start + BATCH]
            await self.measure("small_write", partial(_fill, store, batch))
            await self.measure("plain_small_write", partial(self.plain_small_write, plain, batch))
        for start in range(0, BLOBS, BATCH):
            batch = self.others[start : start + BATCH]
            await self.measure("batched_write", partial(self.batched_write, store, batch))
        for start in range(0, BLOBS, BATCH):
            batch = named[start : start + BATCH]
            await self.measure("small_read", partial(self.small_read, store, batch))
            await self.measure("plain_small_read", partial(self.plain_small_read, plain, batch))
        await self.measure("exists", lambda: self.exists(store))
        await self.measure("large_write", lambda: self.large_write(store))
        await self.measure("plain_large_write", lambda: self.plain_large_write(plain))
        await self.measure("large_read", lambda: self.large_read(store))
        await self.measure("plain_large_read", lambda: self.plain_large_read(plain))

    async def batched_write(self, store: DiskBlobStore, batch: list[Blob]) -> None:
        """As BatchUpdateBlobs does it."""
        keys = bytes.fromhex("".join(digest.hash for digest, _ in batch))
        stored = store.put_many_nowait("sha256", keys, [data for _, data in batch])
        for (digest, data), is_stored in zip(batch, stored, strict=True):
            if not is_stored:
                await store.put(digest, data)

    async def small_read(self, store: DiskBlobStore, batch: list[Blob]) -> None:
        for digest, _ in batch:
            assert store.get_nowait(digest)

    async def exists(self, store: DiskBlobStore) -> None:
        for _ in range(20):
            assert store.absent_nowait("sha256", self.digests) == []

    async def large_write(self, store: DiskBlobStore) -> None:
        await store.write(self.large_digest, self.pieces())

    async def large_read(self, store: DiskBlobStore) -> None:
        assert sum([len(piece) async for piece in store.read(self.large_digest)]) == LARGE

    async def plain_small_write(self, plain: Path, batch: list[Blob]) -> None:
        for digest, data in batch:
            with open(f"{plain}/new", "wb") as file:
                file.write(data)
            os.rename(f"{plain}/new", f"{plain}/{digest.hash}")

    async def plain_small_read(self, plain: Path, batch: list[Blob]) -> None:
        for digest, _ in batch:
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
        state = hashlib.sha256()
        with open(f"{plain}/large", "rb", buffering=0) as file:
            for piece in iter(lambda: file.read(PIECE), b""):
                state.update(piece)
        assert state.hexdigest() == self.large_digest.hash

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, LARGE, PIECE):
            yield self.large[start : start + PIECE]


def memory_per_blob() -> float:
    """Bytes of memory that the index takes for each of a million blobs."""
    tracemalloc.start()
    table = Table(32)
    for number in range(INDEXED):
        table.put(
            hashlib.sha256(b"%d" % number).digest(), Entry(1_000_000_000, 2000, 2056, number, 0)
        )
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / INDEXED


def memory_per_large_blob() -> float:
    """Bytes of memory that the index takes for each of many blobs that are files."""
    tracemalloc.start()
    index = Index(1 << 60, 3600.0, 4096, PackedEntries)
    for number in range(INDEXED // 4):
        index.add(hashlib.sha256(b"%d" % number).hexdigest(), 200_000, 1e9 + number)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / (INDEXED // 4)


def start_seconds(root: Path) -> float:
    """Seconds until a store with a million blobs has opened, read its index and given one."""
    store = DiskBlobStore(root, ROOM)
    data = [b"%d" % number for number in range(INDEXED)]
    trio.run(store.load)
    trio.run(_fill, store, _named(data))
    store.close()
    started = time.perf_counter()
    again = DiskBlobStore(root, ROOM)
    assert trio.run(again.get, digest_of(data[0])) == data[0]
    took = time.perf_counter() - started
    assert again.snapshot().blobs == INDEXED
    again.close()
    return took


def _named(blobs: list[bytes]) -> list[Blob]:
    return [(digest_of(data), data) for data in blobs]


async def _fill(store: DiskBlobStore, blobs: list[Blob]) -> None:
    for digest, data in blobs:
        if not store.put_nowait(digest, data):
            await store.put(digest, data)


async def read_p99_under_eviction(root: Path) -> float:
    """How much slower the slowest hundredth of reads is while a full store takes writes."""
    now = [1e9]
    store = DiskBlobStore(root, 64 * 1024 * 1024, 160.0, "none", lambda: now[0])
    await store.load()
    keep = [os.urandom(SMALL) for _ in range(500)]
    await _fill(store, _named(keep))
    digests = [digest_of(data) for data in keep]
    fill = [os.urandom(16 * 1024) for _ in range(6000)]
    names = [digest_of(data) for data in fill]

    async def reads() -> float:
        took = []
        for number in range(READERS_UNDER):
            started = time.perf_counter()
            await store.get(digests[number % len(digests)])
            took.append(time.perf_counter() - started)
        return sorted(took)[-READERS_UNDER // 100]

    async def writes() -> None:
        for number in itertools.count():
            now[0] += 0.1
            await store.put(names[number % len(names)], fill[number % len(fill)])

    async def copies() -> None:  # the same work without eviction: what a plain neighbour costs
        for number in itertools.count():
            await trio.lowlevel.checkpoint()
            digest_of(fill[number % len(fill)])

    async def beside(work: Callable[[], Awaitable[None]]) -> float:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            found = await reads()
            nursery.cancel_scope.cancel()
        return found

    idle = min([await beside(copies) for _ in range(ROUNDS)])
    for name, data in zip(names[:4500], fill, strict=False):
        now[0] += 0.1
        await store.put(name, data)
    await _fill(store, _named(keep))
    before = store.snapshot().evicted_blobs
    busy = min([await beside(writes) for _ in range(ROUNDS)])
    assert store.snapshot().evicted_blobs > before
    store.close()
    return busy / idle


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Figures and ratios; a ratio above 1 means that the store is the faster one."""
    root = Path(tempfile.mkdtemp(prefix="builder-bench-"))
    try:
        bench = Bench(root)
        trio.run(bench.run)
        best = bench.best
        figures = {
            "small_write_us": best["small_write"] / BATCH * 1e6,
            "batched_small_write_us": best["batched_write"] / BATCH * 1e6,
            "small_read_us": best["small_read"] / BATCH * 1e6,
            "exists_per_s": 20 * BLOBS / best["exists"],
            "large_write_gb_per_s": LARGE / best["large_write"] / 1e9,
            "large_read_gb_per_s": LARGE / best["large_read"] / 1e9,
            "bytes_of_memory_per_blob": memory_per_blob(),
            "bytes_of_memory_per_large_blob": memory_per_large_blob(),
            "start_seconds_1m_blobs": start_seconds(root / "start"),
        }
        ratios = {
            "small_write_vs_file": best["plain_small_write"] / best["small_write"],
            "batched_small_write_vs_file": best["plain_small_write"] / best["batched_write"],
            "small_read_vs_file": best["plain_small_read"] / best["small_read"],
            "large_write_vs_plain": best["plain_large_write"] / best["large_write"],
            "large_read_vs_plain": best["plain_large_read"] / best["large_read"],
            "read_p99_under_eviction": trio.run(read_p99_under_eviction, root / "evicting"),
        }
        return figures, ratios
    finally:
        shutil.rmtree(root)
