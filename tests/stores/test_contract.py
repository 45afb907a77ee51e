"""What every blob store does; see builder.stores.interface."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
import trio

from builder.base.digest import EMPTY, Digest, digest_of
from builder.base.errors import (
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    ResourceExhaustedError,
)
from builder.stores.interface import PIECE, BlobStore, InlineStore, ResumableStore

SIZES = [1, 4095, 4096, 128 * 1024, 128 * 1024 + 1, PIECE, PIECE + 1, 3 * PIECE + 7]
FUNCTIONS = ["sha256", "blake3"]


def blob(size: int, seed: int = 0) -> bytes:
    return bytes((i * 31 + seed) & 0xFF for i in range(min(size, 4099))) * (size // 4099 + 1)


def sized(size: int, seed: int = 0) -> bytes:
    return blob(size, seed)[:size]


async def chunks(data: bytes, piece: int = 50_000) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), piece):
        yield data[start : start + piece]


async def write(store: BlobStore, digest: Digest, source: AsyncGenerator[bytes, None]) -> None:
    async with aclosing(source):
        await store.write(digest, source)


async def whole(
    store: BlobStore, digest: Digest, offset: int = 0, limit: int | None = None
) -> bytes:
    pieces = [piece async for piece in store.read(digest, offset, limit)]
    assert all(0 < len(piece) <= PIECE for piece in pieces)
    return b"".join(pieces)


async def test_what_was_put_is_there(store: BlobStore) -> None:
    """A blob that was put is found, got and read, byte by byte the same."""
    for size, function in [*((size, "sha256") for size in SIZES), (1, "blake3"), (PIECE, "blake3")]:
        data = sized(size)
        digest = digest_of(data, function)
        assert await store.find_missing([digest]) == [digest]
        await store.put(digest, data)
        assert await store.find_missing([digest]) == []
        assert await store.get(digest) == data
        assert await whole(store, digest) == data


async def test_what_was_written_in_chunks_is_there(store: BlobStore) -> None:
    """A blob that was written in chunks is there, and writing it again is no error."""
    for size in SIZES:
        data = sized(size)
        digest = digest_of(data)
        await write(store, digest, chunks(data))
        await write(store, digest, chunks(data, 7777))
        await store.put(digest, data)
        assert await whole(store, digest) == data


async def test_the_empty_blob_is_always_there(store: BlobStore) -> None:
    """The empty blob needs no write, may be written, and reads as nothing."""
    for function in FUNCTIONS:
        empty = EMPTY[function]
        assert await store.find_missing([empty]) == []
        assert await store.get(empty) == b""
        assert await whole(store, empty) == b""
        await store.put(empty, b"")
        await write(store, empty, chunks(b""))


async def test_only_the_empty_blob_is_empty(store: BlobStore) -> None:
    """A digest of no bytes with another hash names nothing that could ever be stored."""
    never = digest_of(b"x")._replace(size_bytes=0)
    assert await store.find_missing([never]) == [never]
    with pytest.raises(NotFoundError):
        await store.get(never)
    with pytest.raises(InvalidArgumentError):
        await store.put(never, b"")


async def test_missing_ones_come_once_in_the_order_of_asking(store: BlobStore) -> None:
    """Each missing digest is named once, in the order of asking, across functions."""
    here = digest_of(b"here")
    await store.put(here, b"here")
    a, b = digest_of(b"a"), digest_of(b"b", "blake3")
    asked = [b, here, a, EMPTY["sha256"], b, a, here._replace(size_bytes=5)]
    assert await store.find_missing(asked) == [b, a, here._replace(size_bytes=5)]


async def test_functions_are_worlds_of_their_own(store: BlobStore) -> None:
    """The same hash under another function is another blob."""
    digest = digest_of(b"data")
    await store.put(digest, b"data")
    other = digest._replace(function="blake3")
    assert await store.find_missing([other]) == [other]


async def test_absent_blobs_are_not_found(store: BlobStore) -> None:
    """Reading what is not there raises NotFoundError before the first piece."""
    for size in (10, 2 * PIECE + 10):
        digest = digest_of(sized(size))
        with pytest.raises(NotFoundError):
            await store.get(digest)
        with pytest.raises(NotFoundError):
            await whole(store, digest)


async def test_ranges(store: BlobStore) -> None:
    """Offset and limit cut as slices do; the end is empty, beyond it is out of range."""
    for size in (1000, 2 * PIECE + 10):
        data = sized(size)
        digest = digest_of(data)
        await store.put(digest, data)
        for offset, limit in [(0, 1), (1, None), (size - 1, 5), (7, size), (size, None), (3, 0)]:
            end = None if limit is None else offset + limit
            assert await whole(store, digest, offset, limit) == data[offset:end]
        for offset in (size + 1, -1):
            with pytest.raises(OutOfRangeError):
                await whole(store, digest, offset)


@pytest.mark.parametrize("size", [100, 2 * PIECE])
async def test_other_bytes_are_refused(store: BlobStore, size: int) -> None:
    """Bytes that the digest does not name are refused and leave nothing behind: those of another
    byte, too few, and too many."""
    data = sized(size)
    digest = digest_of(data)
    for wrong in (data[:-1] + b"!", data[:-1], data + b"!"):
        with pytest.raises(InvalidArgumentError):
            await store.put(digest, wrong)
        with pytest.raises(InvalidArgumentError):
            await write(store, digest, chunks(wrong))
        assert await store.find_missing([digest]) == [digest]
    await store.put(digest, data)
    assert await store.get(digest) == data


async def test_a_writer_that_fails_leaves_nothing(store: BlobStore) -> None:
    """When the source of chunks fails, its error comes through and nothing is stored."""
    data = sized(3 * PIECE)
    digest = digest_of(data)

    async def failing() -> AsyncGenerator[bytes, None]:
        yield data[: 2 * PIECE]
        raise InvalidArgumentError("the source broke")

    with pytest.raises(InvalidArgumentError, match="the source broke"):
        await write(store, digest, failing())
    assert await store.find_missing([digest]) == [digest]


async def test_too_large_is_refused_with_a_reason(store: BlobStore) -> None:
    """A blob that is larger than the whole store is refused, and the message says so."""
    digest = Digest("0" * 64, 65 * 1024 * 1024)
    with pytest.raises(ResourceExhaustedError, match="larger than the whole store"):
        await write(store, digest, chunks(sized(3 * PIECE)))


async def test_a_reader_may_stop_early(store: BlobStore) -> None:
    """A reader that leaves after the first piece leaves the store as it was."""
    data = sized(3 * PIECE)
    digest = digest_of(data)
    await store.put(digest, data)
    async with aclosing(store.read(digest)) as pieces:
        assert data.startswith(await anext(pieces))
    assert await whole(store, digest) == data


@pytest.mark.parametrize("size", [500, 2 * PIECE])
async def test_many_at_once(store: BlobStore, size: int) -> None:
    """Concurrent writers of the same and of different blobs all succeed, and readers see wholes."""
    blobs = [sized(size, seed) for seed in (1, 2, 3, 3, 3, 4)]

    async def both(data: bytes) -> None:
        digest = digest_of(data)
        await write(store, digest, chunks(data))
        assert await whole(store, digest) == data
        assert await store.get(digest) == data

    async with trio.open_nursery() as nursery:
        for data in blobs:
            nursery.start_soon(both, data)
    assert await store.find_missing([digest_of(data) for data in blobs]) == []


async def test_a_cancelled_writer_leaves_nothing(store: BlobStore) -> None:
    """A write that is cancelled half-way stores nothing and keeps no room."""
    data = sized(3 * PIECE)
    digest = digest_of(data)
    half = trio.Event()

    async def stalling() -> AsyncGenerator[bytes, None]:
        yield data[: 2 * PIECE]
        half.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, store, digest, stalling())
        with trio.fail_after(60):
            await half.wait()
        nursery.cancel_scope.cancel()
    assert await store.find_missing([digest]) == [digest]


async def test_inline_answers_agree(local_store: BlobStore) -> None:
    """What a store can say at once is what it says when asked patiently."""
    store = local_store
    assert isinstance(store, InlineStore)
    data = sized(300)
    digest, other = digest_of(data), digest_of(b"other")
    await store.find_missing([])  # a store that is only starting may answer nothing at once
    # a store that has more behind it may have to ask there
    assert store.absent_nowait("sha256", [digest, other, digest]) in ([digest, other], None)
    if not store.put_nowait(digest, data):
        await store.put(digest, data)
    assert store.absent_nowait("sha256", [digest, other]) in ([other], None)
    assert store.absent_nowait("sha256", [digest, digest]) == []
    assert store.get_nowait(digest) == data
    assert store.get_nowait(EMPTY["sha256"]) == b""
    with pytest.raises(NotFoundError):
        if store.get_nowait(other) is None:
            await store.get(other)
    with pytest.raises(InvalidArgumentError):
        if not store.put_nowait(other, b"wrong"):
            await store.put(other, b"wrong")


async def test_an_upload_may_pause(local_store: BlobStore) -> None:
    """An upload keeps its offset, and is stored by commit alone."""
    store = local_store
    assert isinstance(store, ResumableStore)
    data = sized(2 * PIECE + 5)
    digest = digest_of(data)
    upload = await store.begin(digest)
    await upload.append(data[:PIECE])
    await upload.append(data[PIECE : PIECE + 3])
    assert upload.offset == PIECE + 3
    assert await store.find_missing([digest]) == [digest]
    await upload.append(data[PIECE + 3 :])
    with pytest.raises(InvalidArgumentError):
        await upload.append(b"!")
    await upload.commit()
    upload.abort()
    assert upload.offset == len(data)
    assert await store.get(digest) == data
