"""Logs as ByteStream resources: those that clients made, and what running actions write."""

from contextlib import aclosing

from builder.base.errors import NotFoundError, OutOfRangeError
from builder.net.rpc import Call
from builder.reapi.pb import bytestream_pb2 as bs
from builder.server.chunks import WriteChunk
from builder.server.live_output import LiveOutput
from builder.server.logstreams import COLLECTION, LogStreams
from builder.server.messages import bytes_field

DATA = 10  # the field of ReadResponse
SEGMENT = f"{COLLECTION}/"


class Logs:
    """Both kinds by their names."""

    def __init__(self, streams: LogStreams, live: LiveOutput | None = None) -> None:
        self._streams = streams
        self._live = live

    def is_log(self, name: str) -> bool:
        """Whether a resource name is that of a log, known or not."""
        return (
            SEGMENT in name
            and "blobs/" not in name  # of an instance that is called so
            and (name.startswith(SEGMENT) or f"/{SEGMENT}" in name)
        )

    async def read(self, call: Call, request: bs.ReadRequest) -> None:
        """Send what there is and what comes, until the log ends or the limit is reached."""
        name, left = request.resource_name, request.read_limit
        if request.read_offset < 0 or left < 0:
            raise OutOfRangeError("read_offset and read_limit are 0 or more")
        live = self._live if self._live is not None and self._live.is_name(name) else None
        source = live or self._streams
        async with aclosing(source.read(name, request.read_offset)) as pieces:
            async for piece in pieces:
                if left and len(piece) >= left:
                    await call.send([bytes_field(DATA, left), piece[:left]])
                    return
                left -= len(piece) if left else 0
                await call.send([bytes_field(DATA, len(piece)), piece])

    async def write(self, call: Call, first: WriteChunk) -> int:
        """The size of the log in the end."""
        if not self._streams.can_write(first.resource_name):
            raise _unknown(first.resource_name)
        return await self._streams.write(first, call)

    def status(self, name: str) -> bytes:
        if not self._streams.can_write(name):
            raise _unknown(name)
        size, finished = self._streams.status(name)
        return bs.QueryWriteStatusResponse(
            committed_size=size, complete=finished
        ).SerializeToString()


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(
        f"{name[:200]!r} is no log that can be written; use write_resource_name of CreateLogStream"
    )
