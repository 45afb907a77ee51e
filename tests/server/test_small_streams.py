"""Small blobs by ByteStream: answered in place as they are by a task."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.digest import digest_of
from builder.base.errors import StatusError
from builder.reapi import compression
from builder.reapi.pb import bytestream_pb2 as bs
from builder.server.bytestream import SHORT_BYTES, ByteStreamService
from builder.server.instances import Instances
from builder.server.uploads import Uploads
from builder.stores.disk import DiskBlobStore
from builder.stores.interface import BlobStore
from tests.server.direct import DirectCall, DirectContext

NAME = "/google.bytestream.ByteStream/"
KINDS = ("identity", "zstd", "deflate")
HELD = [b"", b"x", b"held " * 500, bytes(range(256)) * 100]
NEW = [b"new", b"new " * 500, b"n" * (SHORT_BYTES + 1)]


class Slow:
    """A store that cannot answer at once."""

    def __init__(self, store: DiskBlobStore) -> None:
        self.find_missing, self.read, self.write = store.find_missing, store.read, store.write
        self.get, self.put, self.begin = store.get, store.put, store.begin


def service_of(store: BlobStore) -> ByteStreamService:
    return ByteStreamService(
        store, Uploads(store), Instances(("", "main")), compressors=("zstd", "deflate")
    )


@contextmanager
def both_ways() -> Iterator[tuple[ByteStreamService, ByteStreamService]]:
    """A service that may answer in place, and one that never does, over stores of their own."""
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        stores = [DiskBlobStore(Path(folder), 1 << 28) for folder in (first, second)]
        try:
            for store in stores:
                trio.run(fill, store)
            yield service_of(stores[0]), service_of(Slow(stores[1]))
        finally:
            for store in stores:
                store.close()


async def fill(store: DiskBlobStore) -> None:
    await store.load()
    for blob in HELD:
        await store.put(digest_of(blob), blob)


async def asked(service: ByteStreamService, method: str, data: bytes) -> object:
    """What a client gets: the messages' data and numbers, or the error."""
    call = DirectCall(NAME + method)
    found: list[bytes] = []

    async def hear() -> None:
        async for message in call.responses_out:
            found.append(message)

    await call.requests_in.send(data)
    call.requests_in.close()
    error: StatusError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear)
        try:
            await (written if method == "Write" else served)(service, data, call)
        except StatusError as raised:
            error = raised
        call.responses_in.close()
    if error is not None:
        return type(error), error.message
    if method == "Write":
        return [bs.WriteResponse.FromString(one) for one in found]
    return b"".join(bs.ReadResponse.FromString(one).data for one in found)


async def written(service: ByteStreamService, data: bytes, call: DirectCall) -> None:
    short = service.write_short(data, call)
    if short is None:
        await service.write(call)
    else:
        await call.send(short)


async def served(service: ByteStreamService, data: bytes, call: DirectCall) -> None:
    answer = service.read(data, call)
    if isinstance(answer, bytes):
        await call.send(answer)
    else:
        await answer(call)


blobs = st.sampled_from([*HELD, *NEW])
kinds = st.sampled_from([*KINDS, "identity", "brotli"])
instances = st.sampled_from(["", "", "main/", "foreign/"])


def resource(blob: bytes, kind: str, more: int) -> str:
    digest = digest_of(blob)
    where = "blobs" if kind == "identity" else f"compressed-blobs/{kind}"
    return f"{where}/{digest.hash}/{digest.size_bytes + more}"


@st.composite
def reads(draw: st.DrawFn) -> tuple[str, bytes]:
    blob, kind = draw(blobs), draw(kinds)
    name = draw(instances) + resource(blob, kind, draw(st.sampled_from([0, 0, 0, 1, -1])))
    offset = draw(st.sampled_from([0, 0, 1, len(blob), len(blob) + 1, -1]))
    limit = draw(st.sampled_from([0, 0, 1, 100_000, -1]))
    request = bs.ReadRequest(resource_name=name, read_offset=offset, read_limit=limit)
    return "Read", request.SerializeToString()


@st.composite
def writes(draw: st.DrawFn) -> tuple[str, bytes]:
    blob, kind = draw(blobs), draw(kinds)
    name = resource(blob, kind, draw(st.sampled_from([0, 0, 0, 0, 1])))
    data = compression.compressed(kind, blob) if kind in KINDS[1:] else blob
    request = bs.WriteRequest(
        resource_name=f"{draw(instances)}uploads/u/{name}",
        data=draw(st.sampled_from([data, data, data, data[:-1], data + b"x", b"wrong"])),
        write_offset=draw(st.sampled_from([0, 0, 0, 5])),
        finish_write=draw(st.sampled_from([True, True, True, False])),
    )
    return "Write", request.SerializeToString()


nonsense = st.tuples(st.sampled_from(["Read", "Write"]), st.binary(max_size=40))
calls = st.lists(st.one_of(reads(), writes(), nonsense), min_size=5, max_size=15)


def test_small_blobs_are_read_and_written_alike() -> None:
    """With offsets, limits, compressors, and whatever a client gets wrong."""
    with both_ways() as ways:

        @settings(max_examples=30, deadline=None)
        @given(calls)
        def run(some: list[tuple[str, bytes]]) -> None:
            async def main() -> None:
                for method, data in some:
                    first, second = [await asked(way, method, data) for way in ways]
                    assert first == second, (method, data[:200])

            trio.run(main)

        run()


def test_the_usual_small_calls_are_answered_in_place() -> None:
    """Compressed or not."""
    with both_ways() as (quick, _):
        for number, kind in enumerate(KINDS):
            read = bs.ReadRequest(resource_name=resource(HELD[2], kind, 0))
            answer = quick.read(read.SerializeToString(), DirectContext(NAME + "Read"))
            assert isinstance(answer, bytes)
            blob = b"%d" % number * 500
            data = blob if kind == "identity" else compression.compressed(kind, blob)
            write = bs.WriteRequest(
                resource_name=f"uploads/u/{resource(blob, kind, 0)}", data=data, finish_write=True
            )
            context = DirectContext(NAME + "Write")
            response = quick.write_short(write.SerializeToString(), context)
            assert response == bs.WriteResponse(committed_size=len(data)).SerializeToString()
