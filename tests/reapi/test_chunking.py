"""Vectors: lengths over S, the SHA-256 hashes of the counters 0, 1, 2 ... as 8 bytes, joined."""

import sys
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.base.errors import InvalidArgumentError
from builder.reapi.chunking import Chunker, FastCdc2020, RepMaxCdc, RepMaxCutter, lengths
from builder.reapi.gear import (
    GEAR,
    WINDOW,
    Largest,
    array_largest,
    fastest_largest,
    plain_largest,
)

S = b"".join(sha256(n.to_bytes(8)).digest() for n in range(2048))


def test_the_sample_is_the_sample() -> None:
    """Its hash is known, so the vectors below are about the same bytes."""
    digest = sha256(S).hexdigest()
    assert (digest[:8], digest[-6:]) == ("980c5d40", "b21578")


def test_the_gear_table() -> None:
    """Three of its values as published."""
    assert (GEAR[0], GEAR[1], GEAR[253]) == (
        0x3B5D3C7D207E37DC,
        0x784D68BA91123086,
        0xEF14D0D86BF1A22C,
    )


def test_fast_cdc_2020() -> None:
    """The vector for an average of 4 KiB."""
    wanted = "6479 4103 5600 4891 5744 6104 5790 4684 2228 4975 5114 6345 3479"
    assert list(lengths(FastCdc2020(4096), S)) == [int(n) for n in wanted.split()]


def repeated(data: bytes, minimum: int, horizon: int, *way: Largest | int) -> list[int]:
    """The chunks of REP_MAX_CDC, by a given way to the largest hash."""
    chunker, cutter, found = RepMaxCdc(minimum, horizon), RepMaxCutter(minimum, *way), []
    while (at := sum(found)) < len(data):
        found.append(cutter.cut(memoryview(data)[at : at + chunker.lookahead]))
    return found


WAYS = [(plain_largest, 1024), (array_largest(), 1024), (array_largest(), 16 * 1024)]


@pytest.mark.parametrize("way", WAYS)
def test_rep_max_cdc(way: tuple[Largest, int]) -> None:
    """The vector for a minimum of 2 KiB and a horizon of eight times that."""
    wanted = (
        "3727 2836 2474 2250 3579 2982 2049 2530 3294 2324 4010 2088 2285 3023 3184 2174 "
        "2268 2626 2154 2360 2075 2295 2935 4014"
    )
    assert repeated(S, 2048, 16384, *way) == [int(n) for n in wanted.split()]
    assert list(lengths(RepMaxCdc(2048, 16384), S)) == [int(n) for n in wanted.split()]


def test_rep_max_cdc_without_a_horizon_is_uniform() -> None:
    """There is only one position to choose from."""
    assert list(lengths(RepMaxCdc(2048, 0), S)) == [2048] * 32


@given(st.binary(min_size=WINDOW, max_size=1000), st.integers(1, 40))
def test_the_largest_hash_is_the_same_by_either_way(data: bytes, repeat: int) -> None:
    """And its first position, where there are several."""
    assert array_largest()(data * repeat) == plain_largest(data * repeat)


@given(
    st.lists(st.binary(max_size=700) | st.integers(0, 3000).map(bytes), max_size=8).map(b"".join),
    st.integers(64, 300),
    st.integers(0, 2000),
)
def test_rep_max_cdc_is_the_same_by_either_way(data: bytes, minimum: int, horizon: int) -> None:
    """Also where content repeats itself, so that hashes are equal."""
    plain = repeated(data, minimum, horizon, plain_largest, 128)
    assert plain == repeated(data, minimum, horizon, array_largest(), 1024)
    assert plain == list(repeated_as_published(data, minimum, horizon))


def repeated_as_published(data: bytes, minimum: int, horizon: int) -> Iterator[int]:
    """REP_MAX_CDC by its definition: nothing is remembered."""
    while data:
        length = min(len(data), 2 * minimum + horizon)
        if length >= 2 * minimum:
            length -= minimum
            while (offset := plain_largest(data[minimum - WINDOW : length])[1]) >= minimum:
                length = offset
            length = minimum + offset
        yield length
        data = data[length:]


def test_without_numpy_there_is_the_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no dependency."""
    assert fastest_largest()[0] is not plain_largest
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert fastest_largest()[0] is plain_largest


MASKS = {8: 0x1800035300, 12: 0xD90103530000, 14: 0xD90313530000, 18: 0xD90707537000}


def plainly(data: bytes, average: int, seed: int) -> list[int]:
    """FAST_CDC_2020 as it is published: a loop over bytes, at even positions."""
    found, at, power = [], 0, average.bit_length() - 1
    while at < len(data):
        view = data[at : at + 4 * average]
        found.append(_first_cut(view, average, power, tuple(value ^ seed for value in GEAR)))
        at += found[-1]
    return found


def _first_cut(view: bytes, average: int, power: int, gear: tuple[int, ...]) -> int:
    minimum, size, value = average // 4, len(view), 0
    if size <= minimum:
        return size
    middle, end = min(average, size) & ~1, size & ~1
    for start, stop, mask in (
        (minimum & ~1, middle, MASKS[power + 2]),
        (middle, end, MASKS[power - 2]),
    ):
        for n in range(start, stop):
            value = ((value << 1) + gear[view[n]]) & (1 << 64) - 1
            if not value & mask:
                return n
    return size


@pytest.mark.parametrize("average", [1024, 65_536])
@pytest.mark.parametrize("seed", [0, 666])
def test_fast_cdc_2020_is_the_plain_loop(average: int, seed: int) -> None:
    """Random bytes, equal bytes, and both, of sizes around each bound."""
    random = Random(average + seed)
    for size in (0, 1, average // 4, average // 4 + 1, average, 3 * average + 1, 200_001):
        for data in (
            random.randbytes(size),
            bytes(size),
            bytes(size // 2) + random.randbytes(size),
        ):
            assert list(lengths(FastCdc2020(average, seed), data)) == plainly(data, average, seed)


@given(st.binary(max_size=20000), st.integers(0, 3))
def test_chunks_are_the_whole_and_of_the_right_size(data: bytes, repeat: int) -> None:
    """Nothing lost; every chunk within its bounds, but the last one of FAST_CDC_2020."""
    data = data * (repeat + 1)
    fast = list(lengths(FastCdc2020(1024), data))
    assert sum(fast) == len(data)
    assert all(256 <= n <= 4096 for n in fast[:-1])
    maxima = list(lengths(RepMaxCdc(64, 512), data))
    assert sum(maxima) == len(data)
    assert all(64 <= n < 128 for n in maxima[:-1])
    assert len(maxima) <= 1 or 64 <= maxima[-1] < 128


def test_an_edit_moves_few_boundaries() -> None:
    """After a change at the front, the chunks at the end are the same."""
    chunkers: tuple[Chunker, ...] = (FastCdc2020(1024), RepMaxCdc(512, 4096))
    for chunker in chunkers:
        before, after = list(lengths(chunker, S)), list(lengths(chunker, b"edit" + S))
        assert list(islice(reversed(before), 20)) == list(islice(reversed(after), 20))


def test_a_seed_moves_the_boundaries() -> None:
    """So that chunk sizes do not tell what the content is."""
    assert list(lengths(FastCdc2020(4096, 666), S)) != list(lengths(FastCdc2020(4096), S))


@pytest.mark.parametrize("average", [512, 3000, 2 << 20])
def test_fast_cdc_bounds(average: int) -> None:
    """Only powers of two within the bounds of the specification."""
    with pytest.raises(InvalidArgumentError, match=str(average)):
        FastCdc2020(average)


@pytest.mark.parametrize(("minimum", "horizon"), [(63, 0), (64, -1)])
def test_rep_max_bounds(minimum: int, horizon: int) -> None:
    """The window has to fit into the minimum."""
    with pytest.raises(InvalidArgumentError, match="at least 64"):
        RepMaxCdc(minimum, horizon)
