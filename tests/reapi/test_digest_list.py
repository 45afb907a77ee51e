"""Digests split on the wire are those that protobuf reads, or none."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.reapi.digest_list import (
    ROWS,
    Grid,
    Rows,
    _irregular,
    _regular,
    are_distinct,
    keys_of,
    number_field,
    read,
    sizes_of,
    split,
)
from builder.reapi.pb import remote_execution_pb2 as pb

HEX = "0123456789abcdef"
SIZES = st.integers(0, 2**42 - 1) | st.sampled_from([0, 1, 127, 128, 16383, 16384, 2**21, 2**35])
NAMES = st.sampled_from(["", "main", "a/b", "ünï", "x" * 127])
MOST = 2**63 - 1


def hashes(length: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=length, max_size=length)


@st.composite
def requests(draw: st.DrawFn) -> pb.FindMissingBlobsRequest:
    length = draw(st.sampled_from([32, 40, 64, 96]))
    function = draw(st.sampled_from([*pb.DigestFunction.Value.values()]))
    request = pb.FindMissingBlobsRequest(instance_name=draw(NAMES), digest_function=function)
    for hash_, size in draw(st.lists(st.tuples(hashes(length), SIZES), min_size=1, max_size=8)):
        request.blob_digests.add(hash=hash_, size_bytes=size)
    return request


@given(requests())
def test_what_clients_write_is_split(request: pb.FindMissingBlobsRequest) -> None:
    """Instance, digests and function are those of the message, and the pieces are its bytes."""
    data = request.SerializeToString()
    found = split(data)
    assert found is not None
    assert found.instance == request.instance_name
    assert number_field(found.rest, 3) == request.digest_function
    digests = read(found.asked.elements(), found.asked.digits)
    assert [(d.hash, d.size_bytes) for d in digests] == [
        (d.hash, d.size_bytes) for d in request.blob_digests
    ]
    answer = pb.FindMissingBlobsResponse.FromString(found.asked.joined())
    assert list(answer.missing_blob_digests) == list(request.blob_digests)


@given(st.data(), st.sampled_from([32, 40, 64, 96]), st.sampled_from([0, 1, 300, 20_000, 2**40]))
def test_a_grid_is_what_the_pattern_finds(data: st.DataObject, length: int, size: int) -> None:
    """Or none, whichever octet is another one."""
    request = pb.FindMissingBlobsRequest(digest_function=data.draw(st.sampled_from([0, 9])))
    for hash_ in data.draw(st.lists(hashes(length), min_size=1, max_size=5)):
        request.blob_digests.add(hash=hash_, size_bytes=size)
    written = bytearray(request.SerializeToString())
    whole = _regular(bytes(written), 0, length)
    assert whole is not None
    assert len(whole) == len(request.blob_digests)
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] = data.draw(st.integers(0, 255))
    found = _regular(bytes(written), 0, length)
    if found is not None:
        rows = _irregular(bytes(written), 0, length)
        assert rows is not None
        assert found.elements() == rows.elements()[: len(found)]


def agrees(data: bytes) -> None:
    """Whatever is split is what protobuf reads; it may leave anything to protobuf."""
    found = split(data)
    if found is None:
        return
    function = number_field(found.rest, 3)
    if function is None:
        return
    try:
        digests = read(found.asked.elements(), found.asked.digits)
    except UnicodeDecodeError:
        return  # nor does protobuf take it
    request = pb.FindMissingBlobsRequest.FromString(data)
    assert request.instance_name == found.instance
    assert request.digest_function == function
    assert [(d.hash, d.size_bytes) for d in request.blob_digests] == [
        (d.hash, d.size_bytes) for d in digests
    ]


@given(requests(), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4))
def test_changed_bytes_are_read_as_protobuf_does(
    request: pb.FindMissingBlobsRequest, changes: list[tuple[int, int]]
) -> None:
    """Or not at all."""
    data = bytearray(request.SerializeToString())
    for at, value in changes:
        data[at % len(data)] = value
    agrees(bytes(data))


@given(
    st.lists(
        st.sampled_from(
            [b"\x12\x42\x0a\x40" + b"a" * 64, b"\x12", b"\x0a\x00", b"\x18\x01", b"\x22\x01x", b"a"]
        ),
        max_size=6,
    )
)
def test_pieces_in_any_order_are_read_as_protobuf_does(pieces: list[bytes]) -> None:
    """What lies between two digests is never skipped."""
    agrees(b"".join(pieces))


H = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x0a",
        b"\x0a\x04main",
        b"\x18\x01",
        b"\x12\x00",
        pb.FindMissingBlobsRequest(blob_digests=[pb.Digest(hash=H[:63])]).SerializeToString(),
        pb.FindMissingBlobsRequest(blob_digests=[pb.Digest(hash=H * 2)]).SerializeToString(),
        pb.FindMissingBlobsRequest(blob_digests=[pb.Digest(size_bytes=3)]).SerializeToString(),
        b"\x0a\x02\xff\xff" + b"\x12\x42\x0a\x40" + b"a" * 64,
    ],
)
def test_what_is_left_to_protobuf(data: bytes) -> None:
    """Other shapes, lengths and orders."""
    assert split(data) is None


def test_large_sizes_are_left_to_protobuf() -> None:
    """A size of seven bytes and more, negative ones among them."""
    for size in (2**42, MOST, -1):
        request = pb.FindMissingBlobsRequest(blob_digests=[pb.Digest(hash=H, size_bytes=size)])
        assert split(request.SerializeToString()) is None


def test_mixed_hashes_are_left_to_protobuf() -> None:
    """All hashes of a request have the length of the first."""
    request = pb.FindMissingBlobsRequest(
        blob_digests=[pb.Digest(hash=H), pb.Digest(hash=H[:40]), pb.Digest(hash=H)]
    )
    data = request.SerializeToString()
    found = split(data)
    assert found is None or number_field(found.rest, 3) is None


@pytest.mark.parametrize(
    ("rest", "value"),
    [(b"", 0), (b"\x18\x05", 5), (b"\x18\x85\x01", None), (b"\x20\x05", None), (b"\x18", None)],
)
def test_the_field_after_the_digests(rest: bytes, value: int | None) -> None:
    """None: parse the message."""
    assert number_field(rest, 3) == value


@given(requests())
def test_no_size_is_above_what_the_lengths_allow(request: pb.FindMissingBlobsRequest) -> None:
    """And it is not above the next length of a varint."""
    found = split(request.SerializeToString())
    assert found is not None
    largest = max(sizes_of(found.asked.elements(), found.asked.digits))
    assert largest <= found.asked.at_most() <= max(largest * 128, 127)


@pytest.mark.parametrize("size", [0, 5, 3000])
@pytest.mark.parametrize("function", ["md5", "sha1", "sha256", "sha384"])
def test_a_grid_of_many_rows_is_what_its_rows_are(function: str, size: int) -> None:
    """Whole and in parts, whatever share of the rows is unpacked at once."""
    count = 2 * ROWS + 7
    hashes = [hashlib.new(function, b"%d" % number).hexdigest() for number in range(count)]
    request = pb.FindMissingBlobsRequest(
        blob_digests=[pb.Digest(hash=hash_, size_bytes=size) for hash_ in hashes]
    )
    found = split(request.SerializeToString())
    assert found is not None
    grid, digits = found.asked, len(hashes[0])
    assert isinstance(grid, Grid)
    rows = Rows(grid.elements(), digits)
    assert len(grid) == len(rows) == count
    keys = grid.keys()
    assert keys == rows.keys() == keys_of(rows.elements(), digits)
    assert keys == bytes.fromhex("".join(hashes))
    assert grid.joined() == rows.joined()
    assert set(grid.sample()) <= set(rows.elements())
    for start, stop in ((0, 1), (3, ROWS + 4), (ROWS, count), (count - 1, count + 5)):
        grid_part, rows_part = grid.part(start, stop), rows.part(start, stop)
        assert grid_part.elements() == rows_part.elements()
        assert grid_part.keys() == rows_part.keys()
        assert grid_part.at_most() == rows_part.at_most()
    assert are_distinct(keys, digits)
    assert not are_distinct(keys + keys[: digits // 2], digits)


@pytest.mark.parametrize("bad", ["A", "g", " "])
def test_a_row_that_is_no_hash(bad: str) -> None:
    """The grid has no keys then, wherever the row is."""
    for number in (0, ROWS, 2 * ROWS):
        request = pb.FindMissingBlobsRequest(
            blob_digests=[pb.Digest(hash=H, size_bytes=7)] * (2 * ROWS + 1)
        )
        request.blob_digests[number].hash = H[:63] + bad
        found = split(request.SerializeToString())
        assert found is not None
        assert isinstance(found.asked, Grid)
        assert found.asked.keys() is None
