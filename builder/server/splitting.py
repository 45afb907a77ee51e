"""SplitBlob and SpliceBlob: a blob as its chunks, and chunks as a blob (REAPI 2.12).

Chunks are blobs like any others, so blobs that have chunks in common share them, and a client
sends or fetches only those that the other side lacks. How a blob was cut is kept as a record, by
function; it holds as long as all chunks are there, and is made anew when they are not. What a
client spliced is kept as its cut, because that is where others will look for it.

Cutting takes long, so one blob at a time is cut, in a thread, and a blob so large that
clients would give up before its end is one chunk, as the API allows.
"""

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing

import trio

from builder.base.digest import Digest, digest_of, is_empty
from builder.base.errors import InvalidArgumentError, NotFoundError
from builder.net.rpc import Context
from builder.reapi.chunking import Chunker, Cutter, FastCdc2020, RepMaxCdc
from builder.reapi.digests import DEFAULT_FUNCTIONS, from_proto, function_of, to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.instances import Instances
from builder.server.messages import parse
from builder.stores.interface import BlobStore
from builder.stores.records import Records

FAST = pb.ChunkingFunction.FAST_CDC_2020
FAST_CDC = FastCdc2020()
REP_MAX = RepMaxCdc()
CHUNKERS: dict[int, Chunker] = {FAST: FAST_CDC, pb.ChunkingFunction.REP_MAX_CDC: REP_MAX}
MOST_CUT_BYTES = (
    256 * 1024 * 1024
)  # half a minute of REP_MAX_CDC without numpy; clients wait for a minute


class Splitter:
    """The two methods, over blobs and records of how they were cut."""

    def __init__(
        self,
        blobs: BlobStore,
        records: Records,
        instances: Instances,
        functions: Sequence[str] = DEFAULT_FUNCTIONS,
    ) -> None:
        self._blobs = blobs
        self._records = records
        self._instances = instances
        self._functions = functions
        self._cutting = trio.Semaphore(1)

    def split(self, data: bytes, _context: Context) -> Awaitable[bytes]:
        request = parse(pb.SplitBlobRequest, data)
        self._instances.check(request.instance_name)
        blob = self._digest(request.blob_digest, request.digest_function)
        wanted = request.chunking_function
        return self._split(blob, wanted if wanted in CHUNKERS else FAST)

    def splice(self, data: bytes, _context: Context) -> Awaitable[bytes]:
        request = parse(pb.SpliceBlobRequest, data)
        self._instances.check(request.instance_name)
        blob = self._digest(request.blob_digest, request.digest_function)
        chunks = [from_proto(chunk, blob.function) for chunk in request.chunk_digests]
        total = sum(chunk.size_bytes for chunk in chunks)
        if total != blob.size_bytes:
            raise InvalidArgumentError(
                f"the {len(chunks)} chunks have {total} bytes together, and {blob} has "
                f"{blob.size_bytes}"
            )
        return self._splice(blob, chunks, request.chunking_function)

    async def _split(self, blob: Digest, function: int) -> bytes:
        if await self._blobs.find_missing([blob]):
            raise NotFoundError(f"blob {blob} is not stored here; upload it first")
        chunker = CHUNKERS[function]
        if not chunker.worth <= blob.size_bytes <= MOST_CUT_BYTES:
            return _answer([blob], function)
        chunks = await self._known(blob, function)
        if chunks is None:
            async with self._cutting:  # and perhaps another call has cut it meanwhile
                chunks = await self._known(blob, function)
                if chunks is None:
                    chunks = await self._cut(blob, chunker)
                    await self._remember(blob, function, chunks)
        return _answer(chunks, function)

    async def _splice(self, blob: Digest, chunks: list[Digest], function: int) -> bytes:
        missing = await self._blobs.find_missing(chunks)
        if missing:
            raise NotFoundError(f"chunk {missing[0]} is not stored here; upload it first")
        joined = self._joined(chunks)
        async with aclosing(joined):
            await self._blobs.write(blob, joined)
        chunker = CHUNKERS.get(function)
        if chunker is not None and chunker.worth <= blob.size_bytes <= MOST_CUT_BYTES:
            await self._remember(blob, function, chunks)
        return pb.SpliceBlobResponse(blob_digest=to_proto(blob)).SerializeToString()

    async def _joined(self, chunks: Sequence[Digest]) -> AsyncGenerator[bytes, None]:
        for chunk in chunks:
            async with aclosing(self._blobs.read(chunk)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _cut(self, blob: Digest, chunker: Chunker) -> list[Digest]:
        cutter, rest, chunks = chunker.cutter(), bytearray(), []
        async with aclosing(self._blobs.read(blob)) as pieces:
            async for piece in pieces:
                rest += piece
                while len(rest) >= chunker.lookahead:
                    chunks.append(await self._chunk(rest, cutter, blob.function))
        while rest:
            chunks.append(await self._chunk(rest, cutter, blob.function))
        return chunks

    async def _chunk(self, rest: bytearray, cutter: Cutter, function: str) -> Digest:
        """Take the first chunk off the rest, and store it."""

        def cut() -> tuple[Digest, bytes]:
            with memoryview(rest) as view:
                data = bytes(view[: cutter.cut(view)])
            return digest_of(data, function), data

        digest, data = await trio.to_thread.run_sync(cut)
        del rest[: len(data)]
        await self._blobs.put(digest, data)
        return digest

    async def _known(self, blob: Digest, function: int) -> list[Digest] | None:
        """How it was cut before, if all those chunks are here; their leases begin again."""
        record = await self._records.get(_space(blob, function), blob.hash)
        if record is None:
            return None
        named = pb.SplitBlobResponse.FromString(record).chunk_digests
        chunks = [from_proto(chunk, blob.function) for chunk in named]
        return None if await self._blobs.find_missing(chunks) else chunks

    async def _remember(self, blob: Digest, function: int, chunks: Sequence[Digest]) -> None:
        await self._records.put(_space(blob, function), blob.hash, _answer(chunks, function))

    def _digest(self, message: pb.Digest, number: int) -> Digest:
        return from_proto(message, function_of(number, message.hash, self._functions))


def _space(blob: Digest, function: int) -> str:
    """Parameters belong to it: other ones are another cut."""
    return f"chunks/{blob.function}/{blob.size_bytes}/{CHUNKERS[function]}"


def _answer(chunks: Sequence[Digest], function: int) -> bytes:
    named = [to_proto(chunk) for chunk in chunks if not is_empty(chunk)]
    kind = pb.ChunkingFunction.Value.Name(function)
    return pb.SplitBlobResponse(chunk_digests=named, chunking_function=kind).SerializeToString()
