"""Compression on the wire: whole, byte by byte, and what is no compressed data."""

import os
import zlib

import pytest
import zstandard

from builder.base.errors import InvalidArgumentError
from builder.reapi.compression import (
    compressed,
    compressor,
    decompressed,
    decompressor,
)

NAMES = ["zstd", "deflate"]
DATA = [b"", b"x", b"abc" * 5000, os.urandom(300_000), bytes(3_000_000)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", DATA, ids=len)
def test_it_comes_back(name: str, data: bytes) -> None:
    """What was compressed comes back, fed whole or in slices of any size."""
    packed = compressed(name, data)
    assert decompressed(name, packed, len(data)) == data
    for piece in (1, 7, 5000) if len(packed) < 10_000 else (5000,):
        state = decompressor(name, len(data))
        parts = [packed[at : at + piece] for at in range(0, len(packed), piece)]
        assert b"".join(out for part in parts for out in state.feed(part)) == data
        state.finish()


@pytest.mark.parametrize("name", NAMES)
def test_a_tail_or_a_cut_is_refused(name: str) -> None:
    """Data that ends in the middle, and bytes after deflate's end, are refused."""
    packed = compressed(name, b"abc" * 5000)
    for wrong in (packed[:-1], packed[:5], packed + b"\0"):
        with pytest.raises(InvalidArgumentError):
            decompressed(name, wrong, 15_000)


@pytest.mark.parametrize("name", NAMES)
def test_more_than_named_is_refused_early(name: str) -> None:
    """A bomb is refused after a few megabytes of its output, not at its end."""
    packed = compressed(name, bytes(200_000_000))
    state = decompressor(name, 1000)
    with pytest.raises(InvalidArgumentError, match="more than the 1000 bytes"):
        list(state.feed(packed))


@pytest.mark.parametrize("name", NAMES)
def test_garbage_is_refused(name: str) -> None:
    """What was never compressed is refused."""
    with pytest.raises(InvalidArgumentError):
        decompressed(name, b"\xff\xfe\xfd" * 30, 90)


def test_zstd_of_several_frames() -> None:
    """Frames may follow each other (RFC 8878, section 3)."""
    frames = zstandard.compress(b"one") + zstandard.compress(b"two")
    assert decompressed("zstd", frames, 6) == b"onetwo"


def test_deflate_is_raw() -> None:
    """The zlib and gzip wrappers are other formats."""
    assert zlib.decompress(compressed("deflate", b"data"), wbits=-15) == b"data"
    with pytest.raises(InvalidArgumentError):
        decompressed("deflate", zlib.compress(b"data"), 4)


def test_other_names_are_refused() -> None:
    """Brotli is not served."""
    for make in (compressor, decompressor):
        with pytest.raises(InvalidArgumentError, match="brotli"):
            make("brotli", 1)
