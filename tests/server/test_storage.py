"""Blobs and results, asked for by a foreign client over the real wire."""

import os
import uuid
import zlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard

from builder.base.digest import digest_of
from builder.server.action_cache import ActionCacheService
from builder.server.bytestream import ByteStreamService
from builder.server.cas import MAX_BATCH_BYTES, CasService
from builder.server.instances import Instances
from builder.server.uploads import Uploads
from builder.stores.action_cache import CheckedActionCache
from builder.stores.disk import DiskBlobStore
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from tests.server.conftest import Start, ask, refused

MIB = 1024 * 1024
COMPRESSORS = ("zstd", "deflate")
PACK = {
    "zstd": zstandard.ZstdCompressor(level=3).compress,
    "deflate": lambda data: zlib.compress(data, wbits=-15),
}
UNPACK = {
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "deflate": lambda data: zlib.decompress(data, wbits=-15),
}
NUMBERS = {"zstd": 1, "deflate": 2}


class Client:
    """Stubs of the storage services, and short forms."""

    def __init__(self, foreign: SimpleNamespace, channel: Any, blobs: Any) -> None:
        self.f = foreign
        self.re = foreign.re
        self.blobs = blobs
        self.cas = foreign.re_grpc.ContentAddressableStorageStub(channel)
        self.ac = foreign.re_grpc.ActionCacheStub(channel)
        self.bs = foreign.bs_grpc.ByteStreamStub(channel)

    def digest(self, data: bytes, function: str = "sha256") -> Any:
        return self.re.Digest(hash=digest_of(data, function).hash, size_bytes=len(data))

    def upload_name(self, data: bytes, instance: str = "") -> str:
        prefix = f"{instance}/" if instance else ""
        hash_ = digest_of(data).hash
        return f"{prefix}uploads/{uuid.uuid4()}/blobs/{hash_}/{len(data)}"

    async def put(self, *blobs: bytes) -> None:
        requests = [
            self.re.BatchUpdateBlobsRequest.Request(digest=self.digest(b), data=b) for b in blobs
        ]
        answer = await ask(
            self.cas.BatchUpdateBlobs, self.re.BatchUpdateBlobsRequest(requests=requests)
        )
        assert [r.status.code for r in answer.responses] == [0] * len(blobs)

    async def missing(self, *digests: Any) -> list[Any]:
        request = self.re.FindMissingBlobsRequest(blob_digests=digests)
        return list((await ask(self.cas.FindMissingBlobs, request)).missing_blob_digests)

    async def write(self, name: str, data: bytes, piece: int = 65536, start: int = 0) -> int:
        """Committed size of a whole upload from `start` on."""

        def requests() -> Iterator[Any]:
            for at in range(start, max(len(data), 1), piece):
                chunk = data[at : at + piece]
                yield self.f.bs.WriteRequest(
                    resource_name=name if at == start else "",
                    write_offset=at,
                    data=chunk,
                    finish_write=at + len(chunk) == len(data),
                )

        return int((await ask(self.bs.Write, requests())).committed_size)

    async def read(self, digest: Any, offset: int = 0, limit: int = 0) -> bytes:
        request = self.f.bs.ReadRequest(
            resource_name=f"blobs/{digest.hash}/{digest.size_bytes}",
            read_offset=offset,
            read_limit=limit,
        )
        return b"".join(r.data for r in await ask(self.bs.Read, request))


@pytest.fixture(params=["memory", "disk"])
async def client(
    request: pytest.FixtureRequest, start: Start, foreign: SimpleNamespace, tmp_path: Any
) -> Any:
    blobs: Any = MemoryBlobStore(32 * MIB)
    if request.param == "disk":
        blobs = DiskBlobStore(tmp_path / "blobs", 32 * MIB)
        await blobs.load()
    instances = Instances()
    cache = CheckedActionCache(blobs, MemoryRecords(MIB))
    channel = await start(
        CasService(blobs, instances, compressors=COMPRESSORS).service(),
        ByteStreamService(blobs, Uploads(blobs), instances, compressors=COMPRESSORS).service(),
        ActionCacheService(cache, blobs, instances).service(),
    )
    yield Client(foreign, channel, blobs)
    if request.param == "disk":
        blobs.close()


async def test_find_missing_is_exact(client: Client) -> None:
    """Absent blobs once each in order; the empty one never; ten thousand in one call."""
    await client.put(b"a", b"b")
    x, y = client.digest(b"x"), client.digest(b"y")
    asked = [y, client.digest(b"a"), x, client.digest(b""), y, client.digest(b"b")]
    assert await client.missing(*asked) == [y, x]
    many = [client.re.Digest(hash=f"{n:064x}", size_bytes=n + 1) for n in range(10_000)]
    assert await client.missing(client.digest(b"a"), *many) == many
    assert await client.missing() == []


async def test_find_missing_of_blake3(client: Client) -> None:
    """A named function is another world than the default."""
    digest = client.digest(b"data", "blake3")
    put = client.re.BatchUpdateBlobsRequest(
        digest_function=client.re.DigestFunction.BLAKE3,
        requests=[client.re.BatchUpdateBlobsRequest.Request(digest=digest, data=b"data")],
    )
    assert (await ask(client.cas.BatchUpdateBlobs, put)).responses[0].status.code == 0
    find = client.re.FindMissingBlobsRequest(blob_digests=[digest], digest_function=9)
    assert list((await ask(client.cas.FindMissingBlobs, find)).missing_blob_digests) == []
    assert await client.missing(digest) == [digest]


@pytest.mark.parametrize(
    ("hash_", "size", "function"),
    [("zz", 1, 0), ("A" * 64, 1, 0), ("a" * 64, -1, 0), ("a" * 64, 1, 7), ("a" * 10, 1, 1)],
)
async def test_malformed_digests_are_refused(
    client: Client, hash_: str, size: int, function: int
) -> None:
    """A digest that cannot be, or of a function that is not served, is INVALID_ARGUMENT."""
    digest = client.re.Digest(hash=hash_, size_bytes=size)
    request = client.re.FindMissingBlobsRequest(blob_digests=[digest], digest_function=function)
    code, message = await refused(client.cas.FindMissingBlobs, request)
    assert code == "INVALID_ARGUMENT"
    assert message


async def test_batches_have_a_status_for_each_blob(client: Client) -> None:
    """One wrong blob of a batch is refused alone; one absent blob is NOT_FOUND alone."""
    good, wrong = client.digest(b"good"), client.digest(b"wrong")
    one = client.re.BatchUpdateBlobsRequest.Request
    update = client.re.BatchUpdateBlobsRequest(
        requests=[one(digest=good, data=b"good"), one(digest=wrong, data=b"other")]
    )
    answer = await ask(client.cas.BatchUpdateBlobs, update)
    assert [(r.digest, r.status.code) for r in answer.responses] == [(good, 0), (wrong, 3)]
    read = client.re.BatchReadBlobsRequest(digests=[wrong, good, client.digest(b"")])
    answer = await ask(client.cas.BatchReadBlobs, read)
    assert [(r.status.code, r.data) for r in answer.responses] == [(5, b""), (0, b"good"), (0, b"")]


async def test_large_batches(client: Client) -> None:
    """A thousand blobs go in and come out in one batch each."""
    blobs = [os.urandom(1000) for _ in range(1000)]
    await client.put(*blobs)
    read = client.re.BatchReadBlobsRequest(digests=[client.digest(b) for b in blobs])
    assert [r.data for r in (await ask(client.cas.BatchReadBlobs, read)).responses] == blobs


async def test_batches_beyond_the_limit_are_refused(client: Client) -> None:
    """The announced total is a limit for the call, both ways."""
    data = bytes(MAX_BATCH_BYTES // 2 + 1)
    one = client.re.BatchUpdateBlobsRequest.Request(digest=client.digest(data), data=data)
    update = client.re.BatchUpdateBlobsRequest(requests=[one, one])
    assert (await refused(client.cas.BatchUpdateBlobs, update))[0] == "INVALID_ARGUMENT"
    read = client.re.BatchReadBlobsRequest(digests=[one.digest, one.digest])
    assert (await refused(client.cas.BatchReadBlobs, read))[0] == "INVALID_ARGUMENT"


async def test_reserved_instance_names_are_refused(client: Client) -> None:
    """An instance that resource names cannot carry is INVALID_ARGUMENT everywhere."""
    request = client.re.FindMissingBlobsRequest(instance_name="a/blobs")
    assert (await refused(client.cas.FindMissingBlobs, request))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 5 * MIB + 3])
async def test_write_and_read(client: Client, size: int) -> None:
    """A blob of any size goes in by ByteStream and comes out; again it ends early."""
    data = os.urandom(size)
    assert await client.write(client.upload_name(data, "some/instance"), data) == size
    assert await client.missing(client.digest(data)) == []
    assert await client.read(client.digest(data)) == data
    assert await client.write(client.upload_name(data), data) == size


@pytest.mark.parametrize("size", [1000, 3 * MIB])
async def test_read_ranges(client: Client, size: int) -> None:
    """Offset and limit; the end is empty, beyond it is OUT_OF_RANGE, absent is NOT_FOUND."""
    data = os.urandom(size)
    await client.write(client.upload_name(data), data)
    digest = client.digest(data)
    for offset, limit in [(0, 7), (5, 0), (size - 3, 100), (size, 0), (1, size)]:
        end = offset + limit if limit else None
        assert await client.read(digest, offset, limit) == data[offset:end]
    name = f"blobs/{digest.hash}/{size}"
    request = client.f.bs.ReadRequest
    for bad, code in [
        (request(resource_name=name, read_offset=size + 1), "OUT_OF_RANGE"),
        (request(resource_name=name, read_offset=-1), "OUT_OF_RANGE"),
        (request(resource_name=name, read_limit=-1), "INVALID_ARGUMENT"),
        (request(resource_name=f"blobs/{'0' * 64}/{size}"), "NOT_FOUND"),
        (request(resource_name="nonsense"), "INVALID_ARGUMENT"),
    ]:
        assert (await refused(client.bs.Read, bad))[0] == code


@pytest.mark.parametrize("size", [100, 2 * MIB])
async def test_wrong_uploads_are_refused(client: Client, size: int) -> None:
    """Other bytes than named, too many, wrong offsets, a changed name: INVALID_ARGUMENT."""
    data = os.urandom(size)
    half, w = size // 2, client.f.bs.WriteRequest
    name, other = client.upload_name(data), client.upload_name(b"other")
    first = w(resource_name=name, data=data[:half])
    cases = [
        [w(resource_name=name, data=data[:-1] + b"!!", finish_write=True)],
        [w(resource_name=name, data=data[1:], finish_write=True)],
        [first, w(write_offset=half, data=data, finish_write=True)],
        [first, w(write_offset=half, data=bytes(size - half), finish_write=True)],
        [first, w(write_offset=half + 1, data=data[half:], finish_write=True)],
        [first, w(resource_name=other, write_offset=half, data=data[half:], finish_write=True)],
        [w(resource_name=name, write_offset=half + 1, data=data[half:], finish_write=True)],
        [w(resource_name="nonsense", data=data, finish_write=True)],
    ]
    for requests in cases:
        assert (await refused(client.bs.Write, iter(requests)))[0] == "INVALID_ARGUMENT"
    assert await client.missing(client.digest(data)) == [client.digest(data)]


async def test_an_upload_is_resumed(client: Client) -> None:
    """After a cut, QueryWriteStatus says how much is there, and another call goes on from it."""
    data = os.urandom(3 * MIB)
    name = client.upload_name(data)
    query = client.f.bs.QueryWriteStatusRequest(resource_name=name)
    assert (await refused(client.bs.QueryWriteStatus, query))[0] == "NOT_FOUND"
    part = [client.f.bs.WriteRequest(resource_name=name, data=data[:MIB])]
    assert (await ask(client.bs.Write, iter(part))).committed_size == MIB
    status = await ask(client.bs.QueryWriteStatus, query)
    assert (status.committed_size, status.complete) == (MIB, False)
    assert await client.write(name, data, start=MIB) == len(data)
    status = await ask(client.bs.QueryWriteStatus, query)
    assert (status.committed_size, status.complete) == (len(data), True)
    assert await client.read(client.digest(data)) == data


async def test_the_empty_blob_needs_no_upload(client: Client) -> None:
    """It is always here, for who asks how far its upload has come, too."""
    query = client.f.bs.QueryWriteStatusRequest(resource_name=client.upload_name(b""))
    status = await ask(client.bs.QueryWriteStatus, query)
    assert (status.committed_size, status.complete) == (0, True)


async def test_an_upload_may_start_over(client: Client) -> None:
    """A client that lost its place starts at 0 with the same name."""
    data = os.urandom(MIB)
    name = client.upload_name(data)
    part = [client.f.bs.WriteRequest(resource_name=name, data=data[:1000])]
    await ask(client.bs.Write, iter(part))
    assert await client.write(name, data) == len(data)


async def test_trees(client: Client) -> None:
    """All directories below the root, each once, in pages; absent ones left out."""
    re = client.re
    leaf = re.Directory(files=[re.FileNode(name="f", digest=client.digest(b"f"))])
    gone = re.Directory(symlinks=[re.SymlinkNode(name="l", target="t")])
    leaf_digest = client.digest(leaf.SerializeToString())
    middle = re.Directory(directories=[re.DirectoryNode(name="leaf", digest=leaf_digest)])
    nodes = [(n, middle) for n in "ab"] + [("c", gone), ("d", leaf)]
    root = re.Directory(
        directories=[
            re.DirectoryNode(name=n, digest=client.digest(d.SerializeToString())) for n, d in nodes
        ]
    )
    root_digest = client.digest(root.SerializeToString())
    await client.put(*(d.SerializeToString() for d in (root, middle, leaf)))
    pages = await ask(client.cas.GetTree, re.GetTreeRequest(root_digest=root_digest, page_size=1))
    assert [d for page in pages for d in page.directories] == [root, middle, leaf]
    assert [len(page.directories) for page in pages] == [1, 1, 1]
    rest = re.GetTreeRequest(root_digest=root_digest, page_token=pages[0].next_page_token)
    [page] = await ask(client.cas.GetTree, rest)
    assert (list(page.directories), page.next_page_token) == ([middle, leaf], "")
    for bad, code in [
        (re.GetTreeRequest(root_digest=client.digest(b"absent")), "NOT_FOUND"),
        (re.GetTreeRequest(root_digest=root_digest, page_token="x"), "INVALID_ARGUMENT"),
        (re.GetTreeRequest(root_digest=root_digest, page_size=-1), "INVALID_ARGUMENT"),
    ]:
        assert (await refused(client.cas.GetTree, bad))[0] == code


async def test_results(client: Client) -> None:
    """A result is stored and served with what it references, and inlined on request."""
    re = client.re
    await client.put(b"output", b"said")
    result = re.ActionResult(stdout_digest=client.digest(b"said"), exit_code=0)
    result.output_files.add(path="o", digest=client.digest(b"output"))
    action = client.digest(b"any bytes: the action is not parsed")
    get = re.GetActionResultRequest(action_digest=action, instance_name="main")
    assert (await refused(client.ac.GetActionResult, get))[0] == "NOT_FOUND"
    update = re.UpdateActionResultRequest(
        action_digest=action, action_result=result, instance_name="main"
    )
    assert await ask(client.ac.UpdateActionResult, update) == result
    for _ in range(2):
        assert await ask(client.ac.GetActionResult, get) == result
    get.inline_stdout = True
    get.inline_output_files.append("o")
    inlined = await ask(client.ac.GetActionResult, get)
    assert (inlined.stdout_raw, inlined.output_files[0].contents) == (b"said", b"output")
    get.instance_name = "other"
    assert (await refused(client.ac.GetActionResult, get))[0] == "NOT_FOUND"


async def test_results_without_their_outputs_are_refused(client: Client) -> None:
    """UpdateActionResult names the blobs that are absent."""
    re = client.re
    result = re.ActionResult()
    result.output_files.add(path="o", digest=client.digest(b"absent"))
    update = re.UpdateActionResultRequest(action_digest=client.digest(b"a"), action_result=result)
    code, message = await refused(client.ac.UpdateActionResult, update)
    assert code == "FAILED_PRECONDITION"
    assert digest_of(b"absent").hash in message


@pytest.mark.parametrize("kind", ["output_files", "output_directories", "output_symlinks"])
async def test_results_with_absolute_outputs_are_refused(client: Client, kind: str) -> None:
    """Whoever took such a result would write to that place of its host."""
    re = client.re
    result = re.ActionResult()
    target = {"target": "x"} if "symlinks" in kind else {}
    getattr(result, kind).add(path="/etc/passwd", **target)
    update = re.UpdateActionResultRequest(action_digest=client.digest(b"a"), action_result=result)
    code, message = await refused(client.ac.UpdateActionResult, update)
    assert code == "INVALID_ARGUMENT"
    assert "'/etc/passwd' is absolute" in message


@pytest.mark.parametrize("target", ["", "a\0b"])
@pytest.mark.parametrize("kind", ["output_symlinks", "output_file_symlinks"])
async def test_results_with_links_to_nowhere_are_refused(
    client: Client, kind: str, target: str
) -> None:
    """No file system has such a link."""
    result = client.re.ActionResult()
    getattr(result, kind).add(path="link", target=target)
    action = client.digest(b"a")
    update = client.re.UpdateActionResultRequest(action_digest=action, action_result=result)
    code, message = await refused(client.ac.UpdateActionResult, update)
    assert (code, message) == ("INVALID_ARGUMENT", "the output symlink 'link' has no target")


async def test_bytes_that_are_no_message_are_refused(client: Client, start: Start) -> None:
    """Garbage in place of a request is INVALID_ARGUMENT, not a failure of ours."""
    channel = await start(CasService(client.blobs, Instances(["only"])).service())
    path = "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs"
    assert (await refused(channel.unary_unary(path), b"\xff\xff\xff"))[0] == "INVALID_ARGUMENT"
    code, message = await refused(channel.unary_unary(path), b"")
    assert code == "INVALID_ARGUMENT"
    assert "'only'" in message


def half_random(size: int) -> bytes:
    return os.urandom(size // 2) + bytes(size - size // 2)


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("size", [0, 1, 70_000, 5 * MIB + 3])
async def test_compressed_write_and_read(client: Client, compressor: str, size: int) -> None:
    """What comes compressed can be read plain, and compressed; and from any offset."""
    data = half_random(size)
    packed = PACK[compressor](data)
    digest = client.digest(data)
    path = f"compressed-blobs/{compressor}/{digest.hash}/{size}"
    name = f"main/uploads/{uuid.uuid4()}/{path}"
    assert await client.write(name, packed) == len(packed)
    assert await client.read(digest) == data
    if size:
        assert await client.write(name, packed) == -1
    for offset in {0, size // 2, size}:
        read = client.f.bs.ReadRequest(resource_name=path, read_offset=offset)
        received = b"".join(one.data for one in await ask(client.bs.Read, read))
        assert UNPACK[compressor](received) == data[offset:]
    limited = client.f.bs.ReadRequest(resource_name=path, read_limit=5)
    assert (await refused(client.bs.Read, limited))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("compressor", COMPRESSORS)
async def test_wrong_compressed_uploads(client: Client, compressor: str) -> None:
    """Bombs, cut data, garbage, other bytes and offsets are INVALID_ARGUMENT, nothing is stored."""
    data = half_random(100_000)
    digest, pack = client.digest(data), PACK[compressor]
    name = f"uploads/u/compressed-blobs/{compressor}/{digest.hash}/{len(data)}"
    w = client.f.bs.WriteRequest
    whole = pack(data)
    cases = [
        [w(resource_name=name, data=pack(bytes(100 * MIB)), finish_write=True)],
        [w(resource_name=name, data=whole[:-3], finish_write=True)],
        [w(resource_name=name, data=b"\xff" * 50, finish_write=True)],
        [w(resource_name=name, data=pack(bytes(len(data))), finish_write=True)],
        [w(resource_name=name, data=whole, write_offset=5, finish_write=True)],
    ]
    for requests in cases:
        assert (await refused(client.bs.Write, iter(requests)))[0] == "INVALID_ARGUMENT"
    assert await client.missing(digest) == [digest]
    query = client.f.bs.QueryWriteStatusRequest(resource_name=name)
    assert (await refused(client.bs.QueryWriteStatus, query))[0] == "NOT_FOUND"


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("size", [5_000, 3 * MIB + 3])
async def test_compressed_uploads_are_resumed(client: Client, compressor: str, size: int) -> None:
    """By the plain offset that QueryWriteStatus gives, where the client begins to compress anew;
    twice, as REAPI's `Write` counts: later offsets go on by the compressed bytes."""
    data = os.urandom(size // 4) + bytes(size - size // 2) + os.urandom(size - 3 * (size // 4))
    data = data[:size]
    digest, pack = client.digest(data), PACK[compressor]
    name = f"main/uploads/{uuid.uuid4()}/compressed-blobs/{compressor}/{digest.hash}/{size}"
    w, query = client.f.bs.WriteRequest, client.f.bs.QueryWriteStatusRequest(resource_name=name)
    here = 0
    for share in (2, 2):
        rest = pack(data[here:])
        part = rest[: len(rest) // share]
        request = w(resource_name=name, data=part, write_offset=here)
        assert (await ask(client.bs.Write, iter([request]))).committed_size == here + len(part)
        status = await ask(client.bs.QueryWriteStatus, query)
        assert here <= status.committed_size < size
        assert not status.complete
        here = status.committed_size
    rest = pack(data[here:])
    wrong = w(resource_name=name, data=rest, write_offset=here + 1, finish_write=True)
    assert (await refused(client.bs.Write, iter([wrong])))[0] == "INVALID_ARGUMENT"
    half = len(rest) // 2
    requests = [
        w(resource_name=name, data=rest[:half], write_offset=here),
        w(data=rest[half:], write_offset=here + half, finish_write=True),
    ]
    answer = await ask(client.bs.Write, iter(requests))
    assert answer.committed_size == here + len(rest)
    assert await client.read(digest) == data
    assert (await ask(client.bs.QueryWriteStatus, query)).complete


@pytest.mark.parametrize("size", [5_000, 100_000, 3 * MIB + 3])
async def test_zstd_comes_back_as_it_was_sent(client: Client, size: int) -> None:
    """A disk keeps the frames of a client byte for byte, of small blobs and of large ones."""
    data = half_random(size)
    frames = zstandard.ZstdCompressor(level=7, write_checksum=True).compress(data)
    digest = client.digest(data)
    path = f"compressed-blobs/zstd/{digest.hash}/{size}"
    await client.write(f"uploads/{uuid.uuid4()}/{path}", frames)
    read = client.f.bs.ReadRequest(resource_name=path)
    received = b"".join(one.data for one in await ask(client.bs.Read, read))
    assert UNPACK["zstd"](received) == data
    if isinstance(client.blobs, DiskBlobStore):
        assert received == frames
    assert await client.read(digest) == data
    assert await client.read(digest, size - 100) == data[-100:]


@pytest.mark.parametrize("compressor", COMPRESSORS)
async def test_compressed_batches(client: Client, compressor: str) -> None:
    """Batches take compressed blobs, and give them where the client accepts and it pays."""
    blobs = [half_random(10_000), b"short", os.urandom(2000)]
    one = client.re.BatchUpdateBlobsRequest.Request
    number = NUMBERS[compressor]
    update = client.re.BatchUpdateBlobsRequest(
        requests=[
            one(digest=client.digest(b), data=PACK[compressor](b), compressor=number) for b in blobs
        ]
    )
    answer = await ask(client.cas.BatchUpdateBlobs, update)
    assert [r.status.code for r in answer.responses] == [0, 0, 0]
    read = client.re.BatchReadBlobsRequest(digests=[client.digest(b) for b in blobs])
    assert [r.data for r in (await ask(client.cas.BatchReadBlobs, read)).responses] == blobs
    read.acceptable_compressors.append(number)
    responses = (await ask(client.cas.BatchReadBlobs, read)).responses
    assert [r.compressor for r in responses] == [number, 0, 0]
    assert [UNPACK[compressor](responses[0].data), responses[1].data] == blobs[:2]
    if compressor == "zstd" and isinstance(client.blobs, DiskBlobStore):
        assert responses[0].data == update.requests[0].data


async def test_a_compressor_that_is_not_served(client: Client, start: Start) -> None:
    """Brotli is refused with what to use instead; a blob that does not unpack is refused alone."""
    one = client.re.BatchUpdateBlobsRequest.Request
    digest = client.digest(b"data")
    update = client.re.BatchUpdateBlobsRequest(
        requests=[
            one(digest=digest, data=b"x", compressor=3),
            one(digest=digest, data=b"garbage", compressor=1),
            one(digest=digest, data=b"data"),
        ]
    )
    answer = await ask(client.cas.BatchUpdateBlobs, update)
    assert [r.status.code for r in answer.responses] == [3, 3, 0]
    read = client.f.bs.ReadRequest(
        resource_name=f"compressed-blobs/brotli/{digest.hash}/{digest.size_bytes}"
    )
    code, message = await refused(client.bs.Read, read)
    assert code == "INVALID_ARGUMENT"
    assert "identity, zstd, deflate" in message
