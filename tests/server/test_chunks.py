"""The quick parser of WriteRequests says what the general one says."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import bytestream_pb2 as bs
from builder.server.chunks import (
    WORTH_BYTES,
    WORTH_PARTS,
    ChunkRuns,
    WriteChunk,
    first_chunk,
    following,
    next_chunk,
    parse_chunk,
    pieces_chunk,
    plain_chunk,
)
from builder.wire.runs import Begin
from tests.server.direct import DirectCall


@given(
    st.text(max_size=40), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.binary(max_size=300)
)
@example("", 0, False, b"")
@example("ä/blobs", 2**62, True, bytes(WORTH_BYTES))
def test_messages_are_taken_apart(name: str, offset: int, finish: bool, data: bytes) -> None:
    """Every message that the general parser makes is taken apart to the same values."""
    message = bs.WriteRequest(
        resource_name=name, write_offset=offset, finish_write=finish, data=data
    ).SerializeToString()
    expected = WriteChunk(name, offset, finish, (data,))
    assert parse_chunk(message) == expected
    if offset >= 0:
        assert plain_chunk(message) == expected


def said(chunk: WriteChunk) -> tuple[str, int, bool, bytes]:
    return chunk.resource_name, chunk.write_offset, chunk.finish_write, chunk.joined()


def general(message: bytes) -> tuple[object, ...] | None:
    try:
        one = bs.WriteRequest.FromString(message)
    except Exception:  # DecodeError of whichever runtime
        return None
    return one.resource_name, one.write_offset, one.finish_write, one.data


@given(st.binary(max_size=60))
@example(b"\x52\x05ab")  # cut short
@example(b"\x0a\x01\xff")  # no UTF-8
@example(b"\x0a\x01a\x0a\x01b\x52\x01x\x52\x01y")  # the last one of a field counts
@example(b"\x18\x02\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
@example(b"\x20\x01\x52\x01x")  # an unknown field
@example(b"\x50\x01")  # the data's number with another wire type
def test_any_bytes_mean_the_same_to_both(message: bytes) -> None:
    """What the quick parser takes, the general one takes too, and it means the same."""
    expected = general(message)
    try:
        quick = plain_chunk(message)
    except (ValueError, IndexError):
        pass  # left to the general parser
    else:
        assert said(quick) == expected
    if expected is None:
        with pytest.raises(InvalidArgumentError):
            parse_chunk(message)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
@example(b"\x10\x01\x52\x05abcde", [6])  # the data goes on in the second piece
@example(b"\x0a\x05abcde", [4])  # a name does
@example(b"\x52\x05abcde\x18\x01", [4])  # something comes after the data
@example(b"\x52\x05abcde\x0a\x02ab", [8])
@example(b"\x52\x85\x00abcde", [2])  # the data's length is cut
def test_pieces_mean_what_the_whole_means(message: bytes, cuts: list[int]) -> None:
    """Wherever a message is cut, what is made of its pieces is what the whole says."""
    places = [0, *sorted(min(cut, len(message)) for cut in cuts), len(message)]
    pieces = [message[a:b] for a, b in pairwise(places)]
    try:
        found = pieces_chunk(pieces)
    except (ValueError, IndexError):
        return  # joined, and left to the general parser
    assert said(found) == general(message)
    assert found.size_bytes == len(found.joined())


async def test_a_call_in_pieces_is_read_to_its_end() -> None:
    """The data of a large request stays in the pieces that came, and is what was sent."""
    data = bytes(range(251)) * 400
    call = DirectCall("write")
    for offset in (0, len(data)):
        request = bs.WriteRequest(resource_name="a", write_offset=offset, data=data)
        await call.requests_in.send(request.SerializeToString())
    call.requests_in.close()
    first, second = await first_chunk(call), await next_chunk(call)
    assert second is not None
    assert len(first.data) > 1
    assert (first.write_offset, first.joined()) == (0, data)
    assert (second.write_offset, second.joined()) == (len(data), data)
    assert await next_chunk(call) is None
    with pytest.raises(InvalidArgumentError, match="at least one"):
        await first_chunk(call)


@given(
    st.integers(0, 2**40),
    st.binary(min_size=60, max_size=400),
    st.integers(30, 50),
    st.text(max_size=3),
    st.booleans(),
)
def test_what_follows_is_nothing_but_data(
    offset: int, data: bytes, cut: int, name: str, finish: bool
) -> None:
    """Data for the offset that is expected is told from every other message."""
    request = bs.WriteRequest(
        resource_name=name, write_offset=offset, finish_write=finish, data=data
    )
    message = request.SerializeToString()
    pieces = [message[:cut], message[cut:]]
    found = following(pieces, offset)
    if name or finish or not offset:
        assert found is None
    else:
        assert found is not None
        assert b"".join(found) == data
    assert following(pieces, offset + 1) is None
    assert following([message], offset) is None
    assert following([message[:cut], message[cut:-1]], offset) is None


@pytest.mark.parametrize("offset", [1, 127, 128, 1 << 20, 1 << 40])
@pytest.mark.parametrize("size", [1, 127, 128, 70_000])
def test_runs_are_read_and_written_as_clients_write(offset: int, size: int) -> None:
    """What `write` begins is a WriteRequest with those data, and reads as what it is."""
    form = ChunkRuns()
    data = bytes(size)
    whole = bs.WriteRequest(write_offset=offset, data=data).SerializeToString()
    start = form.write(offset, size, b"", False)
    assert start + data == whole
    assert form.read(memoryview(b"ab" + whole), 2, len(whole)) == Begin(offset, 2 + len(start))
    assert form.read(memoryview(start), 0, len(whole)) == Begin(offset, len(start))
    for octets in range(len(start)):
        assert form.read(memoryview(start[:octets]), 0, len(whole)) is None


@pytest.mark.parametrize("name", ["", "uploads/1/blobs/ä/5"])
@pytest.mark.parametrize("offset", [0, 300])
@pytest.mark.parametrize("finish", [False, True])
def test_a_large_request_may_have_a_name_and_be_the_last(
    name: str, offset: int, finish: bool
) -> None:
    """It is told in parts: its name with the first, that it is the last with the last."""
    form = ChunkRuns()
    data = bytes(WORTH_PARTS)
    whole = bs.WriteRequest(
        resource_name=name, write_offset=offset, finish_write=finish, data=data
    ).SerializeToString()
    found = form.read(memoryview(whole), 0, len(whole))
    assert found is not None
    assert (found.position, len(whole) - found.at, found.is_last) == (offset, len(data), finish)
    first = parse_chunk(form.write(offset, 5, found.about, False) + data[:5])
    assert said(first) == (name, offset, False, data[:5])
    last = parse_chunk(form.write(offset + 5, len(data) - 5, b"", True) + data[5:])
    assert said(last) == ("", offset + 5, True, data[5:])
    for octets in range(found.at):
        assert form.read(memoryview(whole[:octets]), 0, len(whole)) is None


def test_runs_are_of_nothing_but_data() -> None:
    """Small requests with a name or an end; with nothing, something after the data, or less than
    they say."""
    form = ChunkRuns()
    for request in (
        bs.WriteRequest(resource_name="name", write_offset=5, data=b"data"),
        bs.WriteRequest(write_offset=5, finish_write=True, data=b"data"),
        bs.WriteRequest(write_offset=5),
    ):
        message = request.SerializeToString()
        assert form.read(memoryview(message), 0, len(message)) is None
    message = bs.WriteRequest(write_offset=5, data=b"data").SerializeToString()
    assert form.read(memoryview(message + b"\x18\x01"), 0, len(message) + 2) is None
    assert form.read(memoryview(message[:-1]), 0, len(message) - 1) is None
    nothing = form.write(5, 0, b"", False)
    assert form.read(memoryview(nothing), 0, len(nothing)) is None
