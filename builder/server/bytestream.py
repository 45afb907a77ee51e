"""ByteStream: blobs of any size, read from any offset, written resumably.

Reads and writes of small blobs are the common case (clients send every blob this way), so they
touch the store once and send once; a read that fits into one frame is answered without a task.
Source: google.bytestream, REAPI v2 resource names.
"""

from collections.abc import Awaitable, Sequence
from contextlib import aclosing
from functools import partial

from builder.base.digest import Digest, is_empty
from builder.base.errors import InvalidArgumentError, NotFoundError, OutOfRangeError
from builder.net.rpc import Call, Context, Method, Service, StreamHandler
from builder.reapi import compression
from builder.reapi.digests import DEFAULT_FUNCTIONS
from builder.reapi.names import BlobName, parse_read, parse_write
from builder.reapi.pb import bytestream_pb2 as bs
from builder.server.chunks import ChunkRuns, first_chunk, parse_chunk
from builder.server.compressed import send, send_stored
from builder.server.instances import Instances
from builder.server.logs import Logs
from builder.server.messages import bytes_field, parse
from builder.server.uploads import Uploads
from builder.stores.frames import read_packed
from builder.stores.interface import PIECE, BlobStore, InlineStore, LocalPackedStore

NAME = "google.bytestream.ByteStream"
DATA = 10  # the field of ReadResponse and WriteRequest
IN_PLACE_BYTES = 16 * 1024 - 16  # of a blob that is read without a task: one DATA frame
SHORT_BYTES = 64 * 1024  # of a message whose blob is written without a task
MAX_CHUNK_BYTES = 16 * 1024 * 1024  # of one WriteRequest


class ByteStreamService:
    """Blobs of a store as resources; `uploads` holds those that are on their way."""

    def __init__(
        self,
        blobs: BlobStore,
        uploads: Uploads,
        instances: Instances,
        functions: Sequence[str] = DEFAULT_FUNCTIONS,
        compressors: Sequence[str] = (),
        logs: Logs | None = None,
    ) -> None:
        self._blobs = blobs
        self._inline = blobs if isinstance(blobs, InlineStore) else None
        self._packed = blobs if isinstance(blobs, LocalPackedStore) else None
        self._uploads = uploads
        self._instances = instances
        self._functions = functions
        self._compressors = ("identity", *compressors)
        self._logs = logs

    def service(self) -> Service:
        return Service(
            NAME,
            (
                Method(f"/{NAME}/Read", single=self.read),
                Method(
                    f"/{NAME}/Write",
                    stream=self.write,
                    short=self.write_short,
                    max_request_bytes=MAX_CHUNK_BYTES,
                    pieces=True,
                    runs=ChunkRuns(),
                ),
                Method(f"/{NAME}/QueryWriteStatus", unary=self.query_write_status),
            ),
        )

    def read(self, data: bytes, _context: Context) -> bytes | StreamHandler:
        request = parse(bs.ReadRequest, data)
        if self._logs is not None and self._logs.is_log(request.resource_name):
            return partial(self._logs.read, request=request)
        name = self._served(parse_read(request.resource_name, self._functions))
        digest, offset = name.digest, request.read_offset
        if request.read_limit < 0:
            raise InvalidArgumentError(f"read_limit is {request.read_limit}; 0 means no limit")
        if not 0 <= offset <= digest.size_bytes:
            raise OutOfRangeError(f"read_offset {offset} is outside of {digest}")
        is_plain = name.compressor == "identity"
        if not is_plain and request.read_limit:
            raise InvalidArgumentError("read_limit has to be 0 when a compressed blob is read")
        if not is_plain and self._packed is not None and _is_whole_zstd(name, offset):
            frames = self._packed.get_packed_nowait(digest)
            if frames is not None and len(frames) <= IN_PLACE_BYTES:
                return bytes_field(DATA, len(frames)) + frames
        if self._inline is not None and digest.size_bytes <= IN_PLACE_BYTES:
            found = self._inline.get_nowait(digest)
            end = offset + request.read_limit if request.read_limit else None
            if found and (piece := found[offset:end]):
                piece = piece if is_plain else compression.compressed(name.compressor, piece)
                return bytes_field(DATA, len(piece)) + piece
        if is_plain:
            return partial(self._read, digest, offset, request.read_limit)
        return partial(self._read_compressed, name, offset)

    async def _read(self, digest: Digest, offset: int, limit: int, call: Call) -> None:
        data = None
        if self._inline is not None and digest.size_bytes <= PIECE:
            data = self._inline.get_nowait(digest)
        if data is not None:
            if piece := memoryview(data)[offset : offset + limit if limit else None]:
                await call.send([bytes_field(DATA, len(piece)), piece])
            return
        pieces = self._blobs.read(digest, offset, limit or None)
        async with aclosing(pieces):
            async for chunk in pieces:
                await call.send([bytes_field(DATA, len(chunk)), chunk])

    def write_short(self, data: bytes, _context: Context) -> bytes | None:
        """A small blob that comes in one message is stored in place, if the store can."""
        first = parse_chunk(data)
        if self._inline is None or len(data) > SHORT_BYTES:
            return None
        if first.write_offset or not first.finish_write or self._is_log(first.resource_name):
            return None
        name = self._served(parse_write(first.resource_name, self._functions))
        if name.digest.size_bytes > SHORT_BYTES:
            return None
        try:
            committed = self._put_now(self._inline, name, first.joined())
        except InvalidArgumentError:
            return None  # which is no error if the blob is here
        if committed is None:
            return None
        return bs.WriteResponse(committed_size=committed).SerializeToString()

    def _put_now(self, inline: InlineStore, name: BlobName, data: bytes) -> int | None:
        """The committed size; None if the store cannot do it at once."""
        digest = name.digest
        if name.compressor == "identity":
            return digest.size_bytes if inline.put_nowait(digest, data) else None
        missing = inline.absent_nowait(digest.function, (digest,))
        if missing is None:
            return None
        if not missing and not is_empty(digest):
            return -1
        packed = self._packed if name.compressor == "zstd" else None
        if packed is not None and packed.put_packed_nowait(digest, data):
            return len(data)
        plain = compression.decompressed(name.compressor, data, digest.size_bytes)
        return len(data) if inline.put_nowait(digest, plain) else None

    async def write(self, call: Call) -> None:
        first = await first_chunk(call)
        if self._logs is not None and self._logs.is_log(first.resource_name):
            committed = await self._logs.write(call, first)
            await call.send(bs.WriteResponse(committed_size=committed).SerializeToString())
            return
        name = self._served(parse_write(first.resource_name, self._functions))
        if await self._present(name.digest):  # early end: the rest of the upload is not wanted
            committed = name.digest.size_bytes if name.compressor == "identity" else -1
        elif name.compressor == "identity" and first.finish_write and not first.write_offset:
            await self._blobs.put(name.digest, b"".join(first.taken()))
            committed = name.digest.size_bytes
        else:
            committed = await self._uploads.receive(first, name.digest, call, name.compressor)
        await call.send(bs.WriteResponse(committed_size=committed).SerializeToString())

    async def _read_compressed(self, name: BlobName, offset: int, call: Call) -> None:
        if _is_whole_zstd(name, offset):
            await send_stored(call, read_packed(self._blobs, name.digest))
            return
        pieces = self._blobs.read(name.digest, offset)
        await send(call, name.compressor, pieces, name.digest.size_bytes - offset)

    def query_write_status(self, data: bytes, _context: Context) -> bytes | Awaitable[bytes]:
        request = parse(bs.QueryWriteStatusRequest, data)
        if self._logs is not None and self._logs.is_log(request.resource_name):
            return self._logs.status(request.resource_name)
        name = self._served(parse_write(request.resource_name, self._functions))
        return self._query(request.resource_name, name.digest)

    async def _query(self, resource: str, digest: Digest) -> bytes:
        if is_empty(digest) or await self._present(digest):
            answer = bs.QueryWriteStatusResponse(committed_size=digest.size_bytes, complete=True)
            return answer.SerializeToString()
        offset = self._uploads.offset(resource)
        if offset is None:
            raise NotFoundError(f"there is no upload {resource[:300]!r}; start at offset 0")
        return bs.QueryWriteStatusResponse(committed_size=offset).SerializeToString()

    async def _present(self, digest: Digest) -> bool:
        if is_empty(digest):
            return False  # nothing to save, and its hash is still to be checked
        if self._inline is not None:
            missing = self._inline.absent_nowait(digest.function, (digest,))
            if missing is not None:
                return not missing
        return not await self._blobs.find_missing([digest])

    def _is_log(self, name: str) -> bool:
        return self._logs is not None and self._logs.is_log(name)

    def _served(self, name: BlobName) -> BlobName:
        self._instances.check(name.instance)
        if name.compressor not in self._compressors:
            raise InvalidArgumentError(
                f"compressor {name.compressor} is not served here; use one of "
                f"{', '.join(self._compressors)}"
            )
        return name


def _is_whole_zstd(name: BlobName, offset: int) -> bool:
    return name.compressor == "zstd" and not offset
