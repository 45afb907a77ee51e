"""Compressed blobs: compressed on the way out, decompressed on the way in.

Offsets of a compressed write count compressed bytes; such a write cannot be resumed, so an
interrupted one is unknown to QueryWriteStatus and its client starts again (REAPI v2, `Write`).
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

import trio

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError
from builder.net.rpc import Call
from builder.reapi import compression
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.chunks import WriteChunk, next_chunk
from builder.server.messages import bytes_field
from builder.stores.interface import BlobStore

NUMBERS = {"zstd": pb.Compressor.ZSTD, "deflate": pb.Compressor.DEFLATE}
NAMES = {int(number): name for name, number in NUMBERS.items()}
WORTH_BYTES = 512  # smaller blobs are not worth a frame
IN_PLACE_BYTES = 32 * 1024  # about 0.1 ms of compression
DATA = 10  # the field of ReadResponse


async def send(
    call: Call, compressor: str, pieces: AsyncGenerator[bytes, None], size_bytes: int
) -> None:
    """Answer a read with `pieces`, which are `size_bytes` together, compressed."""
    state = compression.compressor(compressor, size_bytes)
    async with aclosing(pieces):
        async for piece in pieces:
            if len(piece) <= IN_PLACE_BYTES:
                data = state.compress(piece)
            else:
                data = await trio.to_thread.run_sync(state.compress, piece)
            if data:
                await call.send([bytes_field(DATA, len(data)), data])
    if data := state.flush():
        await call.send([bytes_field(DATA, len(data)), data])


class Receiver:
    """One compressed upload; `received` counts its compressed bytes."""

    def __init__(self, call: Call, first: WriteChunk, compressor: str) -> None:
        self._call = call
        self._first = first
        self._compressor = compressor
        self.received = 0

    async def into(self, blobs: BlobStore, digest: Digest) -> None:
        """Raises InvalidArgumentError for wrong offsets, data and bytes."""
        chunks = self._chunks(digest)
        async with aclosing(chunks):
            await blobs.write(digest, chunks)

    async def _chunks(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        state = compression.decompressor(self._compressor, digest.size_bytes)
        request = self._first
        while True:
            if request.resource_name not in ("", self._first.resource_name):
                raise InvalidArgumentError("resource_name changed within one write")
            if request.write_offset != self.received:
                raise InvalidArgumentError(
                    f"write_offset is {request.write_offset} and {self.received} compressed bytes "
                    "are here; a compressed write cannot be resumed, start at offset 0"
                )
            self.received += request.size_bytes
            for chunk in state.feed(request.joined()):
                yield chunk
            if request.finish_write:
                state.finish()
                return
            found = await next_chunk(self._call)
            if found is None:
                raise InvalidArgumentError("the write ended without finish_write")
            request = found


def plain(compressor: int, data: bytes, size_bytes: int, served: frozenset[str]) -> bytes:
    """A batch's blob as it is stored. Raises InvalidArgumentError."""
    if compressor == pb.Compressor.IDENTITY:
        return data
    name = NAMES.get(compressor, f"number {compressor}")
    if name not in served:
        raise InvalidArgumentError(
            f"compressor {name} is not served here; send the blob uncompressed"
        )
    return compression.decompressed(name, data, size_bytes)


def pack(answer: pb.BatchReadBlobsResponse.Response, data: bytes, compressor: str) -> None:
    """Put a blob into a batch's answer, compressed where that makes it smaller."""
    if compressor and len(data) >= WORTH_BYTES:
        small = compression.compressed(compressor, data)
        if len(small) < len(data):
            answer.data = small
            answer.compressor = NUMBERS[compressor]
            return
    answer.data = data


def acceptable(numbers: Iterable[int], served: frozenset[str]) -> str:
    """The first compressor that client and server both want; empty for none."""
    for number in numbers:
        if NAMES.get(number) in served:
            return NAMES[number]
    return ""
