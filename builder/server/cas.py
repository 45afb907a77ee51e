"""ContentAddressableStorage: find, batches of small blobs, trees, chunks.

Answers come at once where the store can give them at once; a batch that takes longer than a few
milliseconds of work becomes a task, so that it does not hold up the connection's other calls.
"""

from collections.abc import Awaitable, Sequence
from contextlib import aclosing

import trio

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError, StatusError
from builder.net.rpc import Context, Method, Service
from builder.reapi.digests import DEFAULT_FUNCTIONS, from_proto, function_of
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.status import to_status
from builder.server.batch_reading import BatchReader, Wanted
from builder.server.batch_writing import BatchWriter
from builder.server.compressed import acceptable, pack, put_stored
from builder.server.digest_requests import DigestRequests
from builder.server.finding import Finder
from builder.server.instances import Instances
from builder.server.messages import parse
from builder.server.splitting import Splitter
from builder.server.tree import TreeReader
from builder.stores.frames import is_packed, read_packed
from builder.stores.interface import BlobStore, InlineStore, LocalPackedStore

NAME = "build.bazel.remote.execution.v2.ContentAddressableStorage"
MAX_BATCH_BYTES = 4 * 1024 * 1024 - 64 * 1024
INLINE_BLOBS = 64  # of a batch: about 3 ms of small files
INLINE_BYTES = 1024 * 1024  # of a batch: about 2 ms to hash and copy
FUNCTION_FIELD = pb.BatchReadBlobsRequest.DESCRIPTOR.fields_by_name["digest_function"].number
FIND_REQUEST_BYTES = 64 * 1024 * 1024  # clients send 10,000 digests and more, 75 bytes each


class CasService:
    """Blobs for clients; `max_batch_bytes` is what capabilities announce."""

    def __init__(
        self,
        blobs: BlobStore,
        instances: Instances,
        functions: Sequence[str] = DEFAULT_FUNCTIONS,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        compressors: Sequence[str] = (),
        splitter: Splitter | None = None,
    ) -> None:
        self._blobs = blobs
        self._inline = blobs if isinstance(blobs, InlineStore) else None
        self._packed = blobs if isinstance(blobs, LocalPackedStore) else None
        self._requests = DigestRequests(instances, functions)
        self._finder = Finder(blobs, self._requests)
        self._writer = BatchWriter(blobs, frozenset(compressors))
        self._reader = None if self._inline is None else BatchReader(blobs, self._inline)
        self._instances = instances
        self._functions = functions
        self._max_batch = max_batch_bytes
        self._compressors = frozenset(compressors)
        self._trees = TreeReader(blobs, instances, functions)
        self._splitter = splitter

    def service(self) -> Service:
        limit = self._max_batch + 1024 * 1024  # digests and frames around the data
        return Service(
            NAME,
            (
                Method(
                    f"/{NAME}/FindMissingBlobs",
                    unary=self._finder.find,
                    max_request_bytes=FIND_REQUEST_BYTES,
                ),
                Method(
                    f"/{NAME}/BatchUpdateBlobs", unary=self.batch_update, max_request_bytes=limit
                ),
                Method(f"/{NAME}/BatchReadBlobs", unary=self.batch_read),
                Method(f"/{NAME}/GetTree", stream=self._trees.get_tree),
                *self._chunking(),
            ),
        )

    def _chunking(self) -> tuple[Method, ...]:
        if self._splitter is None:
            return ()
        return (
            Method(f"/{NAME}/SplitBlob", unary=self._splitter.split),
            Method(f"/{NAME}/SpliceBlob", unary=self._splitter.splice),
        )

    def batch_update(self, data: bytes, _context: Context) -> bytes | Awaitable[bytes]:
        request = parse(pb.BatchUpdateBlobsRequest, data)
        self._instances.check(request.instance_name)
        self._check_total(sum(len(one.data) for one in request.requests))
        self._check_total(sum(one.digest.size_bytes for one in request.requests))
        if not request.requests:
            return b""
        number, hash_ = request.digest_function, request.requests[0].digest.hash
        function = function_of(number, hash_, self._functions)
        return self._writer.write(request.requests, function)

    def batch_read(self, data: bytes, _context: Context) -> bytes | Awaitable[bytes]:
        found = self._requests.read(data, FUNCTION_FIELD)
        if found is None or self._reader is None:
            return self._read_parsed(data)
        asked, function = found
        keys = asked.keys()
        if keys is None:
            return self._read_parsed(data)  # each of them has a status of its own
        wanted = Wanted(asked.elements(), asked.digits, function, keys)
        self._check_total(sum(wanted.sizes))
        return self._reader.read(wanted)

    def _read_parsed(self, data: bytes) -> bytes | Awaitable[bytes]:
        """A request for compressed blobs, or one that is written in another way than clients do."""
        request = parse(pb.BatchReadBlobsRequest, data)
        self._instances.check(request.instance_name)
        if not request.digests:
            return b""
        function = function_of(request.digest_function, request.digests[0].hash, self._functions)
        self._check_total(sum(digest.size_bytes for digest in request.digests))
        response = pb.BatchReadBlobsResponse()
        compressor = acceptable(request.acceptable_compressors, self._compressors)
        waiting: list[tuple[pb.BatchReadBlobsResponse.Response, pb.Digest]] = []
        taken = 0
        for count, digest in enumerate(request.digests):
            answer = response.responses.add(digest=digest)
            taken += digest.size_bytes
            try:
                late = count >= INLINE_BLOBS or taken > INLINE_BYTES
                if compressor == "zstd" and self._put_stored(answer, from_proto(digest, function)):
                    continue
                found = None if late else self._get_now(digest, function)
                if found is None:
                    waiting.append((answer, digest))
                else:
                    pack(answer, found, compressor)
            except StatusError as error:
                answer.status.CopyFrom(to_status(error))
        if waiting:
            return self._batch_read(response, waiting, function, compressor)
        return response.SerializeToString()

    async def _batch_read(
        self,
        response: pb.BatchReadBlobsResponse,
        waiting: list[tuple[pb.BatchReadBlobsResponse.Response, pb.Digest]],
        function: str,
        compressor: str,
    ) -> bytes:
        for answer, digest in waiting:
            try:
                wanted = from_proto(digest, function)
                if compressor != "zstd" or not await self._put_packed(answer, wanted):
                    pack(answer, await self._blobs.get(wanted), compressor)
            except StatusError as error:
                answer.status.CopyFrom(to_status(error))
        await trio.lowlevel.checkpoint()
        return response.SerializeToString()

    def _put_stored(self, answer: pb.BatchReadBlobsResponse.Response, digest: Digest) -> bool:
        """Whether the blob lies here compressed and is in the answer so."""
        frames = None if self._packed is None else self._packed.get_packed_nowait(digest)
        return frames is not None and put_stored(answer, frames, digest.size_bytes)

    async def _put_packed(self, answer: pb.BatchReadBlobsResponse.Response, digest: Digest) -> bool:
        """The same of a store that has to be waited for."""
        if not await is_packed(self._blobs, digest):
            return False
        async with aclosing(read_packed(self._blobs, digest)) as pieces:
            frames = b"".join([piece async for piece in pieces])
        return put_stored(answer, frames, digest.size_bytes)

    def _get_now(self, digest: pb.Digest, function: str) -> bytes | None:
        checked = from_proto(digest, function)
        return None if self._inline is None else self._inline.get_nowait(checked)

    def _check_total(self, total: int) -> None:
        if total > self._max_batch:
            raise InvalidArgumentError(
                f"the batch has {total} bytes and {self._max_batch} are allowed "
                "(max_batch_total_size_bytes); send large blobs by ByteStream"
            )
