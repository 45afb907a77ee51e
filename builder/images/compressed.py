"""A layer's bytes, unpacked and counted: gzip, zstd or neither, by how they begin.

Who reads on the other side asks for exact numbers of bytes; what is unpacked ahead of that is
bounded, however small the bytes are that stand for it.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import IO

import zstandard

from builder.images.errors import HostileLayerError

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
PIECE = 1 << 20
MOST_WINDOW = 1 << 27  # of zstd: what it has to keep in memory


class LayerBytes:
    """The tar archive in a layer's file. `spent(n)` is told of all bytes that come out."""

    def __init__(self, file: IO[bytes], algorithm: str, spent: Callable[[int], None]) -> None:
        self._pieces = _unpacked(file)
        self._hash = hashlib.new(algorithm)
        self._algorithm, self._spent = algorithm, spent
        self._ahead = b""

    def read(self, size: int) -> bytes:
        """So many bytes; fewer at the end only. Raises HostileLayerError."""
        while len(self._ahead) < size:
            if not (piece := self._next()):
                break
            self._ahead += piece
        found, self._ahead = self._ahead[:size], self._ahead[size:]
        return found

    def diff_id(self) -> str:
        """The digest of everything, to the end. Raises HostileLayerError."""
        while self._next():
            pass
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def _next(self) -> bytes:
        try:
            piece = next(self._pieces, b"")
        except (zlib.error, zstandard.ZstdError) as error:
            raise HostileLayerError(f"the layer cannot be decompressed: {error}") from None
        self._spent(len(piece))
        self._hash.update(piece)
        return piece


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    start = file.read(4)
    file.seek(0)
    if start.startswith(GZIP):
        return _gzip(file)
    if start == ZSTD:
        return _zstd(file)
    return iter(lambda: file.read(PIECE), b"")


def _gzip(file: IO[bytes]) -> Iterator[bytes]:
    """Of one member or of several."""
    packed = file.read(PIECE)
    while packed:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if not packed and not (packed := file.read(PIECE)):
                raise HostileLayerError("the layer ends in the middle of its compressed data")
            piece = member.decompress(packed, PIECE)
            packed = member.unconsumed_tail
            if piece:
                yield piece
        packed = (member.unused_data or file.read(PIECE)).lstrip(b"\0")


def _zstd(file: IO[bytes]) -> Iterator[bytes]:
    frames = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW)
    with frames.stream_reader(file, read_across_frames=True, closefd=False) as reader:
        while piece := reader.read(PIECE):
            yield piece
