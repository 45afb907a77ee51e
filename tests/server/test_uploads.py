"""Uploads that are cut, taken over, forgotten, or cannot be resumed."""

import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
import trio.testing

from builder.base.digest import digest_of
from builder.base.errors import AbortedError, InvalidArgumentError
from builder.reapi.names import write_name
from builder.reapi.pb import bytestream_pb2 as bs
from builder.server.bytestream import ByteStreamService
from builder.server.cas import CasService
from builder.server.chunks import WriteChunk, parse_chunk
from builder.server.instances import Instances
from builder.server.uploads import IDLE_S, Uploads
from builder.stores.disk import DiskBlobStore
from builder.stores.memory import MemoryBlobStore
from builder.stores.remote import RemoteBlobStore
from tests.server.direct import DirectCall, DirectChannel

MIB = 1024 * 1024
DATA = b"0123456789" * 1000
DIGEST = digest_of(DATA)
NAME = write_name("", DIGEST, "uuid")


def chunk(start: int, end: int, name: str = NAME) -> WriteChunk:
    return WriteChunk(name, start, end == len(DATA), (DATA[start:end],))


def message(start: int, end: int) -> bytes:
    return bs.WriteRequest(
        write_offset=start, finish_write=end == len(DATA), data=DATA[start:end]
    ).SerializeToString()


@pytest.fixture
async def blobs() -> AsyncIterator[MemoryBlobStore]:
    store = MemoryBlobStore(MIB)
    yield store
    store.check()
    assert store.snapshot().reserved_bytes == 0


@pytest.mark.parametrize("size", [1, 20_000, 100_000])
async def test_a_write_in_pieces_says_that_all_of_it_is_there(tmp_path: Path, size: int) -> None:
    """Small ones, which share a segment, and large ones, which are files: REAPI, `Write`."""
    data = b"x" * size
    digest = digest_of(data)
    with closing(DiskBlobStore(tmp_path, 64 * MIB, 3600.0, "none", time.time)) as store:
        call = DirectCall("write")
        first = WriteChunk(NAME, 0, False, (data[: size // 2],))
        rest = bs.WriteRequest(write_offset=size // 2, finish_write=True, data=data[size // 2 :])
        await call.requests_in.send(rest.SerializeToString())
        assert await Uploads(store).receive(first, digest, call) == size
        assert await store.get(digest) == data


async def test_a_new_call_takes_an_upload_over(blobs: MemoryBlobStore) -> None:
    """The call that comes later goes on at the offset; the one before it ends with ABORTED."""
    uploads = Uploads(blobs)
    old, new = DirectCall("old"), DirectCall("new")
    ended: list[object] = []

    async def feed_old() -> None:
        try:
            await uploads.receive(chunk(0, 100), DIGEST, old)
        except AbortedError as error:
            ended.append(error.message)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed_old)
            await trio.testing.wait_all_tasks_blocked()
            assert uploads.offset(NAME) == 100
            await new.requests_in.send(message(200, len(DATA)))
            assert await uploads.receive(chunk(100, 200), DIGEST, new) == len(DATA)
            await old.requests_in.send(message(100, 200))
    assert ended == ["another call has taken this upload over"]
    assert await blobs.get(DIGEST) == DATA
    assert uploads.offset(NAME) is None


async def test_a_cancelled_call_leaves_its_upload(blobs: MemoryBlobStore) -> None:
    """What had come before a call was cut stays for another one."""
    uploads = Uploads(blobs)
    with trio.move_on_after(0):
        await uploads.receive(chunk(0, 100), DIGEST, DirectCall("cut"))
    assert uploads.offset(NAME) is None  # cut before anything happened
    async with trio.open_nursery() as nursery:
        nursery.start_soon(uploads.receive, chunk(0, 100), DIGEST, DirectCall("cut"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert uploads.offset(NAME) == 100
    assert await uploads.receive(chunk(100, len(DATA)), DIGEST, DirectCall("next")) == len(DATA)


async def test_idle_uploads_are_forgotten(blobs: MemoryBlobStore) -> None:
    """An upload that nobody goes on with gives its room back after a while."""
    now = 0.0
    uploads = Uploads(blobs, lambda: now)
    for number in range(3):
        call = DirectCall("call")
        await call.requests_in.aclose()
        await uploads.receive(chunk(0, 100, f"name{number}"), DIGEST, call)
        now += IDLE_S * 0.6
    assert [uploads.offset(f"name{number}") for number in range(3)] == [None, 100, 100]
    assert blobs.snapshot().reserved_bytes == 2 * len(DATA)
    uploads.close()


async def test_a_wrong_offset_loses_nothing(blobs: MemoryBlobStore) -> None:
    """A gap is refused; QueryWriteStatus, which the error names, tells where to go on."""
    uploads = Uploads(blobs)
    call = DirectCall("call")
    await call.requests_in.send(message(200, 300))
    with pytest.raises(InvalidArgumentError, match="100 bytes are here"):
        await uploads.receive(chunk(0, 100), DIGEST, call)
    assert uploads.offset(NAME) == 100
    with pytest.raises(InvalidArgumentError, match="100 bytes are here"):
        await uploads.receive(chunk(50, len(DATA)), DIGEST, DirectCall("behind"))
    assert await uploads.receive(chunk(100, len(DATA)), DIGEST, DirectCall("right")) == len(DATA)
    assert await blobs.get(DIGEST) == DATA


async def test_a_store_that_cannot_pause(blobs: MemoryBlobStore) -> None:
    """Over a remote store an upload works in one go, and is refused when it would resume."""
    instances = Instances()
    near = (
        CasService(blobs, instances).service(),
        ByteStreamService(blobs, Uploads(blobs), instances).service(),
    )
    uploads = Uploads(RemoteBlobStore(DirectChannel(*near)))
    call = DirectCall("call")
    await call.requests_in.send(message(100, len(DATA)))
    assert await uploads.receive(chunk(0, 100), DIGEST, call) == len(DATA)
    assert await blobs.get(DIGEST) == DATA
    with pytest.raises(InvalidArgumentError, match="cannot resume"):
        await uploads.receive(chunk(100, 200), DIGEST, DirectCall("call"))
    cut = DirectCall("call")
    await cut.requests_in.aclose()
    with pytest.raises(InvalidArgumentError, match="without finish_write"):
        await uploads.receive(chunk(0, 100), DIGEST, cut)


def test_messages_of_this_file_are_chunks() -> None:
    """The two forms that these tests send are the same thing."""
    assert parse_chunk(message(5, 10)) == chunk(5, 10, "")
