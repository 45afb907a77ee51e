"""When a large blob is hashed that somebody reads."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.base.digest import Digest, digest_of
from builder.base.errors import NotFoundError
from builder.stores.files import FileBlobStore
from builder.stores.verified import Verified
from tests.stores.conftest import Time

HOUR = 3600.0
TICK_S = HOUR / 16
DATA = bytes(range(256)) * 4096
DIGEST = digest_of(DATA)
WRONG = b"X" + DATA[1:]


@pytest.fixture
def disk(tmp_path: Path, clock: Time) -> Iterator[FileBlobStore]:
    store = FileBlobStore(tmp_path / "store", 16 << 20, HOUR, "none", clock)
    yield store
    store.close()


async def whole(store: FileBlobStore, digest: Digest = DIGEST) -> bytes:
    return b"".join([piece async for piece in store.read(digest)])


def damage(path: Path) -> None:
    """As a failing disk does it: the file system does not notice."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(WRONG)
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))


async def test_who_writes_to_a_file_is_found_out_at_once(disk: FileBlobStore) -> None:
    """Bytes that were changed by a program are never given out as the blob."""
    await disk.put(DIGEST, DATA)
    path = Path(disk.path(DIGEST))
    path.chmod(0o644)
    path.write_bytes(WRONG)
    with pytest.raises(NotFoundError, match="damaged"):
        await whole(disk)
    assert await disk.find_missing([DIGEST]) == [DIGEST]


async def test_a_replaced_file_is_found_out_at_once(disk: FileBlobStore) -> None:
    """Another file in the blob's place is another inode, whatever its time."""
    await disk.put(DIGEST, DATA)
    path = Path(disk.path(DIGEST))
    (other := path.with_name("other")).write_bytes(WRONG)
    stamp = path.stat().st_mtime_ns
    os.utime(other, ns=(stamp, stamp))
    other.rename(path)
    with pytest.raises(NotFoundError, match="damaged"):
        await whole(disk)


async def test_silent_damage_is_found_in_the_next_tick(disk: FileBlobStore, clock: Time) -> None:
    """A blob that was hashed is trusted for the rest of the tick, and no longer."""
    await disk.put(DIGEST, DATA)
    damage(Path(disk.path(DIGEST)))
    assert await whole(disk) == WRONG
    clock.now += TICK_S
    with pytest.raises(NotFoundError, match="damaged"):
        await whole(disk)
    assert await disk.find_missing([DIGEST]) == [DIGEST]
    await disk.put(DIGEST, DATA)
    assert await whole(disk) == DATA


async def test_a_new_process_trusts_no_file(
    disk: FileBlobStore, tmp_path: Path, clock: Time
) -> None:
    """The first whole read after a start hashes."""
    await disk.put(DIGEST, DATA)
    damage(Path(disk.path(DIGEST)))
    disk.close()
    again = FileBlobStore(tmp_path / "store", 16 << 20, HOUR, "none", clock)
    with pytest.raises(NotFoundError, match="damaged"):
        await whole(again)
    again.close()


async def test_a_read_is_remembered_as_well(
    disk: FileBlobStore, tmp_path: Path, clock: Time
) -> None:
    """What a read has hashed is trusted like what was written."""
    await disk.put(DIGEST, DATA)
    disk.close()
    again = FileBlobStore(tmp_path / "store", 16 << 20, HOUR, "none", clock)
    assert await whole(again) == DATA
    damage(Path(again.path(DIGEST)))
    assert await whole(again) == WRONG
    again.close()


def test_the_memory_is_bounded(tmp_path: Path) -> None:
    """Beyond the bound, the files hashed the longest time ago are hashed again."""
    known = Verified(most=2)
    (tmp_path / "file").write_bytes(b"")
    stat = (tmp_path / "file").stat()
    for key in ("a", "b", "a", "c"):
        known.add(key, stat)
    assert [known.knows(key, stat) for key in "abc"] == [True, False, True]
    known.forget("a")
    assert (len(known), known.knows("a", stat)) == (1, False)


RANGES = [(0, 10), (len(DATA) // 2, None), (len(DATA) - 1, 1)]


@pytest.mark.parametrize(("offset", "limit"), RANGES)
@pytest.mark.parametrize("size", [0, 1, len(DATA) - 1, len(DATA), len(DATA) + 1])
async def test_no_part_of_a_damaged_blob_is_given(
    disk: FileBlobStore, clock: Time, offset: int, limit: int | None, size: int
) -> None:
    """Whatever range is asked for, wherever the damage is: cut short, too long, or other bytes."""
    await disk.put(DIGEST, DATA)
    path = Path(disk.path(DIGEST))
    path.chmod(0o644)
    path.write_bytes((WRONG + b"!")[:size])
    with pytest.raises(NotFoundError, match="damaged"):
        _ = [piece async for piece in disk.read(DIGEST, offset, limit)]
    assert await disk.find_missing([DIGEST]) == [DIGEST]
    assert os.listdir(disk.quarantine.path) == [f"{DIGEST.hash}-{DIGEST.size_bytes}"]


async def test_parts_are_read_of_a_blob_that_an_earlier_process_left(
    disk: FileBlobStore, tmp_path: Path, clock: Time
) -> None:
    """Its first reader hashes it, even one who wants a part; then parts are what they were."""
    await disk.put(DIGEST, DATA)
    disk.close()
    again = FileBlobStore(tmp_path / "store", 16 << 20, HOUR, "none", clock)
    for offset, limit in [*RANGES, (5, 0), (len(DATA), None)]:
        got = b"".join([piece async for piece in again.read(DIGEST, offset, limit)])
        assert got == DATA[offset:][:limit]
    again.close()
