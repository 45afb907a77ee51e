"""Compressed blobs on the wire: zstd and deflate, both ways, in bounded memory.

`deflate` is raw RFC 1951 data, zstd any number of frames (RFC 8878). A few bytes can stand for
gigabytes; so what a decompressor gives out is checked against the size that the blob's digest
names while it grows, and input is fed in slices that bound what one step may give.
"""

import zlib
from collections.abc import Iterator
from typing import Protocol

import zstandard

from builder.base.errors import InvalidArgumentError

ZSTD_LEVEL = 1  # on the way out speed counts, and what is kept of it gets no smaller by much
WINDOW_BYTES = 8 * 1024 * 1024  # what level 19 uses; more would be memory for each upload
SLACK = 128 * 1024  # bytes of frames, skippable ones among it, beyond those of the blob
SLICE = 4096  # bytes of input to a step; a zstd block of 4 bytes may give 128 KiB


class Decompressor(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes give. Raises InvalidArgumentError for what is not compressed data."""
        ...

    def finish(self) -> None:
        """Raises InvalidArgumentError if the data ended in the middle."""
        ...


class Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def compressor(name: str, size_bytes: int = -1) -> Compressor:
    """An incremental compressor; `size_bytes` of the plain data, if known."""
    if name == "zstd":
        return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj(size=size_bytes)
    if name == "deflate":
        return zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    raise InvalidArgumentError(f"compressor {name} is not served here")


def decompressor(name: str, size_bytes: int) -> Decompressor:
    """An incremental decompressor of data that must give exactly `size_bytes`."""
    if name == "zstd":
        return _Zstd(size_bytes)
    if name == "deflate":
        return _Deflate(size_bytes)
    raise InvalidArgumentError(f"compressor {name} is not served here")


def compressed(name: str, data: bytes) -> bytes:
    state = compressor(name, len(data))
    return state.compress(data) + state.flush()


def decompressed(name: str, data: bytes, size_bytes: int) -> bytes:
    """The plain bytes. Raises InvalidArgumentError unless they are `size_bytes`."""
    state = decompressor(name, size_bytes)
    plain = b"".join(state.feed(data))
    state.finish()
    return plain


class _Bounded:
    """Counts what came out."""

    def __init__(self, size_bytes: int) -> None:
        self._size = size_bytes
        self._given = 0

    def count(self, plain: bytes) -> bytes:
        self._given += len(plain)
        if self._given > self._size:
            raise InvalidArgumentError(
                f"the compressed data gives more than the {self._size} bytes that the digest names"
            )
        return plain


class _Zstd(_Bounded):
    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._factory = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
        self._frame = self._factory.decompressobj()
        self._inside = False
        self._left = size_bytes + size_bytes // 8 + SLACK  # compressed bytes that may come

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._left -= len(data)
        if self._left < 0:
            raise InvalidArgumentError("the zstd data is much longer than what it stands for")
        for start in range(0, len(data), SLICE):
            rest = data[start : start + SLICE]
            while rest:
                if self._frame.eof:
                    self._frame = self._factory.decompressobj()
                try:
                    plain = self._frame.decompress(rest)
                except zstandard.ZstdError as error:
                    raise InvalidArgumentError(f"the data is not zstd: {error}") from None
                rest = self._frame.unused_data if self._frame.eof else b""
                self._inside = not self._frame.eof
                if plain:
                    yield self.count(plain)

    def finish(self) -> None:
        if self._inside:
            raise InvalidArgumentError("the zstd data ends in the middle of a frame")


class _Deflate(_Bounded):
    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), SLICE):
            if self._stream.eof:
                raise InvalidArgumentError("there are bytes after the end of the deflate data")
            try:
                plain = self._stream.decompress(data[start : start + SLICE])
            except zlib.error as error:
                raise InvalidArgumentError(f"the data is not deflate: {error}") from None
            if self._stream.unused_data:
                raise InvalidArgumentError("there are bytes after the end of the deflate data")
            if plain:
                yield self.count(plain)

    def finish(self) -> None:
        if not self._stream.eof:
            raise InvalidArgumentError("the deflate data ends too early")
