"""Requests that are split on the wire are answered as those that are parsed."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.digest import digest_of
from builder.base.errors import InvalidArgumentError, StatusError
from builder.reapi import compression
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.varints import varint
from builder.server import batch_reading, batch_writing, finding
from builder.server.cas import CasService
from builder.server.instances import Instances
from builder.server.messages import bytes_field
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
    return await whole(handler(data, CONTEXT))  # type: ignore[operator]  # a unary handler


async def whole(found: object) -> bytes:
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
            found = await answer(service._finder.find, find.SerializeToString())
            assert found == await answer(service._finder.find, otherwise(find))
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
        small = [b"%d" % number for number in range(batch_reading.STEP_BLOBS + 10)]
        for blob in small:
            await blobs.put(digest_of(blob), blob)
        service = CasService(blobs, Instances())
        read = pb.BatchReadBlobsRequest(digests=protos(small)).SerializeToString()
        waiting = service.batch_read(read, CONTEXT)
        assert not isinstance(waiting, bytes)
        response = pb.BatchReadBlobsResponse.FromString(await waiting)
        assert [one.data for one in response.responses] == small
        strange = [b"x%d" % number for number in range(finding.INLINE_DIGESTS + 10)]
        find = pb.FindMissingBlobsRequest(blob_digests=protos(strange + small))
        found = await answer(service._finder.find, find.SerializeToString())
        missing = pb.FindMissingBlobsResponse.FromString(found).missing_blob_digests
        assert list(missing) == protos(strange)


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("count", [20, finding.INLINE_DIGESTS + 10])
async def test_what_lies_in_a_grid_is_answered_as_what_does_not(
    kind: str, count: int, tmp_path: Path
) -> None:
    """All absent, none of it, some of it; before and after what is here is remembered."""
    async with store_of(kind, tmp_path) as blobs:
        here, gone = ([b"%06d" % (at + base) for at in range(count)] for base in (0, count))
        for blob in here[: count // 2]:
            await blobs.put(digest_of(blob), blob)
        service = CasService(blobs, Instances())
        for _ in range(2):
            for asked in (gone, here, [*gone, *here], [*gone, gone[1]], [*here, *gone, *here]):
                find = pb.FindMissingBlobsRequest(blob_digests=protos(asked))
                found = await answer(service._finder.find, find.SerializeToString())
                missing = pb.FindMissingBlobsResponse.FromString(found).missing_blob_digests
                stored = {digest_of(blob).hash for blob in here[: count // 2]}
                every = protos(list(dict.fromkeys(asked)))
                assert list(missing) == [one for one in every if one.hash not in stored]


async def test_what_was_absent_is_found_when_it_has_come(tmp_path: Path) -> None:
    """Only presence is remembered."""
    async with store_of("disk", tmp_path) as blobs:
        service = CasService(blobs, Instances())
        data = pb.FindMissingBlobsRequest(blob_digests=protos([b"new"])).SerializeToString()
        assert await answer(service._finder.find, data) != b""
        await blobs.put(digest_of(b"new"), b"new")
        assert await answer(service._finder.find, data) == b""


async def test_what_is_lost_is_missing_at_once(tmp_path: Path) -> None:
    """A blob whose bytes turn out to be damaged is not remembered as present."""
    async with store_of("disk", tmp_path) as blobs:
        assert isinstance(blobs, DiskBlobStore)
        large = bytes(300_000)
        await blobs.put(digest_of(large), large)
        service = CasService(blobs, Instances())
        data = pb.FindMissingBlobsRequest(blob_digests=protos([large])).SerializeToString()
        assert await answer(service._finder.find, data) == b""
        Path(blobs.path(digest_of(large))).unlink()
        read = pb.BatchReadBlobsRequest(digests=protos([large])).SerializeToString()
        response = await answer(service.batch_read, read)
        assert pb.BatchReadBlobsResponse.FromString(response).responses[0].status.code == 5
        assert await answer(service._finder.find, data) != b""


@pytest.mark.parametrize("bad", ["A" * 64, "g" * 64, "a" * 63, "a" * 40, "é" * 32])
async def test_hashes_that_are_none(bad: str) -> None:
    """FindMissingBlobs is refused; BatchReadBlobs says it of the one blob."""
    service = CasService(MemoryBlobStore(1 << 20), Instances(), ("sha256",))
    digests = [pb.Digest(hash=digest_of(b"x").hash, size_bytes=1), pb.Digest(hash=bad)]
    with pytest.raises(InvalidArgumentError):
        await answer(
            service._finder.find,
            pb.FindMissingBlobsRequest(blob_digests=digests).SerializeToString(),
        )
    response = await answer(
        service.batch_read, pb.BatchReadBlobsRequest(digests=digests).SerializeToString()
    )
    codes = [one.status.code for one in pb.BatchReadBlobsResponse.FromString(response).responses]
    assert codes == [5, 3]


def field(number: int, data: bytes) -> bytes:
    return bytes_field(number, len(data)) + data


def written(hash_: bytes, size: int, padding: bytes) -> bytes:
    """A digest in field 2; with padding, its size is not as short as it could be."""
    number = varint(size)
    if padding:
        number = number[:-1] + bytes((number[-1] | 0x80,)) + padding
    return field(2, field(1, hash_) + (b"\x10" + number if size or padding else b""))


here = st.sampled_from(
    [(one.hash.encode(), len(blob)) for blob in BLOBS for one in [digest_of(blob)]]
)
elsewhere = st.tuples(
    st.sampled_from([digest_of(b"%d" % number).hash.encode() for number in range(40)]),
    st.sampled_from([0, 1, 127, 128, 20_000, 300_000, 1 << 40]),
)
other_size = st.tuples(here.map(lambda one: one[0]), st.integers(0, 400_000))
no_hash = st.tuples(
    st.sampled_from([b"A" * 64, b"g" * 64, b"a" * 63, b"a" * 40, "é".encode() * 32, b"\xff" * 64]),
    st.sampled_from([0, 5]),
)
usual = st.lists(
    st.one_of(here, elsewhere, other_size).map(lambda one: written(*one, b"")), min_size=1
)
unusual = st.one_of(
    st.tuples(here, st.sampled_from([b"", b"\x00", b"\x80\x00"])).map(
        lambda t: written(*t[0], t[1])
    ),
    st.one_of(elsewhere, no_hash).map(lambda one: written(*one, b"")),
    st.sampled_from(
        [b"", b"\x12\x00", field(1, b"main"), field(7, b"x"), b"\x12\x44\x0a\x40", b"\xff"]
    ),
    st.binary(max_size=8),
)
messages = st.one_of(
    usual,
    st.tuples(usual, st.lists(unusual, max_size=3), usual).map(lambda t: [*t[0], *t[1], *t[2]]),
).map(b"".join)
heads = st.sampled_from(
    [b"", field(1, b"main"), field(1, "ä".encode()), field(1, b"\xff"), b"\x0a"]
)


Way = Callable[[CasService, bytes], object]


def alike(quick: Way, slow: Way, number: int) -> None:
    """Both ways give the same bytes or the same error, whatever was asked before."""
    tails = st.sampled_from([b"", *(bytes((number << 3, function)) for function in (1, 9, 3, 0))])

    with TemporaryDirectory() as folder:
        blobs = DiskBlobStore(Path(folder), 1 << 28)
        service = CasService(blobs, Instances())

        @settings(max_examples=100, deadline=None)
        @given(heads, messages, tails)
        def run(head: bytes, digests: bytes, tail: bytes) -> None:
            data = head + digests + tail
            first, second, again = [trio.run(outcome, way, service, data) for way in ways]
            assert first == second == again

        ways = (quick, slow, quick)
        try:
            trio.run(fill, blobs)
            run()
        finally:
            blobs.close()


async def fill(blobs: DiskBlobStore) -> None:
    await blobs.load()
    for blob in BLOBS:
        await blobs.put(digest_of(blob), blob)


async def outcome(way: Way, service: CasService, data: bytes) -> bytes | tuple[type, str]:
    try:
        return await whole(way(service, data))
    except StatusError as error:
        return type(error), error.message


def test_whatever_is_asked_for_is_found_alike() -> None:
    """Malformed messages and hashes among it: strictness is not a question of the way."""
    alike(lambda s, data: s._finder.find(data, CONTEXT), lambda s, data: s._finder.parsed(data), 3)


def test_whatever_is_asked_for_is_read_alike() -> None:
    """To the byte, with a status for each blob that is not here or is no hash."""
    alike(lambda s, data: s.batch_read(data, CONTEXT), lambda s, data: s._read_parsed(data), 4)


def update(blob: bytes, change: str) -> pb.BatchUpdateBlobsRequest.Request:
    """A blob to be written, as it should be or not."""
    digest = digest_of(blob)
    one = pb.BatchUpdateBlobsRequest.Request(
        digest=pb.Digest(hash=digest.hash, size_bytes=digest.size_bytes), data=blob
    )
    if change == "hash":
        one.digest.hash = digest_of(blob + b"x").hash
    elif change == "case":
        one.digest.hash = digest.hash.upper()
    elif change == "length":
        one.digest.hash = digest.hash[2:]
    elif change == "size":
        one.digest.size_bytes += 1
    elif change == "zstd":
        one.compressor, one.data = pb.Compressor.ZSTD, compression.compressed("zstd", blob)
    elif change == "lie":
        one.compressor = pb.Compressor.ZSTD
    elif change == "unknown":
        one.compressor = 77
    return one


changes = st.sampled_from(["", "", "", "hash", "case", "length", "size", "zstd", "lie", "unknown"])
updates = st.lists(st.tuples(st.sampled_from([*BLOBS, *GONE]), changes), min_size=1, max_size=20)


def write(service: CasService, data: bytes) -> object:
    return service.batch_update(data, CONTEXT)


def look(service: CasService, data: bytes) -> object:
    return service._finder.find(data, CONTEXT)


def test_whatever_is_written_is_answered_alike() -> None:
    """At once by a disk store and one by one by a store in memory: answers and what is kept."""
    with TemporaryDirectory() as folder:
        disk, memory = DiskBlobStore(Path(folder), 1 << 28), MemoryBlobStore(1 << 28)
        services = [CasService(one, Instances(), compressors=("zstd",)) for one in (disk, memory)]

        @settings(max_examples=100, deadline=None)
        @given(updates, st.sampled_from([0, 1]))
        def run(some: list[tuple[bytes, str]], function: int) -> None:
            requests = [update(*one) for one in some]
            data = pb.BatchUpdateBlobsRequest(requests=requests, digest_function=function)
            find = pb.FindMissingBlobsRequest(blob_digests=protos([*BLOBS, *GONE]))
            for way, message in ((write, data), (look, find)):
                raw = message.SerializeToString()
                first, second = [trio.run(outcome, way, service, raw) for service in services]
                assert first == second

        try:
            trio.run(disk.load)
            run()
        finally:
            disk.close()


async def test_long_batches_are_written_in_steps(tmp_path: Path) -> None:
    """More than the receive loop's share, with some that are wrong among them."""
    async with store_of("disk", tmp_path) as blobs:
        service = CasService(blobs, Instances())
        many = [b"%d" % number * 50 for number in range(3 * batch_writing.STEP_BLOBS + 10)]
        requests = [update(blob, "hash" if n % 100 == 7 else "") for n, blob in enumerate(many)]
        waiting = service.batch_update(
            pb.BatchUpdateBlobsRequest(requests=requests).SerializeToString(), CONTEXT
        )
        assert not isinstance(waiting, bytes)
        answers = pb.BatchUpdateBlobsResponse.FromString(await waiting).responses
        assert [one.digest for one in answers] == [one.digest for one in requests]
        assert [one.status.code for one in answers] == [
            3 if number % 100 == 7 else 0 for number in range(len(many))
        ]
        right = [blob for number, blob in enumerate(many) if number % 100 != 7]
        assert await blobs.find_missing(list(map(digest_of, right))) == []
        assert await blobs.get(digest_of(right[-1])) == right[-1]
