"""One call of ByteStream.Write to another server."""

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError, StatusError
from builder.net.rpc import Channel, ClientCall
from builder.reapi.pb import bytestream_pb2 as bs
from builder.reapi.varints import varint

WRITE = "/google.bytestream.ByteStream/Write"
PIECE = 256 * 1024  # bytes of one WriteRequest

Pieces = AsyncGenerator[tuple[memoryview, bool], None]  # each, and whether it is the last one


async def plain_pieces(digest: Digest, chunks: AsyncIterable[bytes]) -> Pieces:
    """Raises InvalidArgumentError unless they are as many bytes as the digest says."""
    sent = 0
    async for chunk in chunks:
        view = memoryview(chunk)
        if sent + len(view) > digest.size_bytes:
            raise InvalidArgumentError(f"more bytes came than {digest} has")
        for start in range(0, len(view), PIECE):
            piece = view[start : start + PIECE]
            sent += len(piece)
            yield piece, sent == digest.size_bytes
    if sent != digest.size_bytes:
        raise InvalidArgumentError(f"{sent} bytes came for {digest}")


async def frame_pieces(frames: AsyncIterable[bytes]) -> Pieces:
    """Nobody knows before which is the last one."""
    held = memoryview(b"")
    async for chunk in frames:
        view = memoryview(chunk)
        for start in range(0, len(view), PIECE):
            if held:
                yield held, False
            held = view[start : start + PIECE]
    yield held, True


async def upload(channel: Channel, name: str, pieces: Pieces) -> tuple[int, int]:
    """How many bytes were sent, and how many the server says that it has; closes `pieces`."""
    async with channel.stream(WRITE) as call, aclosing(pieces):
        sent = await _send(call, name, pieces)
        answer = await call.receive()  # raises if the server refused
    return sent, bs.WriteResponse.FromString(answer or b"").committed_size


async def _send(call: ClientCall, name: str, pieces: Pieces) -> int:
    """Send the whole upload, or what the server wants of it; the number of bytes sent.

    A server may end the call early, because it has the blob or because it refuses it; then a
    send fails, and what it said is waiting to be received.
    """
    sent = 0
    async for piece, last in pieces:
        head = bs.WriteRequest(resource_name=name, write_offset=sent, finish_write=last)
        prefix = head.SerializeToString() + b"\x52" + varint(len(piece))  # field 10, bytes
        try:
            await call.send([prefix, piece])
        except StatusError:
            return sent
        sent += len(piece)
        name = ""
    await call.done_sending()
    return sent
