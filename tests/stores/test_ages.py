"""Bytes by the time since their last use."""

from pathlib import Path

from builder.base.digest import digest_of
from builder.stores.ages import WITHIN_S, by_age
from builder.stores.disk import DiskBlobStore
from builder.stores.disk_records import DiskRecords
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords

HOUR, DAY, WEEK = WITHIN_S
SMALL, LARGE = b"s" * 1000, b"l" * 200_000


def test_what_was_used_longest_ago_comes_last() -> None:
    """Each moment counts once; one of the future is of this hour."""
    now = 10 * WEEK
    used = [(now + 60, 1), (now, 2), (now - HOUR, 4), (now - DAY, 8), (now - WEEK, 16), (0.0, 32)]
    assert by_age(used, now) == (3, 4, 8, 48)
    assert by_age([], now) == (0, 0, 0, 0)


async def test_every_store_tells_the_age_of_what_it_holds(tmp_path: Path) -> None:
    """Small and large blobs and records; a use makes what is old young again."""
    clock = [100 * WEEK]
    stores = (
        MemoryBlobStore(1 << 24, now=lambda: clock[0]),
        DiskBlobStore(tmp_path / "blobs", 1 << 26, 3600.0, now=lambda: clock[0]),
    )
    for store in stores:
        for data in (SMALL, LARGE):
            await store.put(digest_of(data), data)
    kept = (
        MemoryRecords(1 << 20, now=lambda: clock[0]),
        DiskRecords(tmp_path / "records", 1 << 20, now=lambda: clock[0]),
    )
    for records in kept:
        await records.put("a", "ab" * 32, SMALL)
    for one in (*stores, *kept):
        young, *older = one.ages()
        assert young > 0
        assert not any(older)
    clock[0] += 2 * DAY
    for one in (*stores, *kept):
        hour, day, week, rest = one.ages()
        assert (hour, day, rest) == (0, 0, 0)
        assert week > 0
    for store in stores:
        assert not await store.find_missing([digest_of(LARGE)])
        hour, _, week, _ = store.ages()
        assert hour >= len(LARGE)
        assert 0 < week < len(LARGE)
    for one in (stores[1], kept[1]):
        one.close()
