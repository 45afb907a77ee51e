"""Many small blobs at once are stored and read as they are one by one."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.digest import Digest, digest_of
from builder.base.errors import NotFoundError, StatusError
from builder.stores import bulk
from builder.stores.disk import DiskBlobStore
from builder.stores.interface import BulkStore
from builder.stores.metered import Meter, MeteredBulkBlobs
from builder.stores.segment import SMALL
from builder.stores.warm import LONGEST
from tests.stores.conftest import Time

MIB = 1024 * 1024
HOUR = 3600.0
NOISE = [os.urandom(size) for size in (1, 600, 1024, 5000, SMALL - 1)]
BLOBS = [b"a", b"text " * 300, *NOISE, *(b"%d" % number * 300 for number in range(30))]


@pytest.fixture
async def disk(tmp_path: Path, clock: Callable[[], float]) -> AsyncIterator[DiskBlobStore]:
    store = DiskBlobStore(tmp_path / "store", 64 * MIB, HOUR, "none", clock)
    await store.load()
    await store.put(digest_of(b"first"), b"first")  # opens a segment
    yield store
    store.check()
    store.close()


def names(blobs: Sequence[bytes], function: str = "sha256") -> list[Digest]:
    return [digest_of(blob, function) for blob in blobs]


def keys_of(digests: Sequence[Digest]) -> bytes:
    return b"".join(bytes.fromhex(digest.hash) for digest in digests)


def put_many(store: BulkStore, blobs: Sequence[bytes], function: str = "sha256") -> list[bool]:
    return store.put_many_nowait(function, keys_of(names(blobs, function)), blobs)


def strange(store: BulkStore, digests: Sequence[Digest]) -> list[bool] | None:
    sizes = [digest.size_bytes for digest in digests]
    return store.strange(digests[0].function, keys_of(digests), lambda: sizes, max(sizes))


def get_many(store: BulkStore, digests: Sequence[Digest]) -> list[bytes | None]:
    sizes = [digest.size_bytes for digest in digests]
    return store.get_many_nowait(digests[0].function, keys_of(digests), sizes)


@pytest.mark.parametrize("function", ["sha256", "blake3", "sha1", "sha512"])
async def test_what_is_put_at_once_is_there_for_all(disk: DiskBlobStore, function: str) -> None:
    """Packed or not, in any order of asking, and after a restart."""
    digests = names(BLOBS, function)
    assert put_many(disk, BLOBS, function) == [True] * len(BLOBS)
    assert get_many(disk, digests[::-1]) == BLOBS[::-1]
    assert [disk.get_nowait(digest) for digest in digests] == BLOBS
    assert await disk.find_missing(digests) == []
    disk.check()
    root, now = disk.folder.root, disk.small._now
    disk.small.log.journal.flush()
    disk.files.close()
    again = DiskBlobStore(Path(root), 64 * MIB, HOUR, "none", now)
    await again.load()
    assert get_many(again, digests) == BLOBS
    again.check()
    again.close()


async def test_only_new_whole_small_blobs_are_put_at_once(disk: DiskBlobStore) -> None:
    """What is there already, comes twice, is empty, or is not what it is called, is left out."""
    assert put_many(disk, [b"first", b"new", b"new", b""]) == [False, True, False, False]
    wrong = keys_of(names([b"right", b"other"]))
    assert disk.put_many_nowait("sha256", wrong, [b"wrong", b"other"]) == [False, True]
    assert put_many(disk, [b"x" * SMALL, b"small"]) == [False, False]  # a file's size
    assert disk.absent_nowait("sha256", names([b"right", b"x" * SMALL, b"small"])) is not None
    assert len(disk.absent_nowait("sha256", names([b"right", b"small"])) or []) == 2


async def test_a_full_segment_takes_what_fits(disk: DiskBlobStore) -> None:
    """The rest is for the one who may open another segment."""
    blobs = [os.urandom(60_000) for _ in range(100)]
    stored = put_many(disk, blobs)
    assert sorted(stored, reverse=True) == stored
    assert True in stored
    assert False in stored
    assert get_many(disk, names(blobs)) == [
        blob if done else None for blob, done in zip(blobs, stored, strict=True)
    ]


async def test_a_meter_counts_what_is_asked_at_once(disk: DiskBlobStore) -> None:
    """As it counts what is asked one by one."""
    meter = Meter("tier")
    store = MeteredBulkBlobs(disk, meter)
    assert isinstance(store, BulkStore)
    assert put_many(store, [b"first", b"new", b"other"]) == [False, True, True]
    assert (meter.hits, meter.misses, meter.written_bytes) == (0, 0, 8)
    asked = names([b"new", b"gone", b"other"])
    sizes = [digest.size_bytes for digest in asked]
    assert strange(store, asked) == [False, True, False]
    assert (meter.hits, meter.misses) == (0, 1)
    assert store.renew_nowait("sha256", keys_of(asked[::2]), sizes[::2]) == [True, True]
    assert (meter.hits, meter.misses) == (2, 1)
    assert get_many(store, asked) == [b"new", None, b"other"]
    assert (meter.hits, meter.misses, meter.read_bytes) == (4, 1, 8)


async def test_without_a_segment_nothing_is_put(tmp_path: Path) -> None:
    """Nor read before the store is loaded."""
    store = DiskBlobStore(tmp_path / "store", 64 * MIB)
    try:
        assert put_many(store, [b"a"]) == [False]
        assert get_many(store, names([b"a"])) == [None]
        assert strange(store, names([b"a"])) is None
        await store.load()
        assert put_many(store, [b"a"]) == [False]
        assert get_many(store, names([b"a"])) == [None]
        assert strange(store, names([b"a"])) == [True]
    finally:
        store.close()


async def test_damaged_ones_are_left_to_the_way_that_puts_them_aside(disk: DiskBlobStore) -> None:
    """Their neighbours are read."""
    digests = names(NOISE)
    put_many(disk, NOISE)
    entry = disk.small.log.find(digests[2], 0.0)
    assert entry is not None
    segment, offset, _ = disk.small.log.where(entry, digests[2])
    os.pwrite(segment.descriptor, b"\0\0\0\0", offset + 500)
    assert get_many(disk, digests) == [*NOISE[:2], None, *NOISE[3:]]
    with pytest.raises(NotFoundError, match="damaged"):
        disk.get_nowait(digests[2])
    assert strange(disk, digests) == [False, False, True, False, False]


async def test_large_ones_are_looked_for_among_the_files(disk: DiskBlobStore) -> None:
    """And not known before those are."""
    large, gone = b"x" * SMALL, b"y" * SMALL
    await disk.put(digest_of(large), large)
    asked = names([large, b"first", gone, b"small"])
    assert strange(disk, asked) == [False, False, True, True]
    disk.files._loaded = False
    assert strange(disk, asked) is None
    assert strange(disk, asked[1:2]) == [False]


async def test_leases_are_renewed_one_by_one(disk: DiskBlobStore, clock: Time) -> None:
    """A blob that was not used in this tick is not read until somebody has renewed it."""
    put_many(disk, BLOBS)
    digests = names(BLOBS)
    clock.now += HOUR
    assert get_many(disk, digests) == [None] * len(BLOBS)
    assert disk.get_nowait(digests[3]) == BLOBS[3]
    assert get_many(disk, digests[2:5]) == [None, BLOBS[3], None]


@pytest.mark.parametrize("function", ["sha256", "sha1"])
async def test_leases_are_renewed_at_once_as_one_by_one(
    tmp_path: Path, clock: Time, function: str
) -> None:
    """Entries, counts and what a restart finds are the same; others' sizes renew nothing."""
    digests = names(BLOBS, function)
    sizes = [digest.size_bytes for digest in digests]
    found = []
    for way in ("one", "many"):
        clock.now = 1_700_000_000.0
        store = DiskBlobStore(tmp_path / way, 64 * MIB, HOUR, "none", clock)
        await store.load()
        for digest, blob in zip(digests, BLOBS, strict=True):
            await store.put(digest, blob)
        wrong = [size + 1 for size in sizes]
        clock.now += HOUR
        asked = [one._replace(size_bytes=one.size_bytes + 1) for one in digests[10:]]
        if way == "one":
            assert store.absent_nowait(function, digests[:10] + asked) == asked
        else:
            renewed = store.renew_nowait(function, keys_of(digests), sizes[:10] + wrong[10:])
            assert renewed == [index < 10 for index in range(len(digests))]
            assert store.renew_nowait(function, keys_of(names([b"no"], function)), [2]) == [False]
        store.check()
        before = dict(store.small.log.table(function).items())
        store.files.close()  # as a kill leaves it
        again = DiskBlobStore(tmp_path / way, 64 * MIB, HOUR, "none", clock)
        await again.load()
        assert dict(again.small.log.table(function).items()) == before
        again.check()
        again.close()
        found.append(before)
    assert found[0] == found[1]
    assert len({entry.used for entry in found[0].values()}) == 2


async def test_neighbours_are_read_together(disk: DiskBlobStore) -> None:
    """As far as one read goes, over small gaps and not over large ones."""
    blobs = [os.urandom(1000) for _ in range(600)]
    put_many(disk, blobs)
    digests = names(blobs)
    for step, reads in ((1, 3), (2, 3), (20, 30)):
        some = digests[::step]
        found = disk.small.log.table("sha256").locate(keys_of(some), [1000] * len(some), 0)
        made = list(bulk.runs(found))
        assert len(made) == reads
        assert max(end - start for start, end, _ in made) <= LONGEST
        assert [one for _, _, together in made for one in together] == found
        assert get_many(disk, some) == blobs[::step]


indexes = st.lists(st.integers(0, len(BLOBS) - 1), min_size=1, max_size=12)


def test_many_and_one_agree() -> None:
    """Whatever is put in whatever way and asked for by whatever size."""
    with TemporaryDirectory() as folder:
        store = DiskBlobStore(Path(folder), 64 * MIB)
        trio.run(store.load)
        trio.run(store.put, digest_of(b"first"), b"first")

        @settings(max_examples=100, deadline=None)
        @given(indexes, indexes, st.sampled_from(["sha256", "blake3"]), st.integers(-1, 1))
        def run(put: list[int], asked: list[int], function: str, more: int) -> None:
            blobs = [BLOBS[index] for index in put]
            for blob, done in zip(blobs, put_many(store, blobs, function), strict=True):
                assert done or store.put_nowait(digest_of(blob, function), blob)
            digests = [digest_of(BLOBS[index], function) for index in asked]
            digests[0] = digests[0]._replace(size_bytes=digests[0].size_bytes + more)
            flags = strange(store, digests)
            assert flags is not None
            found = get_many(store, digests)
            for digest, blob, gone in zip(digests, found, flags, strict=True):
                assert blob == one(store, digest)
                assert not (gone and blob)
                assert gone == (store.small.log.size(function, digest.hash) is None)

        run()
        store.check()
        store.close()


def one(store: DiskBlobStore, digest: Digest) -> bytes | None:
    try:
        return store.get_nowait(digest)
    except StatusError:
        return None
