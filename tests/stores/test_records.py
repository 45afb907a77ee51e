"""Small opaque values, on disk and in memory."""

import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from builder.base.errors import ResourceExhaustedError
from builder.stores.disk_records import DiskRecords
from builder.stores.records import MemoryRecords, Records
from tests.stores.conftest import Time

H = "ab" * 32


@pytest.fixture(params=["memory", "disk"])
async def records(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Callable[[], float]
) -> AsyncIterator[Records]:
    """Room for 40 KiB."""
    if request.param == "memory":
        yield MemoryRecords(40 * 1024, clock)
    else:
        disk = DiskRecords(tmp_path / "records", 40 * 1024, clock)
        yield disk
        disk.close()


SPACES = ["", "a", "a/b", "../x", "..", "ä" * 300, "ac/sha256/"]


async def test_spaces_are_apart(records: Records) -> None:
    """The same hash in different spaces is different records, whatever the space is called."""
    for space in SPACES:
        assert await records.get(space, H) is None
        await records.put(space, H, space.encode())
    for space in SPACES:
        assert await records.get(space, H) == space.encode()


async def test_a_record_may_be_replaced_and_empty(records: Records) -> None:
    """The last value wins; no bytes are a value too."""
    for value in (b"one", b"two", b""):
        await records.put("s", H, value)
        assert await records.get("s", H) == value


async def test_the_least_recently_used_go_first(records: Records, clock: object) -> None:
    """When room is short old records go, and those in use stay."""
    hashes = [f"{n:02x}" * 32 for n in range(30)]
    for hash_ in hashes:
        clock.now += 100  # type: ignore[attr-defined]  # Time
        await records.put("s", hash_, bytes(3000))
        assert await records.get("s", hashes[0]) is not None
    left = [hash_ for hash_ in hashes if await records.get("s", hash_) is not None]
    assert 5 <= len(left) < 20
    assert left == [hashes[0], *hashes[-len(left) + 1 :]]


async def test_too_large_a_record_is_refused(records: Records) -> None:
    """A record that is larger than all the room is refused."""
    with pytest.raises(ResourceExhaustedError):
        await records.put("s", H, bytes(50 * 1024))


async def test_records_outlive_the_process(tmp_path: Path, clock: Callable[[], float]) -> None:
    """Records are there after a restart, before and after the index is loaded."""
    first = DiskRecords(tmp_path / "r", 1 << 20, clock)
    await first.put("space", H, b"value")
    first.close()
    second = DiskRecords(tmp_path / "r", 1 << 20, clock)
    assert await second.get("space", H) == b"value"
    await second.load()
    assert await second.get("space", H) == b"value"
    assert second.snapshot().blobs == 1
    second.close()


async def test_a_damaged_record_is_a_miss(tmp_path: Path) -> None:
    """Bytes that changed on the disk are not served."""
    records = DiskRecords(tmp_path / "r", 1 << 20)
    await records.put("space", H, b"value")
    [path] = (tmp_path / "r").rglob(H)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert await records.get("space", H) is None
    assert not path.exists()
    os.makedirs(path.parent, exist_ok=True)
    path.write_bytes(b"short")
    assert await records.get("space", H) is None
    records.close()


async def test_a_full_disk_is_relieved_by_the_oldest(tmp_path: Path, clock: Time) -> None:
    """On a disk that others have filled the oldest records make room for new ones, and those that
    are there can be had."""
    records = DiskRecords(tmp_path / "r", 1 << 30, clock)
    names = [f"{number:064x}" for number in range(3)]
    for name in names:
        await records.put("s", name, bytes(600_000))
        clock.now += 120
    real, taken = os.write, os.utime

    def full(descriptor: int, data: bytes) -> int:
        if list((tmp_path / "r").rglob(names[0])):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    def failing(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.write, os.utime = full, failing  # type: ignore[assignment]
    try:
        clock.now += 120
        assert await records.get("s", names[2]) == bytes(600_000)
        os.utime = taken
        await records.put("s", H, bytes(70_000))
    finally:
        os.write, os.utime = real, taken
    assert await records.get("s", H) == bytes(70_000)
    assert await records.get("s", names[0]) is None
    assert await records.get("s", names[2]) == bytes(600_000)
    records.close()
