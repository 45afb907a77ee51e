"""ContentAddressableStorage: find, batches of small blobs, trees, chunks.

Answers come at once where the store can give them at once; a batch that takes longer than a few
milliseconds of work becomes a task, so that it does not hold up the connection's other calls.
Measured by `python -m tests.bench wire`: FindMissingBlobs is one loop in the store's index.
"""

from collections.abc import Awaitable, Sequence

import trio

from builder.base.digest import HEX_LENGTHS, Digest
from builder.base.errors import InvalidArgumentError, StatusError
from builder.net.rpc import Context, Method, Service
from builder.reapi.digest_list import HASH_AT, Split, number_field, read, split
from builder.reapi.digests import DEFAULT_FUNCTIONS, from_proto, function_of
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.status import to_status
from builder.server.batch_reading import BatchReader
from builder.server.compressed import acceptable, pack, plain
from builder.server.instances import Instances
from builder.server.messages import parse
from builder.server.presence import Presence, are_hex, check
from builder.server.splitting import Splitter
from builder.server.tree import TreeReader
from builder.stores.interface import BlobStore, InlineStore

NAME = "build.bazel.remote.execution.v2.ContentAddressableStorage"
MAX_BATCH_BYTES = 4 * 1024 * 1024 - 64 * 1024
INLINE_BLOBS = 64  # of a batch: about 3 ms of small files
INLINE_BYTES = 1024 * 1024  # of a batch: about 2 ms to hash and copy
INLINE_DIGESTS = 4096  # of a search: 4 ms, or 20 when all leases have to be written down
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
        self._presence = None if self._inline is None else Presence(self._inline)
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
                    unary=self.find_missing,
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

    def find_missing(self, data: bytes, _context: Context) -> bytes | Awaitable[bytes]:
        found = split(data)
        number = None if found is None else number_field(found.rest, 3)
        if found is None or number is None or self._presence is None:
            return self._find_parsed(data)
        function = self._function(found, number)
        if function is None:
            return self._find_parsed(data)
        self._instances.check(found.instance)
        unknown = self._presence.unknown(function, found.elements)
        if len(unknown) <= INLINE_DIGESTS:
            missing = self._presence.absent(function, unknown, found.digits)
            if missing is not None:
                return b"".join([one.element for one in missing])
        return self._find_long(self._presence, function, unknown, found.digits)

    async def _find_long(
        self, presence: Presence, function: str, elements: Sequence[bytes], digits: int
    ) -> bytes:
        """A long search, in steps between which others get their turn."""
        answer: list[bytes] = []
        for start in range(0, len(elements), INLINE_DIGESTS):
            some = elements[start : start + INLINE_DIGESTS]
            await trio.lowlevel.checkpoint()
            missing = presence.absent(function, some, digits)
            if missing is None:
                asked = read(some, digits)
                check(asked)
                wanted = {Digest(one.hash, one.size_bytes, function): one for one in asked}
                missing = [wanted[one] for one in await self._blobs.find_missing(wanted)]
            answer += [one.element for one in missing]
        return b"".join(answer)

    def _find_parsed(self, data: bytes) -> bytes | Awaitable[bytes]:
        """A request that is written in another way than clients do, or to another store."""
        request = parse(pb.FindMissingBlobsRequest, data)
        self._instances.check(request.instance_name)
        digests = request.blob_digests
        if not digests:
            return b""
        function = function_of(request.digest_function, digests[0].hash, self._functions)
        if len(digests) <= INLINE_DIGESTS:
            missing = self._absent_now(digests, function)
            if missing is not None:
                return pb.FindMissingBlobsResponse(missing_blob_digests=missing).SerializeToString()
        return self._find_missing(digests, function)

    def batch_update(self, data: bytes, _context: Context) -> bytes | Awaitable[bytes]:
        request = parse(pb.BatchUpdateBlobsRequest, data)
        self._instances.check(request.instance_name)
        self._check_total(sum(len(one.data) for one in request.requests))
        self._check_total(sum(one.digest.size_bytes for one in request.requests))
        if not request.requests:
            return b""
        number, hash_ = request.digest_function, request.requests[0].digest.hash
        function = function_of(number, hash_, self._functions)
        response = pb.BatchUpdateBlobsResponse()
        waiting: list[tuple[pb.BatchUpdateBlobsResponse.Response, pb.Digest, bytes]] = []
        taken = 0
        for count, one in enumerate(request.requests):
            answer = response.responses.add(digest=one.digest)
            taken += one.digest.size_bytes
            try:
                blob = plain(one.compressor, one.data, one.digest.size_bytes, self._compressors)
                late = count >= INLINE_BLOBS or taken > INLINE_BYTES
                if late or not self._put_now(one.digest, function, blob):
                    waiting.append((answer, one.digest, blob))
            except StatusError as error:
                answer.status.CopyFrom(to_status(error))
        if waiting:
            return self._batch_update(response, waiting, function)
        return response.SerializeToString()

    def batch_read(self, data: bytes, _context: Context) -> bytes | Awaitable[bytes]:
        found = split(data)
        number = None if found is None else number_field(found.rest, 4)
        if found is None or number is None or self._reader is None:
            return self._read_parsed(data)
        function = self._function(found, number)
        if function is None:
            return self._read_parsed(data)
        self._instances.check(found.instance)
        try:
            elements = read(found.elements, found.digits)
        except UnicodeDecodeError:
            return self._read_parsed(data)
        if not are_hex(elements):
            return self._read_parsed(data)  # each of them has a status of its own
        self._check_total(sum([one.size_bytes for one in elements]))
        return self._reader.read(elements, function)

    def _function(self, found: Split, number: int) -> str | None:
        """The digest function of a request; None: ask the parsed one, which says what is wrong."""
        hash_ = found.elements[0][HASH_AT : HASH_AT + found.digits].decode("ascii", "replace")
        function = function_of(number, hash_, self._functions)
        return function if HEX_LENGTHS[function] == found.digits else None

    def _read_parsed(self, data: bytes) -> bytes | Awaitable[bytes]:
        """A request for compressed blobs, or one that is written in another way than clients do."""
        request = parse(pb.BatchReadBlobsRequest, data)
        self._instances.check(request.instance_name)
        self._check_total(sum(digest.size_bytes for digest in request.digests))
        if not request.digests:
            return b""
        function = function_of(request.digest_function, request.digests[0].hash, self._functions)
        response = pb.BatchReadBlobsResponse()
        compressor = acceptable(request.acceptable_compressors, self._compressors)
        waiting: list[tuple[pb.BatchReadBlobsResponse.Response, pb.Digest]] = []
        taken = 0
        for count, digest in enumerate(request.digests):
            answer = response.responses.add(digest=digest)
            taken += digest.size_bytes
            try:
                late = count >= INLINE_BLOBS or taken > INLINE_BYTES
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

    async def _find_missing(self, digests: Sequence[pb.Digest], function: str) -> bytes:
        """A long search, in steps between which others get their turn."""
        found: dict[tuple[str, int], pb.Digest | Digest] = {}
        for start in range(0, len(digests), INLINE_DIGESTS):
            some = digests[start : start + INLINE_DIGESTS]
            await trio.lowlevel.checkpoint()
            missing: Sequence[pb.Digest | Digest] | None = self._absent_now(some, function)
            if missing is None:
                wanted = [from_proto(digest, function) for digest in some]
                missing = await self._blobs.find_missing(wanted)
            for digest in missing:
                found.setdefault((digest.hash, digest.size_bytes), digest)
        response = pb.FindMissingBlobsResponse()
        for hash_, size in found:
            response.missing_blob_digests.add(hash=hash_, size_bytes=size)
        return response.SerializeToString()

    def _absent_now(self, digests: Sequence[pb.Digest], function: str) -> list[pb.Digest] | None:
        if self._inline is None:
            return None
        missing = self._inline.absent_nowait(function, digests)
        for digest in missing or ():  # one that is present is well-formed
            from_proto(digest, function)
        return missing

    async def _batch_update(
        self,
        response: pb.BatchUpdateBlobsResponse,
        waiting: list[tuple[pb.BatchUpdateBlobsResponse.Response, pb.Digest, bytes]],
        function: str,
    ) -> bytes:
        for answer, digest, data in waiting:
            try:
                await self._blobs.put(from_proto(digest, function), data)
            except StatusError as error:
                answer.status.CopyFrom(to_status(error))
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
                data = await self._blobs.get(from_proto(digest, function))
                pack(answer, data, compressor)
            except StatusError as error:
                answer.status.CopyFrom(to_status(error))
        await trio.lowlevel.checkpoint()
        return response.SerializeToString()

    def _put_now(self, digest: pb.Digest, function: str, data: bytes) -> bool:
        checked = from_proto(digest, function)
        return self._inline is not None and self._inline.put_nowait(checked, data)

    def _get_now(self, digest: pb.Digest, function: str) -> bytes | None:
        checked = from_proto(digest, function)
        return None if self._inline is None else self._inline.get_nowait(checked)

    def _check_total(self, total: int) -> None:
        if total > self._max_batch:
            raise InvalidArgumentError(
                f"the batch has {total} bytes and {self._max_batch} are allowed "
                "(max_batch_total_size_bytes); send large blobs by ByteStream"
            )
