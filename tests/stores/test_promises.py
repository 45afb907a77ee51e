"""The promises of the storage, one test of each name; what each rests on is tested beside it."""

import errno
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.base.digest import Digest, digest_of
from builder.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores import log_keeper
from builder.stores.action_cache import CheckedActionCache
from builder.stores.disk import DiskBlobStore
from builder.stores.folder import Fsync
from builder.stores.records import MemoryRecords
from builder.stores.table import Entry, Table
from tests.stores.conftest import Time

MIB = 1024 * 1024
HOUR = 3600.0
ROOM = 32 * MIB
CALLS = ("open", "pwritev", "write", "preadv", "pread", "read", "rename", "replace", "unlink")
CALLS += ("writev", "posix_fallocate", "fdatasync", "fsync", "utime", "makedirs", "ftruncate")


@pytest.fixture
def disk(tmp_path: Path, clock: Time) -> Iterator[DiskBlobStore]:
    store = DiskBlobStore(tmp_path / "store", ROOM, HOUR, "none", clock)
    yield store
    store.close()


async def filled(store: DiskBlobStore, size: int, seed: int) -> list[Digest]:
    """What was stored until the store refused."""
    chance = random.Random(seed)
    taken = []
    with pytest.raises(ResourceExhaustedError, match="promised to clients"):
        while True:
            data = chance.randbytes(size)
            await store.put(digest_of(data), data)
            taken.append(digest_of(data))
    return taken


@pytest.mark.parametrize("size", [5000, 60_000, 700_000])
async def test_lease_window(disk: DiskBlobStore, clock: Time, size: int) -> None:
    """On a full store everything that was acknowledged stays for the window, and writes are
    refused with a reason; after it there is room again. (Random calls: test_leases.)"""
    taken = await filled(disk, size, seed=1)
    assert len(taken) * size > ROOM * 0.7
    clock.now += HOUR - 1
    for digest in taken:
        assert digest_of(await disk.get(digest)) == digest
    assert await disk.find_missing(taken) == []
    assert ROOM * 0.7 < disk.snapshot().leased_bytes <= ROOM
    clock.now += HOUR + HOUR / 8
    assert disk.snapshot().leased_bytes == 0
    assert len(await filled(disk, size, seed=2)) * size > ROOM * 0.7
    disk.check()


async def test_closure(disk: DiskBlobStore, clock: Time) -> None:
    """A result is served while all that it references is here, trees' contents too, and serving
    it renews all of it."""
    cache = CheckedActionCache(disk, MemoryRecords(MIB, clock))
    file, deep = digest_of(b"file"), digest_of(b"deep" * 20_000)
    tree = pb.Tree(root=pb.Directory(files=[pb.FileNode(name="a", digest=to_proto(deep))]))
    packed = tree.SerializeToString()
    result = pb.ActionResult(
        output_files=[pb.OutputFile(path="f", digest=to_proto(file))],
        output_directories=[pb.OutputDirectory(path="d", tree_digest=to_proto(digest_of(packed)))],
    )
    action = digest_of(b"action")
    with pytest.raises(FailedPreconditionError):
        await cache.store("", action, result)
    for data in (b"file", b"deep" * 20_000, packed):
        await disk.put(digest_of(data), data)
    await cache.store("", action, result)
    for _ in range(4):
        clock.now += HOUR * 0.9
        assert await cache.lookup("", action) == result
        await filled(disk, 60_000, seed=int(clock.now))
    os.unlink(disk.path(deep))
    with pytest.raises(NotFoundError):
        await disk.get(deep)
    assert await cache.lookup("", action) is None


def damage(disk: DiskBlobStore, digest: Digest) -> None:
    """Change one byte in the middle of a stored blob."""
    if digest.size_bytes >= 65536:
        path = disk.path(digest)
        os.chmod(path, 0o644)
        descriptor, at = os.open(path, os.O_RDWR), digest.size_bytes // 2
    else:
        entry = disk.small.log.tables[digest.function].find(bytes.fromhex(digest.hash))
        assert entry is not None
        segment, at, _ = disk.small.log.where(entry, digest)
        descriptor = os.dup(segment.descriptor)
    old = os.pread(descriptor, 1, at)
    os.pwrite(descriptor, bytes([old[0] ^ 1]), at)
    os.close(descriptor)


async def by_get(store: DiskBlobStore, digest: Digest) -> None:
    await store.get(digest)


async def by_get_nowait(store: DiskBlobStore, digest: Digest) -> None:
    if store.get_nowait(digest) is None:
        await store.get(digest)


async def by_read(store: DiskBlobStore, digest: Digest) -> None:
    got = [piece async for piece in store.read(digest)]
    assert got is None, "the whole of a damaged blob was given"


@pytest.mark.parametrize("size", [2000, 100_000, 3 * MIB])
@pytest.mark.parametrize("way", [by_get, by_get_nowait, by_read])
async def test_exact_truth(disk: DiskBlobStore, size: int, way: Callable[..., object]) -> None:
    """Whatever way a damaged blob is read, it is never given whole; it is put aside, missing from
    then on and welcome again."""
    data = random.Random(size).randbytes(size)
    digest = digest_of(data)
    await disk.put(digest, data)
    damage(disk, digest)
    with pytest.raises(NotFoundError, match="damaged"):
        await way(disk, digest)  # type: ignore[misc]  # each is a coroutine function
    assert await disk.find_missing([digest]) == [digest]
    assert os.listdir(f"{disk.folder.root}/quarantine") == [f"{digest.hash}-{size}"]
    assert disk.snapshot().lost_blobs == 1
    await disk.put(digest, data)
    assert await disk.get(digest) == data


@contextmanager
def faults(number: int, step: int) -> Iterator[list[str]]:
    """The `step`-th system call of a store, and the ten after it, fail with this errno."""
    real = {name: getattr(os, name) for name in CALLS}
    done: list[str] = []

    def failing(name: str) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            done.append(name)
            if step <= len(done) < step + 10:
                raise OSError(number, os.strerror(number))
            return real[name](*args, **kwargs)

        return call

    try:
        for name in CALLS:
            setattr(os, name, failing(name))
        yield done
    finally:
        for name, function in real.items():
            setattr(os, name, function)


async def work(store: DiskBlobStore, clock: Time, blobs: list[bytes]) -> list[Digest]:
    """Write and read; what was acknowledged. Only errors that clients understand may come."""
    acknowledged, said = [], []
    for data in blobs:
        digest = digest_of(data)
        clock.now += HOUR / 40
        try:
            await store.put(digest, data)
            acknowledged.append(digest)
            assert await store.find_missing([digest]) == []
            assert await store.get(digest) == data
        except NotFoundError:
            raise
        except (ResourceExhaustedError, UnavailableError) as error:
            said.append(str(error))
    assert all(str(store.folder.root) in message for message in said), "does not say where"
    return acknowledged


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 8, 11, 17, 29, 53, 80, 131, 200, 260])
async def test_full_disk_and_bad_disk(
    tmp_path: Path, clock: Time, number: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any call of the system may fail, those of a checkpoint too: errors are clear, nothing
    acknowledged is lost, and the store goes on when the disk does, after a restart too."""
    monkeypatch.setattr(log_keeper, "CHANGES", 10)
    fsync: Fsync = "full" if step % 2 else "none"
    disk = DiskBlobStore(tmp_path / "store", ROOM, HOUR, fsync, clock)
    await disk.load()
    sizes = [100, 30_000, 80_000, 500_000, 1_500_000]
    chance = random.Random(step)
    blobs = [chance.randbytes(chance.choice(sizes)) for _ in range(60)]
    with faults(number, step) as done:
        acknowledged = await work(disk, clock, blobs)
    assert len(done) > step
    disk.check()
    assert disk.snapshot().reserved_bytes == 0
    assert not os.listdir(f"{disk.folder.root}/unfinished")
    recent = acknowledged[-20:]
    assert await disk.find_missing(recent) == []
    assert len(await work(disk, clock, blobs[:3])) == 3
    disk.close()
    again = DiskBlobStore(tmp_path / "store", ROOM, HOUR, "none", clock)
    assert await again.find_missing(recent) == []
    for digest in recent:
        assert digest_of(await again.get(digest)) == digest
    again.close()


async def test_damage_does_not_become_good_by_moving(disk: DiskBlobStore, clock: Time) -> None:
    """Cleaning a segment moves what is promised; of that, what is damaged counts as lost."""
    blobs = [random.Random(n).randbytes(3000) for n in range(3)]
    digests = [digest_of(data) for data in blobs]
    for digest, data in zip(digests, blobs, strict=True):
        await disk.put(digest, data)
    damage(disk, digests[1])
    log = disk.small.log
    await disk.small.keeper.clean(log.segments[1])
    assert await disk.find_missing(digests) == [digests[1]]
    assert [await disk.get(digests[0]), await disk.get(digests[2])] == [blobs[0], blobs[2]]
    disk.check()


async def test_a_full_disk_is_relieved_by_eviction(disk: DiskBlobStore, clock: Time) -> None:
    """A disk that others have filled: what may go is evicted, and the write succeeds."""
    old = random.Random(1).randbytes(MIB)
    await disk.put(digest_of(old), old)
    await disk.load()
    clock.now += 2 * HOUR
    real = os.writev

    def full(descriptor: int, data: list[bytes]) -> int:
        if os.path.exists(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    path = f"{disk.folder.root}/sha256/{digest_of(old).hash[:2]}/{digest_of(old).hash}-{MIB}"
    new = random.Random(2).randbytes(2 * MIB)
    os.writev = full  # type: ignore[assignment]
    try:
        await disk.put(digest_of(new), new)
    finally:
        os.writev = real
    assert await disk.get(digest_of(new)) == new
    assert disk.snapshot().evicted_blobs == 1


def test_bounded_memory() -> None:
    """A table of blobs takes less than 100 bytes of memory for each. (Measured: bench store.)"""
    table = Table(32)
    for number in range(200_000):
        key = number.to_bytes(3, "big") * 11
        table.put(key[1:], Entry(1_000_000_000, 2000, 2056, number, 0))
    used = sum(sys.getsizeof(bucket) for bucket in table._buckets)
    assert table.count == 200_000
    assert used / table.count < 100


@pytest.mark.parametrize("size", [2000, 100_000, 3 * MIB])
async def test_poisoning(disk: DiskBlobStore, size: int) -> None:
    """Bytes that are not what their digest names are refused on every way of writing."""
    data = random.Random(size).randbytes(size)
    digest = digest_of(data)
    for wrong in (data[:-1] + b"!", data[:-1], data + b"!"):
        if wrong == data:
            continue
        with pytest.raises(InvalidArgumentError):
            disk.put_nowait(digest, wrong) or await disk.put(digest, wrong)
        upload = await disk.begin(digest)
        with pytest.raises(InvalidArgumentError):
            await upload.append(wrong)
            await upload.commit()
        upload.abort()
    assert await disk.find_missing([digest]) == [digest]
    assert disk.snapshot().reserved_bytes == 0
