"""The disk store against plain files: `python -m tests.bench store`.

Plain files are what anybody would write: create and rename, open and read, hash included for the
large ones. Both sides promise the same: what is written survives the death of the process, and
nobody asks the disk to have it before the power goes (`fsync: none`). The store does more for it:
it hashes what it takes, checks what it gives, and knows when each blob may go. Both know the
digests before they write.

Store and plain take turns, small blobs in batches of a few hundred. A ratio is the median of what
neighbouring turns say, so that other work on the machine meets both; figures are medians too.
"""

import hashlib
import os
import shutil
import tempfile
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median

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
ROUNDS = 5
BATCH = 250  # small blobs that are timed together
INDEXED = 1_000_000
ROOM = 1 << 34

Blob = tuple[Digest, bytes]

READS = 3000  # in a phase; their slowest hundredth is looked at
PHASES = 7


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
        self.took: dict[str, list[float]] = {}

    async def measure(self, name: str, what: Callable[[], Awaitable[object]]) -> None:
        self.took.setdefault(name, []).append(await timed(what))

    def seconds(self, name: str) -> float:
        return median(self.took[name])

    def ratio(self, plain: str, store: str) -> float:
        pairs = zip(self.took[plain], self.took[store], strict=True)
        return median(one / other for one, other in pairs)

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
            other = self.others[start : start + BATCH]
            await self.measure("small_write", partial(_fill, store, batch))
            await self.measure("plain_small_write", partial(self.plain_small_write, plain, batch))
            await self.measure("batched_write", partial(self.batched_write, store, other))
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


class Evicting:
    """Reads of some blobs beside a writer, in a store that is full and in one that has room."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 1e9
        self.kept = _named([os.urandom(SMALL) for _ in range(500)])

    def made(self, name: str, room: int) -> DiskBlobStore:
        return DiskBlobStore(self.root / name, room, 160.0, "none", lambda: self.now)

    async def write(self, store: DiskBlobStore, blobs: list[Blob]) -> None:
        for digest, data in blobs:
            self.now += 0.1
            await store.put(digest, data)

    async def phase(self, store: DiskBlobStore) -> float:
        """Seconds of the slowest hundredth of the reads while as many blobs are written."""
        blobs = _named([os.urandom(16 * 1024) for _ in range(READS)])
        await _fill(store, self.kept)
        took = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.write, store, blobs)
            for number in range(READS):
                started = time.perf_counter()
                await store.get(self.kept[number % len(self.kept)][0])
                took.append(time.perf_counter() - started)
        return sorted(took)[-READS // 100]

    async def ratio(self) -> float:
        """How much slower it is when each write has to evict; phases take turns."""
        ratios = []
        full = self.made("full", 64 * 1024 * 1024)
        await full.load()
        await self.phase(full)
        await self.phase(full)
        for number in range(PHASES):
            roomy = self.made(f"roomy-{number}", ROOM)
            await roomy.load()
            idle = await self.phase(roomy)
            roomy.close()
            shutil.rmtree(self.root / f"roomy-{number}")
            before = full.snapshot().evicted_blobs
            ratios.append(await self.phase(full) / idle)
            assert full.snapshot().evicted_blobs > before + READS // 2
        full.close()
        return median(ratios)


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Figures and ratios; a ratio above 1 means that the store is the faster one."""
    root = Path(tempfile.mkdtemp(prefix="builder-bench-"))
    try:
        bench = Bench(root)
        trio.run(bench.run)
        figures = {
            "small_write_us": bench.seconds("small_write") / BATCH * 1e6,
            "batched_small_write_us": bench.seconds("batched_write") / BATCH * 1e6,
            "plain_small_write_us": bench.seconds("plain_small_write") / BATCH * 1e6,
            "small_read_us": bench.seconds("small_read") / BATCH * 1e6,
            "exists_per_s": 20 * BLOBS / bench.seconds("exists"),
            "large_write_gb_per_s": LARGE / bench.seconds("large_write") / 1e9,
            "large_read_gb_per_s": LARGE / bench.seconds("large_read") / 1e9,
            "bytes_of_memory_per_blob": memory_per_blob(),
            "bytes_of_memory_per_large_blob": memory_per_large_blob(),
            "start_seconds_1m_blobs": start_seconds(root / "start"),
        }
        ratios = {
            "small_write_vs_file": bench.ratio("plain_small_write", "small_write"),
            "batched_small_write_vs_file": bench.ratio("plain_small_write", "batched_write"),
            "small_read_vs_file": bench.ratio("plain_small_read", "small_read"),
            "large_write_vs_plain": bench.ratio("plain_large_write", "large_write"),
            "large_read_vs_plain": bench.ratio("plain_large_read", "large_read"),
            "read_p99_under_eviction": trio.run(Evicting(root / "evicting").ratio),
        }
        return figures, ratios
    finally:
        shutil.rmtree(root)
