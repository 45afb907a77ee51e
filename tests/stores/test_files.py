"""What is special about blobs on a disk."""

import os
import random
import resource
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import trio

from builder.base.digest import digest_of
from builder.base.errors import NotFoundError, ResourceExhaustedError, UsageError
from builder.stores.files import FileBlobStore

MIB = 1024 * 1024
HOUR = 3600.0


@pytest.fixture
def disk(tmp_path: Path, clock: Callable[[], float]) -> Iterator[FileBlobStore]:
    store = FileBlobStore(tmp_path / "store", 16 * MIB, HOUR, "none", clock)
    yield store
    store.close()


def test_a_second_owner_is_refused(disk: FileBlobStore, tmp_path: Path) -> None:
    """A directory in use is refused with the process that has it; after close it is free."""
    with pytest.raises(UsageError, match=f"in use by process {os.getpid()}"):
        FileBlobStore(tmp_path / "store", MIB)
    disk.close()
    FileBlobStore(tmp_path / "store", MIB).close()


def test_a_directory_that_cannot_be_is_a_usage_error(tmp_path: Path) -> None:
    """A path below a file is refused with a sentence."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="store directory"):
        FileBlobStore(tmp_path / "file" / "store", MIB)


async def test_leftovers_are_removed_at_start(disk: FileBlobStore, tmp_path: Path) -> None:
    """Temporaries of a killed process are gone after the next start."""
    disk.close()
    left = tmp_path / "store" / "unfinished" / "17"
    left.write_bytes(b"half")
    FileBlobStore(tmp_path / "store", MIB).close()
    assert not left.exists()


async def test_blobs_are_known_before_the_index_is_loaded(
    disk: FileBlobStore, tmp_path: Path, clock: Callable[[], float]
) -> None:
    """A new process finds, reads and renews blobs at once, and knows all of them after load."""
    data = [bytes([n]) * 1000 for n in range(20)]
    for one in data:
        await disk.put(digest_of(one), one)
    disk.close()
    again = FileBlobStore(tmp_path / "store", 16 * MIB, HOUR, "none", clock)
    assert await again.find_missing([digest_of(data[0])]) == []
    assert await again.get(digest_of(data[1])) == data[1]
    assert again.snapshot().blobs == 2
    await again.load()
    assert again.snapshot().blobs == 20
    again.check()
    again.close()


async def test_damage_is_found_put_aside_and_healed(disk: FileBlobStore, tmp_path: Path) -> None:
    """A blob whose bytes changed is missing from then on, kept for inspection, and rewritable."""
    data = b"precious" * 100
    digest = digest_of(data)
    await disk.put(digest, data)
    stamp = disk.stamp()
    path = Path(disk.path(digest))
    path.chmod(0o644)
    path.write_bytes(b"Precious" * 100)
    with pytest.raises(NotFoundError, match="damaged"):
        await disk.get(digest)
    assert disk.stamp() != stamp
    assert await disk.find_missing([digest]) == [digest]
    assert [p.name for p in (tmp_path / "store" / "quarantine").iterdir()] == [path.name]
    await disk.put(digest, data)
    assert await disk.get(digest) == data


@pytest.mark.parametrize("size", [1000, 3 * MIB])
async def test_a_blob_that_was_cut_short_is_no_blob(
    disk: FileBlobStore, tmp_path: Path, size: int
) -> None:
    """A truncated file is neither read whole nor taken in by the next start."""
    data = os.urandom(size)
    digest = digest_of(data)
    await disk.put(digest, data)
    path = Path(disk.path(digest))
    path.chmod(0o644)
    os.truncate(path, size - 1)
    disk.close()
    again = FileBlobStore(tmp_path / "store", 16 * MIB)
    assert await again.find_missing([digest]) == [digest]
    await again.load()
    assert not path.exists()
    again.check()
    again.close()


async def test_a_large_blob_that_shrinks_while_it_is_known_is_lost(disk: FileBlobStore) -> None:
    """Streaming a file that turns out too short ends with an error, not with fewer bytes."""
    data = os.urandom(3 * MIB)
    digest = digest_of(data)
    await disk.put(digest, data)
    path = disk.path(digest)
    os.chmod(path, 0o644)
    os.truncate(path, MIB + 5)
    with pytest.raises(NotFoundError, match="damaged"):
        [piece async for piece in disk.read(digest)]
    assert await disk.find_missing([digest]) == [digest]


async def test_a_file_that_somebody_removed_is_missing(disk: FileBlobStore) -> None:
    """A blob whose file is gone is not found, and missing from then on."""
    digest = digest_of(b"here")
    await disk.put(digest, b"here")
    os.unlink(disk.path(digest))
    with pytest.raises(NotFoundError):
        await disk.get(digest)
    assert await disk.find_missing([digest]) == [digest]


async def test_a_reader_is_never_cut_off(disk: FileBlobStore, clock: object) -> None:
    """A blob that is evicted while it is read is read to its end."""
    data = os.urandom(10 * MIB)
    digest = digest_of(data)
    await disk.load()
    await disk.put(digest, data)
    other = os.urandom(10 * MIB)
    async with aclosing(disk.read(digest)) as pieces:
        parts = [await anext(pieces)]
        clock.now += 2 * HOUR  # type: ignore[attr-defined]  # the conftest's Time
        await disk.put(digest_of(other), other)
        assert await disk.find_missing([digest]) == [digest]
        parts += [piece async for piece in pieces]
    assert b"".join(parts) == data


async def test_a_full_disk_is_said_so_and_leaves_nothing(disk: FileBlobStore) -> None:
    """When the system has no room, the write is refused with a reason and later ones succeed."""
    data = os.urandom(2 * MIB)
    digest = digest_of(data)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        with pytest.raises(ResourceExhaustedError, match="disk that holds"):
            await disk.put(digest, data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert disk.snapshot().reserved_bytes == 0
    assert not os.listdir(f"{disk.folder.root}/unfinished")
    await disk.put(digest, data)
    assert await disk.find_missing([digest]) == []


async def test_too_much_from_before_is_evicted_after_load(
    disk: FileBlobStore, tmp_path: Path, clock: object
) -> None:
    """A smaller capacity is kept after the next start's load, oldest first, leases respected."""
    digests = []
    for number in range(4):
        data = bytes([number]) * (MIB - number)
        digests.append(digest_of(data))
        await disk.put(digests[-1], data)
        clock.now += 2 * HOUR if number < 2 else 0  # type: ignore[attr-defined]  # Time
    disk.close()
    again = FileBlobStore(tmp_path / "store", MIB, HOUR, "none", clock)  # type: ignore[arg-type]
    await again.load()
    assert sorted(await again.find_missing(digests)) == sorted(digests[:2])
    again.check()
    again.close()


async def test_writes_wait_for_the_index_when_room_is_short(
    disk: FileBlobStore, tmp_path: Path, clock: object
) -> None:
    """Before the index is loaded a write that needs eviction loads it first."""
    old = bytes(3 * MIB)
    await disk.put(digest_of(old), old)
    disk.close()
    clock.now += 2 * HOUR  # type: ignore[attr-defined]  # Time
    again = FileBlobStore(tmp_path / "store", 4 * MIB, HOUR, "none", clock)  # type: ignore[arg-type]
    first, second = os.urandom(2 * MIB), os.urandom(2 * MIB)

    async def chunks(data: bytes) -> AsyncGenerator[bytes, None]:
        yield data

    for data in (first, second, os.urandom(0)):
        async with aclosing(chunks(data)) as source:
            await again.write(digest_of(data), source)
    with pytest.raises(ResourceExhaustedError, match="promised"):
        await again.put(digest_of(b"x"), b"x")
    assert await again.find_missing([digest_of(old)]) == [digest_of(old)]
    again.check()
    again.close()


async def test_records_of_time_are_kept_by_the_files(disk: FileBlobStore, clock: object) -> None:
    """Each first use in a tick is written down in the file's modification time."""
    digest = digest_of(b"data")
    await disk.put(digest, b"data")
    path = disk.path(digest)
    clock.now += HOUR / 2  # type: ignore[attr-defined]  # Time
    assert await disk.find_missing([digest]) == []
    assert os.stat(path).st_mtime == clock.now  # type: ignore[attr-defined]  # Time
    with trio.fail_after(60):
        await disk.load()


@pytest.mark.parametrize("seed", range(3))
async def test_many_tasks_on_a_small_disk(
    disk: FileBlobStore, tmp_path: Path, clock: object, seed: int
) -> None:
    """Concurrent writers and readers under constant eviction: promises hold, sums stay right."""
    disk.close()
    small = FileBlobStore(tmp_path / "small", 8 * MIB, 160.0, "none", clock)  # type: ignore[arg-type]
    chance = random.Random(seed)
    blobs = [bytes([n]) * chance.choice([100, 5000, 200_000, 1_500_000]) for n in range(60)]
    digests = [digest_of(data) for data in blobs]
    kept = refused = 0

    async def chunks(data: bytes) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    async def task() -> None:
        nonlocal kept, refused
        for _ in range(40):
            number = chance.randrange(60)
            clock.now += chance.random() * 8  # type: ignore[attr-defined]  # Time
            try:
                async with aclosing(chunks(blobs[number])) as source:
                    await small.write(digests[number], source)
                until = clock.now + 160.0  # type: ignore[attr-defined]  # Time
            except ResourceExhaustedError:
                refused += 1
                continue
            try:
                data = b"".join([piece async for piece in small.read(digests[number])])
            except NotFoundError:
                assert clock.now >= until  # type: ignore[attr-defined]  # Time
                continue
            assert data == blobs[number]
            kept += 1

    await small.load()
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(task)
    assert kept > 50
    assert small.snapshot().evicted_blobs > 20
    assert small.snapshot().reserved_bytes == 0
    assert not os.listdir(f"{small.folder.root}/unfinished")
    small.check()
    small.close()


async def test_sizes_are_known_by_hash(
    disk: FileBlobStore, tmp_path: Path, clock: Callable[[], float]
) -> None:
    """A blob's size is found by its hash, by the next process too."""
    digest = digest_of(b"data")
    await disk.put(digest, b"data")
    assert await disk.size_of("sha256", digest.hash) == 4
    assert await disk.size_of("blake3", digest.hash) is None
    disk.close()
    again = FileBlobStore(tmp_path / "store", MIB, HOUR, "none", clock)
    assert await again.size_of("sha256", digest.hash) == 4
    assert await again.size_of("sha256", "0" * 64) is None
    again.close()


async def test_what_is_lost_while_loading_stays_lost(
    disk: FileBlobStore, tmp_path: Path, clock: Callable[[], float], nursery: trio.Nursery
) -> None:
    """A blob that turns out damaged while the index is read from the disk is not in it after."""
    digest = digest_of(b"data" * 100)
    await disk.put(digest, b"data" * 100)
    path = Path(disk.path(digest))
    disk.close()
    path.chmod(0o644)
    path.write_bytes(b"Data" * 100)
    again = FileBlobStore(tmp_path / "store", MIB, HOUR, "none", clock)
    nursery.start_soon(again.load)
    with pytest.raises(NotFoundError, match="damaged"):
        again.get_nowait(digest)
    await again.load()
    assert await again.find_missing([digest]) == [digest]
    again.check()
    again.close()


async def test_many_uploads_hold_little_back(tmp_path: Path) -> None:
    """One alone gathers more before it is written than each of many; together they are bounded."""
    store = FileBlobStore(tmp_path / "store", 1 << 30)
    piece = bytes(64 * 1024)
    held = {}
    for count in (1, 200):
        uploads = [
            await store.begin(digest_of(b"%d" % n)._replace(size_bytes=MIB)) for n in range(count)
        ]
        for upload in uploads:
            for _ in range(MIB // len(piece) - 1):
                await upload.append(piece)
        held[count] = sum(upload.held_bytes for upload in uploads)
        for upload in uploads:
            upload.abort()
    assert held[1] == MIB - len(piece)
    assert held[200] <= 32 * MIB
    assert store.folder.writers == 0
    store.close()
