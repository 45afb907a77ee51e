"""The client's side of a connection, frame by frame."""

import pytest

from builder.wire import frames
from builder.wire.client import ClientConnection
from builder.wire.events import (
    ConnectionEnded,
    GoawayReceived,
    MessageReceived,
    ResponseEnded,
    ResponseStarted,
    SettingsReceived,
    StreamReset,
)
from builder.wire.frames import ErrorCode
from builder.wire.limits import Limits
from builder.wire.stream import Stream
from tests.wire.peers import block, error_of, fields, frame, message, read, sent

H, D = frames.HEADERS, frames.DATA
HEAD = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]


def started(**limits: int) -> ClientConnection:
    connection = ClientConnection(Limits(**limits), "host:1", "http", "test/1")
    connection.receive(frames.settings({}), 0.0)
    connection.take(1 << 20)
    return connection


def calling(**limits: int) -> tuple[ClientConnection, Stream]:
    connection = started(**limits)
    stream = connection.open("/t.S/M")
    connection.send_message(stream, b"question")
    connection.finish(stream)
    connection.take(1 << 20)
    return connection, stream


def head(fields_: list, *, end: bool = False, stream_id: int = 1) -> bytes:
    return frame(H, 5 if end else 4, stream_id, block(fields_))


def all_ways(data: bytes) -> list:
    """Events, the same whole, byte by byte and with a tail; streams are all stream 1."""
    ways = []
    for parts in ([data], [data[i : i + 1] for i in range(len(data))], [data + b"\0\0\4"]):
        connection, _ = calling()
        events = [event for part in parts for event in connection.receive(part, 0.0)]
        ways.append([plain(event) for event in events])
    assert ways[0] == ways[1] == ways[2]
    return ways[0]


def plain(event: object) -> object:
    match event:
        case ResponseStarted():
            return "started"
        case MessageReceived(_, body):
            return body
        case ResponseEnded(_, code, text, details):
            return code, text, details
        case StreamReset(_, code, _, unprocessed):
            return "reset", code, unprocessed
        case ConnectionEnded(code):
            return "connection", code
        case _:
            return event


def test_what_the_client_says_first() -> None:
    connection = ClientConnection(Limits(), "host:1", "http", "test/1")
    data = b"".join(connection.take(1000))
    assert data.startswith(frames.PREFACE)
    assert [n for n, *_ in read(data[len(frames.PREFACE) :])] == ["SETTINGS", "WINDOW_UPDATE"]
    assert connection.receive(frames.settings({3: 5}), 0.0) == [SettingsReceived()]
    assert connection.room == 5


def test_a_request_on_the_wire() -> None:
    connection = started()
    stream = connection.open("/t.S/M", {"x-bin": b"\xff", "k": "v"}, timeout_s=1.5)
    connection.send_message(stream, [b"ab", memoryview(b"cd")])
    connection.finish(stream)
    (_, flags, _, payload), (_, data_flags, stream_id, data) = sent(connection)
    assert (flags, data_flags, stream_id, data) == (4, 1, 1, message(b"abcd"))
    assert fields(payload) == {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/t.S/M",
        ":authority": "host:1",
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "test/1",
        "grpc-timeout": "1500000u",
        "x-bin": "/w",
        "k": "v",
    }


def test_a_response() -> None:
    data = head(HEAD) + frame(D, 0, 1, message(b"answer")) + head(OK, end=True)
    assert all_ways(data) == ["started", b"answer", (0, "", b"")]


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (
            head([*HEAD, ("grpc-status", "5"), ("grpc-message", "a%20b")], end=True),
            [(5, "a b", b"")],
        ),
        (
            head([*HEAD, ("grpc-status", "9"), ("grpc-status-details-bin", "CAk")], end=True),
            [(9, "", b"\x08\x09")],
        ),
        (head([(":status", "100")]) + head([*HEAD, *OK], end=True), [(0, "", b"")]),
        (
            head([(":status", "502")], end=True),
            [(14, "host:1 answered HTTP status 502 and no gRPC status: is that a gRPC port?", b"")],
        ),
        (head(HEAD, end=True), [(2, "the server's trailers have no grpc-status", b"")]),
        (
            head(HEAD) + frame(D, 1, 1, message(b"x")),
            ["started", b"x", (2, "the server's trailers have no grpc-status", b"")],
        ),
        (
            head(HEAD) + frame(D, 0, 1, message(b"cut")[:-1]) + head(OK, end=True),
            ["started", (13, "the response ends inside a message", b"")],
        ),
        (head([*HEAD, ("grpc-status", "x")], end=True), [(2, "", b"")]),
        (frames.rst_stream(1, 7), [("reset", 7, True)]),
        (frames.rst_stream(1, 8), [("reset", 8, False)]),
        (head([(":status", "abc")], end=True), [("reset", 1, False)]),
        (head([("x", "y")]), [("reset", 1, False)]),
        (head(HEAD) + head(HEAD), ["started", ("reset", 1, False)]),
        (head(HEAD) + head(OK), ["started", ("reset", 1, False)]),
        (head(HEAD, stream_id=3), [("connection", 1)]),
        (frame(D, 0, 5, b"x"), [("connection", 1)]),
        (frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), [("connection", 1)]),
    ],
)
def test_answers(data: bytes, events: list) -> None:
    assert all_ways(data) == events


def test_message_limits() -> None:
    connection, _ = calling(max_message=10)
    events = connection.receive(head(HEAD) + frame(D, 0, 1, message(bytes(11))), 0.0)
    assert plain(events[-1])[0] == 8
    assert error_of(sent(connection)[-1][3]) == ErrorCode.CANCEL
    assert not connection.streams


def test_goaway_splits_the_calls() -> None:
    """Streams above the last one may be tried again; those below go on."""
    connection, first = calling()
    second = connection.open("/t.S/M")
    connection.take(1 << 20)
    events = connection.receive(frames.goaway(1, 0, b"drain"), 0.0)
    assert events[0] == GoawayReceived(1, 0, b"drain")
    assert (events[1].stream, events[1].unprocessed) == (second, True)
    assert connection.room == 0
    answer = head(HEAD) + frame(D, 0, 1, message(b"x")) + head(OK, end=True)
    assert [plain(e) for e in connection.receive(answer, 0.0)][-1] == (0, "", b"")
    assert first.closed


def test_frames_of_a_cancelled_call_are_ignored() -> None:
    connection, stream = calling()
    connection.reset(stream, ErrorCode.CANCEL)
    sent(connection)
    late = head(HEAD) + frame(D, 0, 1, message(b"x")) + head(OK, end=True)
    assert connection.receive(late + frames.rst_stream(1, 0), 0.0) == []
    assert sent(connection) == []


def test_an_early_status_stops_sending() -> None:
    """What is still queued is dropped, and the server is told."""
    connection = started()
    stream = connection.open("/t.S/M")
    connection.send_message(stream, bytes(1_000_000))
    connection.take(1 << 20)
    assert stream.queued
    data = head([*HEAD, ("grpc-status", "8")], end=True)
    assert plain(connection.receive(data, 0.0)[0])[0] == 8
    assert [(n, error_of(p)) for n, _, _, p in sent(connection)] == [
        ("RST_STREAM", ErrorCode.CANCEL)
    ]
    assert connection.sender.backlog == 0


def test_blocks_of_paths_are_bounded() -> None:
    connection = started()
    for number in range(1000):
        connection.reset(connection.open(f"/t.S/M{number}"), 8)
    assert len(connection._blocks) <= 256
