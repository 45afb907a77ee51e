"""Compressed blobs: as they lie in a store that keeps them so, else compressed on the way out and
decompressed on the way in.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from builder.base.errors import InvalidArgumentError
from builder.net.rpc import Call
from builder.reapi import compression
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.messages import bytes_field
from builder.stores.frames import compressing

NUMBERS = {"zstd": pb.Compressor.ZSTD, "deflate": pb.Compressor.DEFLATE}
NAMES = {int(number): name for name, number in NUMBERS.items()}
WORTH_BYTES = 512  # smaller blobs are not worth a frame
DATA = 10  # the field of ReadResponse


async def send(
    call: Call, compressor: str, pieces: AsyncGenerator[bytes, None], size_bytes: int
) -> None:
    """Answer a read with `pieces`, which are `size_bytes` together, compressed."""
    await send_stored(call, compressing(compressor, pieces, size_bytes))


async def send_stored(call: Call, frames: AsyncGenerator[bytes, None]) -> None:
    """Answer a read with what is compressed already."""
    async with aclosing(frames):
        async for data in frames:
            await call.send([bytes_field(DATA, len(data)), data])


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


def put_stored(answer: pb.BatchReadBlobsResponse.Response, frames: bytes, size_bytes: int) -> bool:
    """Put the frames in which a blob is stored into a batch's answer, if they are smaller."""
    if len(frames) >= size_bytes:
        return False
    answer.data = frames
    answer.compressor = pb.Compressor.ZSTD
    return True


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
