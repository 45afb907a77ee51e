"""Every digest function on one instance, by a foreign client."""

import hashlib
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from blake3 import blake3

from builder.base.digest import HASHERS, digest_of
from builder.server.action_cache import ActionCacheService
from builder.server.bytestream import ByteStreamService
from builder.server.capabilities import CapabilitiesService, Served
from builder.server.cas import CasService
from builder.server.instances import Instances
from builder.server.uploads import Uploads
from builder.stores.action_cache import CheckedActionCache
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from tests.server.conftest import Start, ask, refused

FUNCTIONS = tuple(HASHERS)
MIB = 1024 * 1024
DATA = bytes(range(251)) * 20  # 5,020 bytes
TREE_1025 = "36c0998b21839ef7"  # published: SHA256TREE of the first 1,025 bytes of that pattern

# Not ours: what each function is, in the words of the API.
FOREIGN: dict[str, Callable[[bytes], str]] = {
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
    "sha1": lambda data: hashlib.sha1(data).hexdigest(),
    "sha384": lambda data: hashlib.sha384(data).hexdigest(),
    "sha512": lambda data: hashlib.sha512(data).hexdigest(),
    "md5": lambda data: hashlib.md5(data).hexdigest(),
    "blake3": lambda data: blake3(data).hexdigest(),
    "gitsha1": lambda data: hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
}
NAMED = ("blake3", "sha256tree", "gitsha1")


class Client:
    def __init__(self, f: SimpleNamespace, channel: Any) -> None:
        self.f, self.re = f, f.re
        self.cas = f.re_grpc.ContentAddressableStorageStub(channel)
        self.ac = f.re_grpc.ActionCacheStub(channel)
        self.bs = f.bs_grpc.ByteStreamStub(channel)
        self.about = f.re_grpc.CapabilitiesStub(channel)

    def number(self, function: str) -> Any:
        return self.re.DigestFunction.Value.Value(function.upper())

    async def put(self, function: str, hash_: str, data: bytes, named: bool = True) -> int:
        digest = self.re.Digest(hash=hash_, size_bytes=len(data))
        request = self.re.BatchUpdateBlobsRequest(
            requests=[self.re.BatchUpdateBlobsRequest.Request(digest=digest, data=data)],
            digest_function=self.number(function) if named else 0,
        )
        return int((await ask(self.cas.BatchUpdateBlobs, request)).responses[0].status.code)


async def serve(start: Start, foreign: SimpleNamespace, functions: tuple[str, ...]) -> Client:
    blobs = MemoryBlobStore(32 * MIB)
    instances = Instances()
    cache = CheckedActionCache(blobs, MemoryRecords(MIB))
    channel = await start(
        CapabilitiesService(Served(MIB, True, functions=functions), instances).service(),
        CasService(blobs, instances, functions).service(),
        ByteStreamService(blobs, Uploads(blobs), instances, functions).service(),
        ActionCacheService(cache, blobs, instances, functions).service(),
    )
    return Client(foreign, channel)


@pytest.mark.parametrize("function", FOREIGN)
async def test_each_function_is_served(
    start: Start, foreign: SimpleNamespace, function: str
) -> None:
    """Uploads are verified by it; batches, streams and results know the blob by its name."""
    client = await serve(start, foreign, FUNCTIONS)
    hash_, number = FOREIGN[function](DATA), client.number(function)
    assert await client.put(function, hash_, DATA) == 0
    assert await client.put(function, FOREIGN[function](b"other"), DATA) == 3
    digest = client.re.Digest(hash=hash_, size_bytes=len(DATA))
    segment = f"{function}/" if function in NAMED else ""
    name = f"blobs/{segment}{hash_}/{len(DATA)}"
    pieces = await ask(client.bs.Read, client.f.bs.ReadRequest(resource_name=name))
    assert b"".join(piece.data for piece in pieces) == DATA
    more = DATA + b"more"
    upload = f"uploads/{uuid.uuid4()}/blobs/{segment}{FOREIGN[function](more)}/{len(more)}"
    write = client.f.bs.WriteRequest(resource_name=upload, data=more, finish_write=True)
    assert (await ask(client.bs.Write, iter([write]))).committed_size == len(more)
    result = client.re.ActionResult(exit_code=0)
    result.output_files.add(path="out", digest=digest)
    action = client.re.Digest(hash=FOREIGN[function](b"an action"), size_bytes=9)
    update = client.re.UpdateActionResultRequest(
        action_digest=action, action_result=result, digest_function=number
    )
    assert await ask(client.ac.UpdateActionResult, update) == result
    get = client.re.GetActionResultRequest(action_digest=action, digest_function=number)
    assert await ask(client.ac.GetActionResult, get) == result


async def test_sha256tree(start: Start, foreign: SimpleNamespace) -> None:
    """A published vector of the function that no library has."""
    client = await serve(start, foreign, FUNCTIONS)
    data = DATA[:1025]
    find = client.re.FindMissingBlobsRequest(digest_function=client.number("sha256tree"))
    ours = digest_of(data, "sha256tree").hash
    assert ours.startswith(TREE_1025)
    assert await client.put("sha256tree", ours, data) == 0
    find.blob_digests.add(hash=ours, size_bytes=len(data))
    assert list((await ask(client.cas.FindMissingBlobs, find)).missing_blob_digests) == []


async def test_what_is_announced(start: Start, foreign: SimpleNamespace) -> None:
    """All that are served, in order, the first as the one of old clients."""
    client = await serve(start, foreign, FUNCTIONS)
    answer = await ask(client.about.GetCapabilities, client.re.GetCapabilitiesRequest())
    numbers = [client.number(function) for function in FUNCTIONS]
    assert list(answer.cache_capabilities.digest_functions) == numbers
    assert list(answer.execution_capabilities.digest_functions) == numbers
    assert answer.execution_capabilities.digest_function == numbers[0]


@pytest.mark.parametrize(
    ("served", "meant"),
    [
        (FUNCTIONS, {64: "sha256", 40: "sha1", 96: "sha384", 128: "sha512", 32: "md5"}),
        (tuple(reversed(FUNCTIONS)), {64: "sha256", 40: "sha1"}),
        (("blake3", "gitsha1"), {64: "blake3", 40: "gitsha1"}),
    ],
)
async def test_an_unnamed_function_is_told_by_the_length(
    start: Start, foreign: SimpleNamespace, served: tuple[str, ...], meant: dict[int, str]
) -> None:
    """Among those announced, whatever their order; the ones that must be named come last."""
    client = await serve(start, foreign, served)
    for length, function in meant.items():
        hash_ = FOREIGN[function](DATA)
        assert len(hash_) == length
        assert await client.put(function, hash_, DATA, named=False) == 0
        find = client.re.FindMissingBlobsRequest(digest_function=client.number(function))
        find.blob_digests.add(hash=hash_, size_bytes=len(DATA))
        assert list((await ask(client.cas.FindMissingBlobs, find)).missing_blob_digests) == []
        read = client.f.bs.ReadRequest(resource_name=f"blobs/{hash_}/{len(DATA)}")
        assert b"".join(piece.data for piece in await ask(client.bs.Read, read)) == DATA


async def test_what_is_not_announced_is_refused(start: Start, foreign: SimpleNamespace) -> None:
    """By name and by length."""
    client = await serve(start, foreign, ("sha256",))
    find = client.re.FindMissingBlobsRequest(digest_function=client.number("md5"))
    find.blob_digests.add(hash=FOREIGN["md5"](DATA), size_bytes=len(DATA))
    code, message = await refused(client.cas.FindMissingBlobs, find)
    assert code == "INVALID_ARGUMENT"
    assert "md5 is not served here" in message
    find.digest_function = 0
    code, message = await refused(client.cas.FindMissingBlobs, find)
    assert code == "INVALID_ARGUMENT"
    assert "32 digits" in message
