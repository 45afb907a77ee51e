"""What one call of a write brings, and where its next request begins.

The first request's offset counts bytes of the blob, compressed or not. Those after it go on from
there by the bytes that came: "Note that this mixes an uncompressed offset with a compressed byte
length, which is nonsensical, but it is done to fit the semantics of the existing ByteStream
protocol" (REAPI v2, `Write`).
"""

from collections.abc import Iterator, Sequence

from builder.net.rpc import Buffer
from builder.reapi import compression


class Intake:
    """A call whose bytes go to the upload as they come; `expected` is the next request's offset."""

    def __init__(self, start: int) -> None:
        self.expected = start

    def pieces(self, data: Sequence[Buffer]) -> Iterator[Sequence[Buffer]]:
        """What the data of one request adds to the upload."""
        self.expected += sum(map(len, data))
        yield data

    def finish(self) -> None:
        """Raises InvalidArgumentError if the data ended in the middle."""


class Unpacking(Intake):
    """A call whose bytes are decompressed; they have to give so many as `size_bytes` yet."""

    def __init__(self, start: int, compressor: str, size_bytes: int) -> None:
        super().__init__(start)
        self._state = compression.decompressor(compressor, size_bytes)

    def pieces(self, data: Sequence[Buffer]) -> Iterator[Sequence[Buffer]]:
        """Raises InvalidArgumentError for what is not compressed data, or gives too much."""
        self.expected += sum(map(len, data))
        for plain in self._state.feed(b"".join(data)):
            yield (plain,)

    def finish(self) -> None:
        self._state.finish()
