"""Requests that are split on the wire are answered as those that are parsed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from builder.base.digest import digest_of
from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server import batch_reading, cas
from builder.server.cas import CasService
from builder.server.instances import Instances
from builder.stores.disk import DiskBlobStore
from builder.stores.interface import BlobStore
from builder.stores.memory import MemoryBlobStore
from tests.server.direct import DirectContext

CONTEXT = DirectContext("/test")
BLOBS = [b"", b"a", b"b" * 100, b"c" * 1000, b"d" * 20_000, b"e" * 300_000]
GONE = [b"gone", b"g" * 5000]


@asynccontextmanager
async def store_of(kind: str, folder: Path) -> AsyncIterator[BlobStore]:
    if kind == "memory":
        yield MemoryBlobStore(1 << 24)
        return
    disk = DiskBlobStore(folder, 1 << 28)
    try:
        await disk.load()
        yield disk
    finally:
        disk.close()


def protos(blobs: Sequence[bytes]) -> list[pb.Digest]:
    return [pb.Digest(hash=d.hash, size_bytes=d.size_bytes) for d in map(digest_of, blobs)]


async def answer(handler: object, data: bytes) -> bytes:
    found = handler(data, CONTEXT)  # type: ignore[operator]  # a unary handler
    return found if isinstance(found, bytes) else bytes(await found)


def otherwise(request: pb.FindMissingBlobsRequest | pb.BatchReadBlobsRequest) -> bytes:
    """The same request with its fields in another order, which nothing but protobuf reads."""
    end = type(request)(digest_function=request.digest_function or pb.DigestFunction.SHA256)
    return end.SerializeToString() + request.SerializeToString()


@pytest.mark.parametrize("kind", ["memory", "disk"])
async def test_both_ways_give_the_same_answers(kind: str, tmp_path: Path) -> None:
    """Found, missing and empty blobs, some of them twice, asked once and again."""
    async with store_of(kind, tmp_path) as blobs:
        for blob in BLOBS:
            await blobs.put(digest_of(blob), blob)
        service = CasService(blobs, Instances())
        asked = protos([*BLOBS, *GONE, BLOBS[1], GONE[0]])
        find = pb.FindMissingBlobsRequest(blob_digests=asked, instance_name="main")
        read = pb.BatchReadBlobsRequest(digests=asked, digest_function=pb.DigestFunction.SHA256)
        for _ in range(3):
            found = await answer(service.find_missing, find.SerializeToString())
            assert found == await answer(service.find_missing, otherwise(find))
            missing = pb.FindMissingBlobsResponse.FromString(found).missing_blob_digests
            assert list(missing) == protos(GONE)
            first = await answer(service.batch_read, read.SerializeToString())
            second = await answer(service.batch_read, otherwise(read))
            responses = pb.BatchReadBlobsResponse.FromString(first)
            assert responses == pb.BatchReadBlobsResponse.FromString(second)
            assert [one.data for one in responses.responses] == [
                *BLOBS, b"", b"", BLOBS[1], b"",
            ]  # fmt: skip
            codes = [one.status.code for one in responses.responses]
            assert codes == [0] * 6 + [5, 5, 0, 5]


async def test_long_ones_let_others_in_between(tmp_path: Path) -> None:
    """Above the share of the receive loop they are tasks, with the same answers."""
    async with store_of("disk", tmp_path) as blobs:
        small = [b"%d" % number for number in range(batch_reading.INLINE_BLOBS + 10)]
        for blob in small:
            await blobs.put(digest_of(blob), blob)
        service = CasService(blobs, Instances())
        read = pb.BatchReadBlobsRequest(digests=protos(small)).SerializeToString()
        waiting = service.batch_read(read, CONTEXT)
        assert not isinstance(waiting, bytes)
        response = pb.BatchReadBlobsResponse.FromString(await waiting)
        assert [one.data for one in response.responses] == small
        strange = [b"x%d" % number for number in range(cas.INLINE_DIGESTS + 10)]
        find = pb.FindMissingBlobsRequest(blob_digests=protos(strange + small))
        found = await answer(service.find_missing, find.SerializeToString())
        missing = pb.FindMissingBlobsResponse.FromString(found).missing_blob_digests
        assert list(missing) == protos(strange)


async def test_what_was_absent_is_found_when_it_has_come(tmp_path: Path) -> None:
    """Only presence is remembered."""
    async with store_of("disk", tmp_path) as blobs:
        service = CasService(blobs, Instances())
        data = pb.FindMissingBlobsRequest(blob_digests=protos([b"new"])).SerializeToString()
        assert await answer(service.find_missing, data) != b""
        await blobs.put(digest_of(b"new"), b"new")
        assert await answer(service.find_missing, data) == b""


async def test_what_is_lost_is_missing_at_once(tmp_path: Path) -> None:
    """A blob whose bytes turn out to be damaged is not remembered as present."""
    async with store_of("disk", tmp_path) as blobs:
        assert isinstance(blobs, DiskBlobStore)
        large = bytes(300_000)
        await blobs.put(digest_of(large), large)
        service = CasService(blobs, Instances())
        data = pb.FindMissingBlobsRequest(blob_digests=protos([large])).SerializeToString()
        assert await answer(service.find_missing, data) == b""
        Path(blobs.path(digest_of(large))).unlink()
        read = pb.BatchReadBlobsRequest(digests=protos([large])).SerializeToString()
        response = await answer(service.batch_read, read)
        assert pb.BatchReadBlobsResponse.FromString(response).responses[0].status.code == 5
        assert await answer(service.find_missing, data) != b""


@pytest.mark.parametrize("bad", ["A" * 64, "g" * 64, "a" * 63, "a" * 40, "é" * 32])
async def test_hashes_that_are_none(bad: str) -> None:
    """FindMissingBlobs is refused; BatchReadBlobs says it of the one blob."""
    service = CasService(MemoryBlobStore(1 << 20), Instances(), ("sha256",))
    digests = [pb.Digest(hash=digest_of(b"x").hash, size_bytes=1), pb.Digest(hash=bad)]
    with pytest.raises(InvalidArgumentError):
        await answer(
            service.find_missing,
            pb.FindMissingBlobsRequest(blob_digests=digests).SerializeToString(),
        )
    response = await answer(
        service.batch_read, pb.BatchReadBlobsRequest(digests=digests).SerializeToString()
    )
    codes = [one.status.code for one in pb.BatchReadBlobsResponse.FromString(response).responses]
    assert codes == [5, 3]
