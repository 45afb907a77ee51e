"""Compressed requests: gRPC's compression.md, with bombs bounded and windows kept right."""

import gzip
import zlib

import pytest

from builder.wire import frames
from builder.wire.events import MessageReceived
from builder.wire.inflating import inflate
from tests.wire.peers import block, fields, frame, plain, request, sent, started

H, D = frames.HEADERS, frames.DATA
PACKED = {"gzip": gzip.compress, "deflate": zlib.compress}
TEXT = b"the same words again and again. " * 30  # 960 octets, of a limit of 1000


def packed(body: bytes, flag: int = 1) -> bytes:
    return bytes((flag,)) + len(body).to_bytes(4, "big") + body


def opened(path: str, encoding: str) -> bytes:
    return frame(H, 4, 1, block(request(path, ("grpc-encoding", encoding))))


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("path", ["/t.S/Unary", "/t.S/Stream"])
def test_compressed_messages_come_plain(encoding: str, path: str) -> None:
    """A unary call and a stream, whole and octet by octet."""
    data = opened(path, encoding) + frame(D, 1, 1, packed(PACKED[encoding](TEXT)))
    whole = [plain(event) for event in started().receive(data, 0.0)]
    assert TEXT in [event[-1] for event in whole]
    connection = started()
    slow = [
        event for at in range(len(data)) for event in connection.receive(data[at : at + 1], 0.0)
    ]
    assert [plain(event) for event in slow] == whole


def test_plain_messages_may_come_on_a_compressed_stream() -> None:
    """The flag of each message says what it is."""
    data = opened("/t.S/Stream", "gzip")
    data += frame(D, 0, 1, packed(TEXT, 0) + packed(gzip.compress(b"two")) + packed(b"3", 0))
    events = [plain(event) for event in started().receive(data, 0.0)]
    assert events[1:] == [("message", 1, body) for body in (TEXT, b"two", b"3")]


WRONG = {
    "one more than allowed": (packed(gzip.compress(bytes(1001))), "8"),
    "a bomb": (packed(gzip.compress(bytes(10**6))), "8"),
    "cut": (packed(gzip.compress(TEXT)[:-1]), "13"),
    "with a tail": (packed(gzip.compress(TEXT) + b"tail"), "13"),
    "not gzip": (packed(b"no gzip"), "13"),
    "empty": (packed(b""), "13"),
    "with a flag that nobody knows": (packed(b"", 2), "13"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_decompressed_ends_the_call(wrong: str) -> None:
    """A bomb, a cut or torn message, and a flag that nobody knows: the connection goes on."""
    body, status = WRONG[wrong]
    for path in ("/t.S/Unary", "/t.S/Stream"):
        connection = started()
        connection.receive(opened(path, "gzip") + frame(D, 1, 1, body), 0.0)
        assert fields(sent(connection)[0][3])["grpc-status"] == status
        assert not connection.ended


def test_a_bomb_stops_at_the_limit() -> None:
    """64 MiB of zeros give one octet more than the limit, and no more."""
    bomb = gzip.compress(bytes(1 << 26), 1)
    assert len(inflate(bomb, "gzip", 4096)) == 4097


def test_another_encoding_is_unimplemented_and_the_answer_names_those_that_are() -> None:
    """compression.md: UNIMPLEMENTED, with grpc-accept-encoding."""
    connection = started()
    connection.receive(opened("/t.S/Unary", "br"), 0.0)
    said = fields(sent(connection)[0][3])
    assert (said["grpc-status"], said["grpc-accept-encoding"]) == ("12", "identity,gzip,deflate")


def test_windows_count_what_was_on_the_wire() -> None:
    """Ten thousand octets out of a hundred give the client a hundred back, not ten thousand."""
    connection = started(stream_window=65_535)
    connection.receive(opened("/t.S/Stream", "gzip"), 0.0)
    stream = connection.streams[1]
    for _ in range(2000):
        for event in connection.receive(frame(D, 0, 1, packed(gzip.compress(TEXT))), 0.0):
            assert isinstance(event, MessageReceived)
            connection.consumed(event.stream, len(event.message))
        assert stream.recv_credit + stream.recv_due == 65_535
    assert not stream.wire_sizes
