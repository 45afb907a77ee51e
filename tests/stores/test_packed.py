"""Large blobs that lie compressed: as they came, or since they were first read so."""

import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from pathlib import Path

import pytest
import trio
import zstandard

from builder.base.digest import Digest, digest_of
from builder.base.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from builder.stores.audit import audit
from builder.stores.disk import DiskBlobStore
from builder.stores.forms import FAR
from builder.stores.interface import LocalPackedStore
from builder.stores.metered import Meter, MeteredBulkBlobs
from builder.stores.packed import TRAILER, packed_bytes, pays, plain_of, stored_bytes, trailer
from tests.stores.conftest import Time

MIB = 1024 * 1024
LEASE = 3600.0
TEXT = os.urandom(3000) * 1000  # 3 MB, a thousandth when it is compressed
HALF = os.urandom(MIB) + bytes(2 * MIB)
NOISE = os.urandom(MIB)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(data)


def opened(folder: Path, clock: Time, capacity: int = 64 * MIB, pack: bool = True) -> DiskBlobStore:
    return DiskBlobStore(folder, capacity, LEASE, "none", clock, pack=pack)


@pytest.fixture(params=[True, False], ids=["alone", "together"])
def disk(request: pytest.FixtureRequest, tmp_path: Path, clock: Time) -> Iterator[DiskBlobStore]:
    with closing(opened(tmp_path / "store", clock)) as store:
        store.folder.alone = request.param
        yield store
        assert store.snapshot().reserved_bytes == 0
        assert os.listdir(f"{store.folder.root}/unfinished") == []
        store.check()


async def send(store: DiskBlobStore, digest: Digest, frames: bytes, piece: int = 100_000) -> None:
    upload = await store.begin_packed(digest)
    try:
        for at in range(0, len(frames), piece):
            await upload.append(frames[at : at + piece])
        await upload.commit()
    finally:
        upload.abort()


async def joined(pieces: AsyncGenerator[bytes, None]) -> bytes:
    async with aclosing(pieces):
        return b"".join([piece async for piece in pieces])


def size_on_disk(store: DiskBlobStore, digest: Digest) -> int:
    return os.stat(store.path(digest)).st_size


@pytest.mark.parametrize(
    ("size", "packed", "expected"),
    [
        (MIB, MIB * 7 // 8 - TRAILER.size, True),
        (MIB, MIB * 7 // 8 - TRAILER.size + 1, False),
        (8192, 4096 - TRAILER.size, True),
        (8192, 4096 - TRAILER.size + 1, False),
        (4096, 0, False),
    ],
)
def test_what_pays(size: int, packed: int, expected: bool) -> None:
    """An eighth has to be gained, and one block."""
    assert pays(size, packed) is expected


def test_a_compressed_file_is_told_from_a_cut_one(tmp_path: Path) -> None:
    """By the trailer, which belongs to one size of the blob and one of the frames."""
    path, frames = tmp_path / "blob", zstd(TEXT)
    whole = frames + trailer(len(frames), len(TEXT))
    for data, size, expected in (
        (whole, len(TEXT), len(whole)),
        (whole, len(TEXT) - 1, -1),
        (whole[:-1], len(TEXT), -1),
        (whole[1:], len(TEXT), -1),
        (frames, len(TEXT), -1),
        (trailer(0, len(TEXT)), len(TEXT), -1),
        (TEXT, len(TEXT), len(TEXT)),
        (TEXT[:-1], len(TEXT), -1),
        (b"", 5, -1),
    ):
        path.write_bytes(data)
        assert stored_bytes(str(path), size) == expected
        with path.open("rb") as file:
            found = packed_bytes(file.fileno(), len(data), size)
        assert found == (len(frames) if data == whole and expected > 0 else None)
        plain = plain_of(data, size)
        assert plain == (TEXT if found else data)
    assert stored_bytes(str(tmp_path / "none"), 5) == -1
    program = zstandard.ZstdDecompressor()
    with program.stream_reader(whole, read_across_frames=True) as reader:
        assert reader.read() == TEXT


@pytest.mark.parametrize("data", [TEXT, HALF, TEXT[:70_000]], ids=["text", "half", "small"])
@pytest.mark.parametrize("piece", [1000, 300_000])
async def test_frames_are_kept_as_they_came(
    disk: DiskBlobStore, tmp_path: Path, clock: Time, data: bytes, piece: int
) -> None:
    """They take the room that they take, are given as they are, and are there after a restart."""
    digest, frames = digest_of(data), zstd(data)
    await send(disk, digest, frames, piece)
    assert Path(disk.path(digest)).read_bytes() == frames + trailer(len(frames), len(data))
    blocks = -(-size_on_disk(disk, digest) // 4096) * 4096
    assert disk.files.snapshot().used_bytes == blocks
    disk.close()
    for load in (False, True):
        with closing(opened(tmp_path / "store", clock)) as again:
            if load:
                await again.load()
                assert again.files.snapshot().used_bytes == blocks
            assert await again.find_missing([digest]) == []
            assert await joined(again.read_packed(digest)) == frames
            assert await joined(again.read(digest)) == data
            assert await again.get(digest) == data
            assert again.files.snapshot().used_bytes == blocks


async def test_several_frames_are_one_blob(disk: DiskBlobStore) -> None:
    """And skippable ones between them belong to what came."""
    skippable = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    frames = zstd(TEXT) + skippable + zstd(HALF) + zstd(b"")
    digest = digest_of(TEXT + HALF)
    await send(disk, digest, frames, 50_000)
    assert await joined(disk.read_packed(digest)) == frames
    assert await joined(disk.read(digest)) == TEXT + HALF


async def test_what_does_not_pay_lies_plain(disk: DiskBlobStore) -> None:
    """Bytes that no one can compress are unpacked at the end of their upload."""
    digest = digest_of(NOISE)
    await send(disk, digest, zstd(NOISE))
    assert Path(disk.path(digest)).read_bytes() == NOISE


async def test_nothing_is_kept_compressed_where_that_is_off(tmp_path: Path, clock: Time) -> None:
    """What is so already stays readable."""
    digest, other = digest_of(TEXT), digest_of(HALF)
    with closing(opened(tmp_path, clock)) as store:
        await send(store, digest, zstd(TEXT))
    with closing(opened(tmp_path, clock, pack=False)) as store:
        await send(store, other, zstd(HALF))
        assert plain_zstd(await joined(store.read_packed(other))) == HALF
        assert size_on_disk(store, other) == len(HALF)
        assert await joined(store.read_packed(digest)) == zstd(TEXT)
        assert await store.get(digest) == TEXT


def plain_zstd(frames: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(frames)


async def test_the_first_compressed_read_is_the_last_one_that_compresses(
    disk: DiskBlobStore,
) -> None:
    """What it gave is kept, where it pays, in one frame that says its size."""
    for data, packs in ((HALF, True), (NOISE, False)):
        digest = digest_of(data)
        await disk.put(digest, data)
        first = await joined(disk.read_packed(digest))
        assert plain_zstd(first) == data
        assert (size_on_disk(disk, digest) == len(first) + TRAILER.size) is packs
        assert await joined(disk.read_packed(digest)) == first
        assert await disk.get(digest) == data
    disk.check()


async def test_readers_at_once_and_one_who_leaves(disk: DiskBlobStore) -> None:
    """Whoever comes second compresses too, and keeps nothing; nor does who leaves early."""
    data = os.urandom(4 * MIB)
    data = b"".join(data[at : at + 1000] + bytes(1000) for at in range(0, 2 * MIB, 1000))
    digest = digest_of(data)
    await disk.put(digest, data)
    async with aclosing(disk.read_packed(digest)) as pieces:
        await anext(pieces)
    assert size_on_disk(disk, digest) == len(data)
    assert disk.snapshot().reserved_bytes == 0
    given: list[bytes] = []

    async def read() -> None:
        given.append(await joined(disk.read_packed(digest)))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read)
    assert [plain_zstd(one) for one in given] == [data] * 3
    assert size_on_disk(disk, digest) < len(data)


@pytest.mark.parametrize("offset", [0, 1, FAR - 1, FAR + 1, len(HALF) - 1, len(HALF)])
@pytest.mark.parametrize("limit", [None, 1, 300_000])
async def test_reads_of_a_part(disk: DiskBlobStore, offset: int, limit: int | None) -> None:
    """From anywhere; from far behind the start the blob is plain from then on."""
    digest = digest_of(HALF)
    await send(disk, digest, zstd(HALF))
    expected = HALF[offset : None if limit is None else offset + limit]
    for _ in range(2):
        assert await joined(disk.read(digest, offset, limit)) == expected
    far = FAR < offset < len(HALF)
    assert (size_on_disk(disk, digest) == len(HALF)) is far
    assert plain_zstd(await joined(disk.read_packed(digest))) == HALF


async def test_a_part_far_behind_is_reached_in_turns(tmp_path: Path, clock: Time) -> None:
    """Without room for the plain form; nobody else has to wait until all of it is unpacked."""
    blob = NOISE + bytes(15 * MIB)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    with closing(opened(tmp_path, clock, 17 * MIB)) as store:
        store.folder.alone = True  # all is done in this thread
        await store.load()
        digest = digest_of(blob)
        await send(store, digest, zstd(blob))
        await store.put(digest_of(HALF), HALF)
        assert await joined(store.read(digest)) == blob  # it is verified
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            assert await joined(store.read(digest, len(blob) - 1)) == blob[-1:]
            nursery.cancel_scope.cancel()
        assert size_on_disk(store, digest) < len(blob)
    assert turns > 16


async def test_what_is_often_read_plain_lies_plain(disk: DiskBlobStore) -> None:
    """From the third time on, unless it is read compressed between."""
    digest = digest_of(HALF)
    await send(disk, digest, zstd(HALF))
    for plain in (False, False, None, False, False, True, True):
        if plain is None:
            assert plain_zstd(await joined(disk.read_packed(digest))) == HALF
            continue
        assert await joined(disk.read(digest)) == HALF
        assert (size_on_disk(disk, digest) == len(HALF)) is plain


async def test_without_room_it_stays_as_it_is(tmp_path: Path, clock: Time) -> None:
    """No blob has to go for another form of one, and all are given whichever way is asked for."""
    with closing(opened(tmp_path, clock, 5 * MIB)) as store:
        await store.load()
        digest, other = digest_of(HALF), digest_of(TEXT)
        await send(store, digest, zstd(HALF))
        await store.put(other, TEXT)
        assert await joined(store.read(digest, FAR + 5)) == HALF[FAR + 5 :]
        assert plain_zstd(await joined(store.read_packed(other))) == TEXT
        assert size_on_disk(store, digest) < len(HALF)
        assert size_on_disk(store, other) == len(TEXT)
        assert await store.find_missing([digest, other]) == []
        store.check()


async def test_more_fits_compressed(tmp_path: Path, clock: Time) -> None:
    """Room is counted as it is taken, and given back so, when a lease has ended too."""
    with closing(opened(tmp_path, clock, 16 * MIB - 1)) as store:
        await store.load()
        blobs = [os.urandom(1000) * 4000 for _ in range(12)]  # 48 MB, 50 KB of frames
        for data in blobs:
            await send(store, digest_of(data), zstd(data))
        assert await store.find_missing(map(digest_of, blobs)) == []
        clock.now += 3 * LEASE
        large = os.urandom(16 * MIB - 16_384)
        await store.put(digest_of(large), large)
        snapshot = store.snapshot()
        assert snapshot.evicted_blobs > 0
        assert snapshot.used_bytes <= snapshot.capacity_bytes
        store.check()


@pytest.mark.parametrize("how", ["packed", "plain", "part", "get"])
async def test_damage_is_found(disk: DiskBlobStore, how: str) -> None:
    """By whoever reads next; the blob is put aside, missing, and may come again."""
    data = TEXT[:100_000] if how == "get" else HALF
    digest, frames = digest_of(data), zstd(data)
    await send(disk, digest, frames)
    path = Path(disk.path(digest))
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(len(frames) // 2)
        found = file.read(1)
        file.seek(len(frames) // 2)
        file.write(bytes([found[0] ^ 0x40]))
    os.utime(path, (5, 5))
    with pytest.raises(NotFoundError, match="damaged"):
        match how:
            case "packed":
                await joined(disk.read_packed(digest))
            case "plain":
                await joined(disk.read(digest))
            case "part":
                await joined(disk.read(digest, FAR + 1, 10))
            case _:
                await disk.get(digest)
    assert await disk.find_missing([digest]) == [digest]
    assert not path.exists()
    await send(disk, digest, frames)
    assert await disk.get(digest) == data


async def test_a_file_that_was_cut_is_no_blob(tmp_path: Path, clock: Time) -> None:
    """Neither when it is asked for, nor for a start."""
    digest = digest_of(HALF)
    with closing(opened(tmp_path, clock)) as store:
        await send(store, digest, zstd(HALF))
        path = Path(store.path(digest))
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size - 1)
    with closing(opened(tmp_path, clock)) as store:
        assert await store.find_missing([digest]) == [digest]
        await store.load()
        assert not path.exists()
        store.check()


async def test_an_audit_looks_into_frames(disk: DiskBlobStore) -> None:
    """It says of each compressed blob whether it gives what its digest names."""
    await disk.load()
    good, bad = digest_of(TEXT), digest_of(HALF)
    await send(disk, good, zstd(TEXT))
    await send(disk, bad, zstd(HALF))
    other = zstd(os.urandom(MIB) + bytes(2 * MIB))
    path = Path(disk.path(bad))
    path.unlink()
    path.write_bytes(other + trailer(len(other), len(HALF)))
    found = {one.digest: one.whole async for one in audit(disk, put_aside=True)}
    assert found == {good: True, bad: False}
    assert await disk.find_missing([good, bad]) == [bad]


@pytest.mark.parametrize("cut", [0, 10, 400_000, 900_000])
async def test_an_upload_that_was_cut_goes_on_plain(disk: DiskBlobStore, cut: int) -> None:
    """From the byte that it says it is at."""
    data, frames = HALF, zstd(HALF)
    upload = await disk.begin_packed(digest_of(data))
    await upload.append(frames[:cut])
    offset = upload.offset
    assert (offset > 0) is (cut > 200_000)
    rest = await upload.unpacked()
    upload.abort()
    assert rest.offset == offset
    await rest.append(data[offset:])
    await rest.commit()
    assert await disk.get(digest_of(data)) == data
    assert size_on_disk(disk, digest_of(data)) == len(data)


@pytest.mark.parametrize(
    "frames",
    [zstd(bytes(50 * MIB)), zstd(HALF)[:-5], zstd(TEXT), b"\xff" * 1000, zstd(HALF) + b"x", b""],
    ids=["bomb", "cut", "other", "garbage", "tail", "nothing"],
)
async def test_what_is_no_such_blob_is_refused(disk: DiskBlobStore, frames: bytes) -> None:
    """Nothing of it stays."""
    with pytest.raises(InvalidArgumentError):
        await send(disk, digest_of(HALF), frames)
    assert await disk.find_missing([digest_of(HALF)]) == [digest_of(HALF)]


async def test_room_is_kept_for_the_plain_form(tmp_path: Path, clock: Time) -> None:
    """An upload that would not fit plain is refused when it begins, as a plain one is."""
    with closing(opened(tmp_path, clock, 2 * MIB)) as store:
        with pytest.raises(ResourceExhaustedError):
            await store.begin_packed(digest_of(HALF))


async def test_small_blobs_are_kept_as_they_came(disk: DiskBlobStore) -> None:
    """One frame that pays is; several, and what pays little, lie as the store would have it."""
    await disk.load()
    text, noise = b"0123456789abcdef" * 500, os.urandom(5000)
    small, large = zstd(text), zstd(text[:1000]) + zstd(text[1000:])
    for data, frames, kept in (
        (text + b"1", zstd(text + b"1"), True),
        (text + b"2", zstd(text) + zstd(b"2"), False),
        (text + b"3", zstd(text + b"3") + b"tail", False),
        (noise, zstd(noise), False),
        (text, small, True),
    ):
        digest = digest_of(data)
        if data[-1:] == b"3":
            with pytest.raises(InvalidArgumentError):
                await send(disk, digest, frames)
            continue
        await send(disk, digest, frames)
        assert await disk.get(digest) == data
        found = disk.get_packed_nowait(digest)
        assert (found == frames) is kept
        assert plain_zstd(await joined(disk.read_packed(digest))) == data
    assert disk.put_packed_nowait(digest_of(text), large) is False
    assert disk.put_packed_nowait(digest_of(text), small) is True
    upload = await disk.begin_packed(digest_of(noise))
    await upload.append(b"cut")
    assert upload.offset == 0
    rest = await upload.unpacked()
    await rest.append(noise)
    await rest.commit()


async def test_a_tier_counts_what_goes_compressed(disk: DiskBlobStore) -> None:
    """The bytes that were read are those of the frames."""
    await disk.load()
    meter = Meter("tier")
    store = MeteredBulkBlobs(disk, meter)
    assert isinstance(store, LocalPackedStore)
    large, small = digest_of(HALF), digest_of(TEXT[:5000] * 3)
    await disk.put(digest_of(b"x" * 2000), b"x" * 2000)
    upload = await store.begin_packed(large)
    await upload.append(zstd(HALF))
    await upload.commit()
    assert store.put_packed_nowait(small, zstd(TEXT[:5000] * 3))
    assert not store.put_packed_nowait(large, zstd(HALF))
    assert await joined(store.read_packed(large)) == zstd(HALF)
    assert store.get_packed_nowait(small) == zstd(TEXT[:5000] * 3)
    assert store.get_packed_nowait(large) is None
    assert meter.written_bytes == len(HALF) + 15_000
    assert meter.read_bytes == len(zstd(HALF)) + len(zstd(TEXT[:5000] * 3))
    assert meter.hits == 2
