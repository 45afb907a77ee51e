"""Blobs in chunks, by a client that cuts as Bazel does and sends only what is not there."""

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from builder.base.digest import Digest, digest_of
from builder.reapi.chunking import Chunker, FastCdc2020, RepMaxCdc, lengths
from builder.server.capabilities import CapabilitiesService, Served
from builder.server.cas import CasService
from builder.server.instances import Instances
from builder.server.splitting import Splitter
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from tests.server.conftest import Start, ask, refused

MIB = 1024 * 1024
FAST, REP_MAX = 1, 2
BIG = Random(7).randbytes(3 * MIB)


class Client:
    def __init__(self, f: SimpleNamespace, channel: Any, blobs: MemoryBlobStore) -> None:
        self.re, self.blobs = f.re, blobs
        self.cas = f.re_grpc.ContentAddressableStorageStub(channel)
        self.about = f.re_grpc.CapabilitiesStub(channel)

    def digest(self, data: bytes, function: str = "sha256") -> Any:
        return self.re.Digest(hash=digest_of(data, function).hash, size_bytes=len(data))

    async def put(self, data: bytes, function: str = "sha256") -> Any:
        await self.blobs.put(digest_of(data, function), data)
        return self.digest(data, function)

    async def split(self, digest: Any, chunking: int = 0, function: int = 0) -> Any:
        request = self.re.SplitBlobRequest(
            blob_digest=digest, chunking_function=chunking, digest_function=function
        )
        return await ask(self.cas.SplitBlob, request)

    async def joined(self, chunks: Any, function: str = "sha256") -> bytes:
        blobs = [await self.blobs.get(Digest(c.hash, c.size_bytes, function)) for c in chunks]
        return b"".join(blobs)

    async def chunkers(self) -> dict[int, Chunker]:
        """As a client makes them, from what is announced."""
        answer = await ask(self.about.GetCapabilities, self.re.GetCapabilitiesRequest())
        cache = answer.cache_capabilities
        assert cache.split_blob_support
        assert cache.splice_blob_support
        high = answer.high_api_version
        assert (high.major, high.minor) == (2, 12)
        fast, rep_max = cache.fast_cdc_2020_params, cache.rep_max_cdc_params
        return {
            FAST: FastCdc2020(fast.avg_chunk_size_bytes, fast.seed),
            REP_MAX: RepMaxCdc(rep_max.min_chunk_size_bytes, rep_max.horizon_size_bytes),
        }

    async def upload(self, data: bytes, chunker: Chunker, function: int) -> int:
        """In chunks, those that are missing; the number of bytes that had to be sent."""
        chunks, at = [], 0
        for length in lengths(chunker, data):
            chunks.append(data[at : at + length])
            at += length
        named = [self.digest(chunk) for chunk in chunks]
        find = self.re.FindMissingBlobsRequest(blob_digests=named)
        missing = (await ask(self.cas.FindMissingBlobs, find)).missing_blob_digests
        absent = {digest.hash for digest in missing}
        wanted = [chunk for chunk in chunks if self.digest(chunk).hash in absent]
        for chunk in wanted:
            request = self.re.BatchUpdateBlobsRequest()
            request.requests.add(digest=self.digest(chunk), data=chunk)
            answer = await ask(self.cas.BatchUpdateBlobs, request)
            assert answer.responses[0].status.code == 0
        splice = self.re.SpliceBlobRequest(
            blob_digest=self.digest(data), chunk_digests=named, chunking_function=function
        )
        assert (await ask(self.cas.SpliceBlob, splice)).blob_digest == self.digest(data)
        return sum(map(len, wanted))


@pytest.fixture
async def client(start: Start, foreign: SimpleNamespace) -> Client:
    blobs, instances = MemoryBlobStore(64 * MIB), Instances()
    functions = ("sha256", "blake3")
    splitter = Splitter(blobs, MemoryRecords(MIB), instances, functions)
    channel = await start(
        CapabilitiesService(Served(4 * MIB, False, chunking=True), instances).service(),
        CasService(blobs, instances, functions, splitter=splitter).service(),
    )
    return Client(foreign, channel, blobs)


@pytest.mark.parametrize("function", [FAST, REP_MAX])
async def test_a_blob_is_cut_as_its_client_would_cut_it(client: Client, function: int) -> None:
    """The announced parameters give the same chunks; all of them are stored."""
    digest = await client.put(BIG)
    answer = await client.split(digest, function)
    assert answer.chunking_function == function
    sizes = [chunk.size_bytes for chunk in answer.chunk_digests]
    assert sizes == list(lengths((await client.chunkers())[function], BIG))
    assert len(sizes) > 1
    assert await client.joined(answer.chunk_digests) == BIG
    assert await client.split(digest, function) == answer


async def test_the_function_that_is_used_is_told(client: Client) -> None:
    """Where a client leaves it open, or asks for one that is not known, FAST_CDC_2020 it is."""
    digest = await client.put(BIG, "blake3")
    for wanted in (0, 77):
        answer = await client.split(digest, wanted, function=9)
        assert answer.chunking_function == FAST
        assert await client.joined(answer.chunk_digests, "blake3") == BIG


async def test_small_blobs_are_one_chunk(client: Client) -> None:
    """Clients do not cut what is below the largest chunk, and nor does the server."""
    small = BIG[: 2 * MIB - 1]
    digest = await client.put(small)
    assert list((await client.split(digest, FAST)).chunk_digests) == [digest]
    tiny = await client.put(b"tiny")
    assert list((await client.split(tiny, REP_MAX)).chunk_digests) == [tiny]
    assert list((await client.split(client.digest(b""))).chunk_digests) == []


async def test_a_blob_that_is_not_there(client: Client) -> None:
    """NOT_FOUND, so that the client sends it whole."""
    request = client.re.SplitBlobRequest(blob_digest=client.digest(BIG))
    assert (await refused(client.cas.SplitBlob, request))[0] == "NOT_FOUND"


@pytest.mark.no_cover
@pytest.mark.parametrize("function", [FAST, REP_MAX])
async def test_an_edit_sends_what_is_new(client: Client, function: int) -> None:
    """After a change in the middle, few bytes travel; the blob is whole and known by its cut."""
    chunker = (await client.chunkers())[function]
    assert await client.upload(BIG, chunker, function) == len(BIG)
    edited = BIG[: MIB // 2] + b"an edit" + BIG[MIB // 2 :]
    sent = await client.upload(edited, chunker, function)
    assert 0 < sent < len(edited) * 0.75
    assert await client.blobs.get(digest_of(edited)) == edited
    answer = await client.split(client.digest(edited), function)
    assert [c.size_bytes for c in answer.chunk_digests] == list(lengths(chunker, edited))
    assert await client.upload(edited, chunker, function) == 0


async def test_splicing_is_verified(client: Client) -> None:
    """Wrong order, wrong size and absent chunks; what was refused is not there."""
    one, two = await client.put(b"one"), await client.put(b"two")
    request = client.re.SpliceBlobRequest(
        blob_digest=client.digest(b"onetwo"), chunk_digests=[two, one]
    )
    assert (await refused(client.cas.SpliceBlob, request))[0] == "INVALID_ARGUMENT"
    del request.chunk_digests[:]
    request.chunk_digests.append(one)
    code, message = await refused(client.cas.SpliceBlob, request)
    assert code == "INVALID_ARGUMENT"
    assert "3 bytes together" in message
    request.chunk_digests.append(client.digest(b"TWO"))
    code, message = await refused(client.cas.SpliceBlob, request)
    assert code == "NOT_FOUND"
    assert digest_of(b"TWO").hash in message
    find = client.re.FindMissingBlobsRequest(blob_digests=[request.blob_digest])
    assert len((await ask(client.cas.FindMissingBlobs, find)).missing_blob_digests) == 1
    request.chunk_digests[1].CopyFrom(two)
    await ask(client.cas.SpliceBlob, request)
    assert await client.blobs.get(digest_of(b"onetwo")) == b"onetwo"
