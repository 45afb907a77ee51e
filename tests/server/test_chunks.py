"""The quick parser of WriteRequests says what the general one says."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import bytestream_pb2 as bs
from builder.server.chunks import WORTH_BYTES, WriteChunk, parse_chunk, plain_chunk


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
    expected = WriteChunk(name, offset, finish, memoryview(data))
    assert parse_chunk(message) == expected
    if offset >= 0:
        assert plain_chunk(message) == expected


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
        name, offset, finish, data = plain_chunk(message)
    except (ValueError, IndexError):
        pass  # left to the general parser
    else:
        assert (name, offset, finish, bytes(data)) == expected
    if expected is None:
        with pytest.raises(InvalidArgumentError):
            parse_chunk(message)
