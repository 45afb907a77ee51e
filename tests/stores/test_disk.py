"""Small blobs in segments beside large ones in files: what holds over kills, damage and age."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from builder.base.digest import Digest, digest_of
from builder.base.errors import (
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
    UsageError,
)
from builder.stores.disk import DiskBlobStore
from builder.stores.files import FileBlobStore
from builder.stores.packing import PLAIN, ZSTD, Packer, unpacked
from builder.stores.segment import PLACE
from tests.stores.conftest import Time

MIB = 1024 * 1024
HOUR = 3600.0
ROOM = 64 * MIB


@pytest.fixture
def disk(tmp_path: Path, clock: Callable[[], float]) -> Iterator[DiskBlobStore]:
    store = DiskBlobStore(tmp_path / "store", ROOM, HOUR, "none", clock)
    yield store
    store.close()


def some(count: int, size: int, seed: int = 1) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(size) for _ in range(count)]


async def put_all(store: DiskBlobStore, blobs: list[bytes]) -> list[Digest]:
    digests = [digest_of(data) for data in blobs]
    for digest, data in zip(digests, blobs, strict=True):
        await store.put(digest, data)
    return digests


async def test_small_ones_share_segments_and_large_ones_are_files(disk: DiskBlobStore) -> None:
    """A hundred small blobs make one segment and no file; a large one is a file to link."""
    await put_all(disk, some(100, 2000))
    (large,) = await put_all(disk, some(1, 100_000))
    names = sorted(os.listdir(f"{disk.folder.root}/segments"))
    assert [name for name in names if name.endswith(".seg")] == ["00000001.seg"]
    assert os.stat(disk.path(large)).st_size == 100_000
    assert disk.files.snapshot().blobs == 1
    disk.check()


@pytest.mark.parametrize("clean", [True, False])
async def test_everything_is_known_after_a_restart(
    disk: DiskBlobStore, tmp_path: Path, clock: Time, clean: bool
) -> None:
    """With the tables written down or not, blobs, their leases and losses come back the same."""
    blobs = some(300, 5000)
    digests = await put_all(disk, blobs)
    clock.now += HOUR / 2
    assert await disk.find_missing(digests[:50]) == []
    disk.small.log.lose("sha256", bytes.fromhex(digests[7].hash))
    if clean:
        disk.close()
    else:
        disk.small.log.journal.flush()
        disk.files.close()
    again = DiskBlobStore(tmp_path / "store", ROOM, HOUR, "none", clock)
    assert again.absent_nowait("sha256", digests) is None
    await again.load()
    before, after = disk.small.log.tables["sha256"], again.small.log.tables["sha256"]
    assert dict(before.items()) == dict(after.items())
    assert await again.find_missing(digests) == [digests[7]]
    assert await again.get(digests[299]) == blobs[299]
    again.check()
    again.close()


async def test_a_checkpoint_that_is_damaged_is_done_without(
    disk: DiskBlobStore, tmp_path: Path
) -> None:
    """Tables that do not have their check are not believed; the segments tell the same."""
    digests = await put_all(disk, some(50, 500))
    disk.close()
    index = tmp_path / "store" / "segments" / "index"
    data = bytearray(index.read_bytes())
    data[len(data) // 2] ^= 1
    index.write_bytes(data)
    again = DiskBlobStore(tmp_path / "store", ROOM, HOUR)
    assert await again.find_missing(digests) == []
    again.check()
    again.close()


def scribble(disk: DiskBlobStore, digest: Digest, at: int = 0) -> None:
    """Change a byte of a small blob's record, `at` from the begin of its data."""
    entry = disk.small.log.tables["sha256"].find(bytes.fromhex(digest.hash))
    assert entry is not None
    segment, offset, _ = disk.small.log.where(entry, digest)
    old = os.pread(segment.descriptor, 1, offset + at)
    os.pwrite(segment.descriptor, bytes([old[0] ^ 1]), offset + at)


async def test_damage_of_a_small_blob_is_found_put_aside_and_healed(disk: DiskBlobStore) -> None:
    """It is missing from then on, after a restart too, kept for inspection, and rewritable."""
    (data, *_), (digest, other) = (blobs := some(2, 3000)), await put_all(disk, blobs)
    stamp = disk.stamp()
    scribble(disk, digest)
    with pytest.raises(NotFoundError, match="damaged"):
        disk.get_nowait(digest)
    assert disk.stamp() != stamp
    assert await disk.find_missing([digest, other]) == [digest]
    assert os.listdir(f"{disk.folder.root}/quarantine") == [f"{digest.hash}-3000"]
    assert disk.snapshot().lost_blobs == 1
    await disk.put(digest, data)
    assert await disk.get(digest) == data


async def test_a_damaged_header_hides_nothing_behind_it(
    disk: DiskBlobStore, tmp_path: Path
) -> None:
    """A start without checkpoint finds the records on both sides of one that is not readable."""
    digests = await put_all(disk, some(30, 1000))
    scribble(disk, digests[10], at=-40)  # in the header
    disk.files.close()
    again = DiskBlobStore(tmp_path / "store", ROOM, HOUR)
    assert await again.find_missing(digests) == [digests[10]]
    again.close()


async def test_cleaning_keeps_what_is_promised_and_forgets_the_rest(
    disk: DiskBlobStore, clock: Time
) -> None:
    """Of old segments the leased blobs move and stay readable, the others are evicted."""
    blobs = some(200, 30_000)
    digests = await put_all(disk, blobs)  # six segments
    clock.now += 2 * HOUR
    kept = digests[::10]
    assert await disk.find_missing(kept) == []
    log = disk.small.log
    for number in sorted(log.segments)[:-1]:
        await disk.small.keeper.clean(log.segments[number])
    assert not {number for number in log.segments if number < 6}
    for digest, data in zip(kept, blobs[::10], strict=True):
        assert await disk.get(digest) == data
    assert log.evicted > 100
    disk.check()


async def test_a_damaged_segment_is_cleaned_with_what_can_be_saved(
    disk: DiskBlobStore, clock: Time
) -> None:
    """Records behind a bad header are moved; the unreadable one is lost and counted."""
    digests = await put_all(disk, some(60, 30_000))
    scribble(disk, digests[3], at=-40)
    log = disk.small.log
    await disk.small.keeper.clean(log.segments[1])
    assert await disk.find_missing(digests) == [digests[3]]
    assert log.lost == 1
    disk.check()


async def test_text_is_packed_and_noise_is_not(disk: DiskBlobStore) -> None:
    """Text takes less of the segment than it has bytes, noise as many; both read the same."""
    text = b"every line is like the one before\n" * 200
    noise = os.urandom(len(text))
    for data, smaller in ((text, True), (noise, False)):
        digest = digest_of(data)
        await disk.put(digest, data)
        entry = disk.small.log.tables["sha256"].find(bytes.fromhex(digest.hash))
        assert entry is not None
        assert (entry.length < len(data) / 5) == smaller
        assert await disk.get(digest) == data


async def test_packing_can_be_off(tmp_path: Path) -> None:
    """A store that does not pack reads what one that does has written, and writes as it is told."""
    first, second = (b"the same line again\n" * 200 + end for end in (b"1", b"2"))
    for data, pack in ((first, True), (second, False)):
        store = DiskBlobStore(tmp_path, ROOM, HOUR, pack=pack)
        await store.put(digest_of(data), data)
        entry = store.small.log.tables["sha256"].find(bytes.fromhex(digest_of(data).hash))
        assert entry is not None
        assert (entry.length < len(data)) == pack
        assert await store.get(digest_of(first)) == first
        store.close()


def test_noise_is_told_from_what_packs() -> None:
    """By a glance where that is enough, else by a closer look; what is read back is the same."""
    chance = random.Random(3)
    packer, held = Packer(), 0
    for number in range(300):
        text = b"".join(b"%d bytes of line %d\n" % (number, line) for line in range(100))
        program = b"".join(bytes([0x48, 0x8B, chance.randrange(64), 0, 0]) for _ in range(500))
        for data in (text, program):
            how, stored = packer.packed(data)
            assert unpacked(how, stored, len(data)) == data
            held += how == ZSTD
        noise = chance.randbytes(2000)
        assert packer.packed(noise) == (PLAIN, noise)
    assert held > 0.95 * 600


async def test_pages_made_ahead_are_within_the_segment(tmp_path: Path) -> None:
    """Zeros behind the tail neither grow the file nor are taken for blobs by the next process."""
    store = DiskBlobStore(tmp_path, 64 * MIB, HOUR)
    digests = await put_all(store, some(300, 40_000))
    segments = list(store.small.log.segments.values())
    assert len(segments) > 3
    for segment in segments:
        assert segment.tail <= segment.warm <= segment.room
        assert os.stat(segment.path).st_size == segment.room
    store.small.log.close()  # as one that is killed: no checkpoint
    store.files.close()
    again = DiskBlobStore(tmp_path, 64 * MIB, HOUR)
    await again.load()
    assert again.snapshot().blobs == len(digests)
    assert await again.find_missing(digests) == []
    again.check()
    again.close()


async def test_a_small_store_takes_little_of_the_disk(tmp_path: Path) -> None:
    """The first segments of a large store are small, later ones an eighth of what there is."""
    store = DiskBlobStore(tmp_path, 1 << 40, HOUR)
    await store.put(digest_of(b"x"), b"x")
    assert store.snapshot().used_bytes == 8 * MIB
    await put_all(store, some(700, 60_000))
    rooms = [segment.room for _, segment in sorted(store.small.log.segments.items())]
    assert rooms == sorted(rooms)
    assert rooms[0] == 4 * MIB < rooms[-1]
    store.check()
    store.close()


async def test_a_directory_of_the_first_layout_is_read(tmp_path: Path, clock: Time) -> None:
    """Small blobs that are files are found, read and renewed; with the last one the layout ends."""
    old = FileBlobStore(tmp_path, ROOM, HOUR, "none", clock)
    blobs = some(20, 1000) + some(1, 200_000)
    digests = [digest_of(data) for data in blobs]
    for digest, data in zip(digests, blobs, strict=True):
        await old.put(digest, data)
    old.close()
    store = DiskBlobStore(tmp_path, ROOM, HOUR, "none", clock)
    absent = digest_of(b"absent")
    assert await store.find_missing([absent, *digests]) == [absent]
    assert store.get_nowait(digests[0]) is None
    assert [await store.get(digest) for digest in digests] == blobs
    await store.load()
    assert not (tmp_path / "layout").exists()
    assert await store.size_of("sha256", digests[0].hash) == 1000
    for digest in digests[:20]:
        os.unlink(store.files.path(digest))
    store.close()
    again = DiskBlobStore(tmp_path, ROOM, HOUR, "none", clock)
    await again.load()
    assert (tmp_path / "layout").read_text() == "2\n"
    assert await again.find_missing(digests) == digests[:20]
    again.close()


def test_a_directory_of_the_future_is_refused(tmp_path: Path) -> None:
    """A layout that this version does not know is refused with what to do, and not locked."""
    (tmp_path / "layout").write_text("3\n")
    for _ in range(2):
        with pytest.raises(UsageError, match="has layout '3'"):
            DiskBlobStore(tmp_path, ROOM)


async def test_writers_with_fsync_share_a_trip(tmp_path: Path) -> None:
    """Blobs that are written together with fsync are all there when their writers return."""
    store = DiskBlobStore(tmp_path, ROOM, HOUR, "data")
    blobs = some(40, 1000)

    async def write(data: bytes) -> None:
        await store.put(digest_of(data), data)
        assert await store.find_missing([digest_of(data)]) == []

    async with trio.open_nursery() as nursery:
        for data in blobs:
            nursery.start_soon(write, data)
    assert all(segment.pending == 0 for segment in store.small.log.segments.values())
    store.check()
    store.close()


async def test_a_full_store_refuses_small_blobs_with_a_reason(
    disk: DiskBlobStore, clock: Time
) -> None:
    """While all is promised a write is refused and says so; when leases end it is taken."""
    chance = random.Random(3)
    with pytest.raises(ResourceExhaustedError, match="promised to clients"):
        for _ in range(2000):
            data = chance.randbytes(60_000)
            await disk.put(digest_of(data), data)
    assert disk.snapshot().used_bytes <= ROOM
    clock.now += 2 * HOUR
    await put_all(disk, some(40, 60_000, seed=4))
    assert disk.snapshot().evicted_blobs > 0
    disk.check()


def test_places_have_room_for_the_largest_segment() -> None:
    """An offset in the largest segment fits below the segment's number."""
    from builder.stores.disk import MAX_SEGMENT

    assert MAX_SEGMENT < 1 << PLACE


def open_below(root: Path) -> list[str]:
    """The files of a directory that this process has open."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    paths = [os.readlink(link) for link in links if os.path.lexists(link)]
    return sorted(path for path in paths if path.startswith(f"{root}/"))


async def test_a_start_that_the_disk_failed_is_tried_again(tmp_path: Path, clock: Time) -> None:
    """However far it came: nothing is counted twice, and nothing stays open."""
    root = tmp_path / "store"
    blobs = [b"%d" % number * 100 for number in range(50)]
    store = DiskBlobStore(root, 64 * MIB, HOUR, "none", clock)
    await store.load()
    for data in blobs:
        await store.put(digest_of(data), data)
    clock.now += HOUR / 4
    assert await store.get(digest_of(blobs[7])) == blobs[7]
    store.close()
    (root / "segments" / "index").unlink()
    (root / "segments" / "journal-99").mkdir()  # what is read last cannot be
    again = DiskBlobStore(root, 64 * MIB, HOUR, "none", clock)
    opened = []
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await again.load()
        opened.append(open_below(root))
    assert opened[0] == opened[-1]
    (root / "segments" / "journal-99").rmdir()
    assert [await again.get(digest_of(data)) for data in blobs] == blobs
    again.check()
    assert again.snapshot().blobs == len(blobs)
    again.close()
