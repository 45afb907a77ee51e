"""Reads that do not wait give the same bytes, whatever is believed of the page cache."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.host.page_cache import is_cached
from builder.stores.segment import Segment
from builder.stores.warm import LONGEST, REGION, REGIONS, TRUSTED_S, WarmReads

MIB = 1 << REGION
DATA = os.urandom(2 * MIB + 5000)


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    """Two megabytes and a bit of a file that has room for ten."""
    path = str(tmp_path / "segment")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.truncate(descriptor, 10 * MIB)
    os.pwrite(descriptor, DATA, 0)
    yield Segment(7, path, descriptor, 10 * MIB, tail=len(DATA))
    os.close(descriptor)


@pytest.mark.parametrize("flags", [0, os.RWF_NOWAIT])
def test_bytes_are_those_of_the_file(segment: Segment, flags: int) -> None:
    """Over the border of two regions and at the tail, asked for the first time and again."""
    reads = WarmReads(flags)
    for now in (100.0, 100.5, 102.0, 50.0):
        for offset, size in ((0, 10), (MIB - 5, 10), (MIB - 1, LONGEST), (len(DATA) - 9, 9)):
            found = reads.read(segment, offset, size, now)
            assert found in (DATA[offset : offset + size], None if flags else b"")


def test_a_region_is_asked_about_once_a_second(segment: Segment) -> None:
    """By the clock that is given, and again when that is set back."""
    reads = WarmReads(0)
    region = 7 << 32 - REGION
    for now, asked in ((100.0, 100.0), (100.9, 100.0), (100.0 + TRUSTED_S, 101.0), (50.0, 50.0)):
        reads.read(segment, 5, 10, now)
        assert reads.warm == {region: asked}


def test_a_region_with_a_hole_is_not_warm(segment: Segment) -> None:
    """Of the last one what is behind the tail does not count; LONGEST into the next one does."""
    descriptor = segment.descriptor
    tells = is_cached(descriptor, 0, 10)
    segment.tail = 10 * MIB
    reads = WarmReads(os.RWF_NOWAIT)
    for region in range(3):
        reads.read(segment, region * MIB, 10, 100.0)
    assert [key & 15 for key in reads.warm] == ([0] if tells else [])
    segment.tail = len(DATA)
    reads = WarmReads(os.RWF_NOWAIT)
    for region in range(3):
        reads.read(segment, region * MIB, 10, 100.0)
    assert [key & 15 for key in reads.warm] == ([0, 1, 2] if tells else [])


def test_what_is_known_is_bounded(segment: Segment) -> None:
    """A store of terabytes that is read everywhere does not fill the memory with regions."""
    reads = WarmReads(0)
    for number in range(REGIONS + 10):
        other = Segment(number, segment.path, segment.descriptor, 10 * MIB, tail=len(DATA))
        assert reads.read(other, 0, 4, 100.0) == DATA[:4]
    assert len(reads.warm) <= REGIONS
