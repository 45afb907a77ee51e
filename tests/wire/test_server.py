"""The server's side of a connection, frame by frame. Sections are those of RFC 9113."""

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.wire import frames
from builder.wire.events import (
    ConnectionEnded,
    SettingsReceived,
    StreamReset,
)
from builder.wire.frames import ErrorCode
from builder.wire.server import ServerConnection
from tests.wire.peers import (
    START,
    block,
    call,
    error_of,
    fields,
    frame,
    message,
    outline,
    plain,
    request,
    sent,
    server,
    started,
    stream_fault,
)

H, D = frames.HEADERS, frames.DATA


def feed_every_way(data: bytes, **limits: int) -> list[list]:
    """Events of the same octets: whole, byte by byte, and with a tail that is cut."""
    ways = []
    for parts in ([data], [data[i : i + 1] for i in range(len(data))], [data + b"\0\0\4"]):
        connection = started(**limits)
        events = [event for part in parts for event in connection.receive(part, 0.0)]
        ways.append([plain(event) for event in events])
    return ways


def all_ways(data: bytes, **limits: int) -> list:
    whole, slow, tailed = feed_every_way(data, **limits)
    assert whole == slow == tailed
    return whole


def fault(data: bytes, **limits: int) -> ErrorCode:
    """The error of the connection that these frames end, told to the owner and to the peer."""
    assert [e for e in all_ways(data, **limits) if e[0] == "connection"]
    connection = started(**limits)
    events = connection.receive(data, 0.0)
    assert isinstance(events[-1], ConnectionEnded)
    name, _, _, payload = sent(connection)[-1]
    assert name == "GOAWAY"
    assert error_of(payload) == events[-1].code
    assert connection.receive(data, 0.0) == []
    return ErrorCode(events[-1].code)


# ---- 3.4 preface


def test_the_server_speaks_first() -> None:
    """SETTINGS is the first frame, before anything came in."""
    connection = ServerConnection(server().limits, {})
    assert [name for name, *_ in sent(connection)] == ["SETTINGS", "WINDOW_UPDATE"]


def test_preface_in_pieces() -> None:
    connection = server()
    events = [e for i in range(len(START)) for e in connection.receive(START[i : i + 1], 0.0)]
    assert events == [SettingsReceived()]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"])
def test_a_wrong_preface_ends_the_connection(data: bytes) -> None:
    assert isinstance(server().receive(data, 0.0)[-1], ConnectionEnded)


def test_the_first_frame_must_be_settings() -> None:
    events = server().receive(frames.PREFACE + frames.ping(bytes(8)), 0.0)
    assert plain(events[-1]) == ("connection", ErrorCode.PROTOCOL_ERROR)


# ---- calls


def test_unary_call_is_one_event() -> None:
    encoder = Encoder()
    data = b"".join(call(n, b"body%d" % n, encoder=encoder) for n in (1, 3, 5))
    assert all_ways(data) == [(n, "/t.S/Unary", b"body%d" % n) for n in (1, 3, 5)]


def test_unary_call_in_many_frames() -> None:
    """Padding, CONTINUATION, split DATA, an empty DATA at the end: the same event."""
    encoded = block(request())
    whole = message(b"abcdefgh")
    data = (
        frame(H, 0, 1, encoded[:3])
        + frame(frames.CONTINUATION, 0, 1, b"")
        + frame(frames.CONTINUATION, 4, 1, encoded[3:])
        + frame(D, 8, 1, b"\x04" + whole[:2] + bytes(4))
        + frame(D, 0, 1, whole[2:9])
        + frame(D, 0, 1, whole[9:])
        + frame(D, 1, 1)
    )
    assert all_ways(data) == [(1, "/t.S/Unary", b"abcdefgh")]


def test_headers_with_padding_and_priority() -> None:
    payload = b"\x03" + bytes(5) + block(request()) + bytes(3)
    data = frame(H, 0x2C, 1, payload) + frame(D, 1, 1, message(b"x"))
    assert all_ways(data) == [(1, "/t.S/Unary", b"x")]


def test_request_trailers_end_a_call() -> None:
    data = frame(H, 4, 1, block(request())) + frame(D, 0, 1, message(b"x"))
    assert all_ways(data + frame(H, 5, 1, block([("x", "y")]))) == [(1, "/t.S/Unary", b"x")]


def test_answer_is_headers_data_trailers() -> None:
    connection = started()
    connection.receive(call(1, b"x"), 0.0)
    connection.reply(1, b"answer")
    (n1, f1, s1, p1), (n2, f2, s2, p2), (n3, f3, s3, p3) = sent(connection)
    assert (n1, f1, s1, n2, f2, s2, n3, f3, s3) == ("HEADERS", 4, 1, "DATA", 0, 1, "HEADERS", 5, 1)
    assert fields(p1) == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity,gzip,deflate",
    }
    assert p2 == message(b"answer")
    assert fields(p3) == {"grpc-status": "0"}
    assert not connection.streams


def test_failure_is_trailers_only() -> None:
    connection = started()
    connection.receive(call(1, b"x"), 0.0)
    connection.fail(1, 5, "nicht da: €", b"\x08\x05")
    ((name, flags, _, payload),) = sent(connection)
    assert (name, flags) == ("HEADERS", 5)
    assert fields(payload) == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity,gzip,deflate",
        "grpc-status": "5",
        "grpc-message": "nicht da: %E2%82%AC",
        "grpc-status-details-bin": "CAU",
    }


def test_streaming_call() -> None:
    data = (
        frame(H, 4, 1, block(request("/t.S/Stream")))
        + frame(D, 0, 1, message(b"a") + message(b"bc")[:6])
        + frame(D, 1, 1, message(b"bc")[6:])
    )
    assert all_ways(data) == [
        ("opened", 1, "/t.S/Stream"),
        ("message", 1, b"a"),
        ("message", 1, b"bc"),
        ("ended", 1),
    ]


def test_early_end_asks_the_client_to_stop() -> None:
    """8.1: after a complete response RST_STREAM(NO_ERROR); what still comes is ignored."""
    connection = started()
    data = frame(H, 4, 1, block(request("/t.S/Stream")))
    (opened,) = connection.receive(data, 0.0)
    connection.finish(opened.stream, 0)
    (_, reset) = sent(connection)
    assert (reset[0], error_of(reset[3])) == ("RST_STREAM", ErrorCode.NO_ERROR)
    assert connection.receive(frame(D, 1, 1, message(b"late")), 0.0) == []
    assert sent(connection) == []


@pytest.mark.parametrize(
    ("fields_", "status"),
    [
        (request("/no/Where"), "12"),
        (request("/t.S/Unary", ("grpc-encoding", "snappy")), "12"),
        (request("/t.S/Unary", ("grpc-timeout", "soon")), "13"),
        (request("/t.S/Unary", ("grpc-timeout", "0m")), "4"),
        (request("/t.S/Unary", ("x-bin", "$$$")), "13"),
        (request("/t.S/Unary", ("x", "y" * 3000)), "8"),
    ],
)
def test_calls_that_are_refused_with_a_status(fields_: list, status: str) -> None:
    connection = started(max_header_list=2048)
    data = frame(H, 4, 1, block(fields_)) + frame(D, 1, 1, message(b"x"))
    assert connection.receive(data, 0.0) == []
    head, reset = sent(connection)
    assert fields(head[3])["grpc-status"] == status
    assert reset[0] == "RST_STREAM"
    assert not connection.streams


@pytest.mark.parametrize(
    ("change", "extra", "status"),
    [({"method": "GET"}, (), "405"), ({}, (("content-type", "text/html"),), "415")],
)
def test_requests_that_are_not_grpc(change: dict, extra: tuple, status: str) -> None:
    connection = started()
    headers = [f for f in request(**change) if f[0] not in dict(extra)] + list(extra)
    assert connection.receive(frame(H, 5, 1, block(headers)), 0.0) == []
    ((_, flags, _, payload),) = sent(connection)
    assert flags == 5
    assert fields(payload)[":status"] == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", "13"),
        (b"\0\0\0", "13"),
        (b"\0\0\0\0\x05ab", "13"),
        (b"\1\0\0\0\0", "13"),
        (b"\0\0\1\0\0", "8"),
        (message(b"a") + message(b"b"), "12"),
    ],
)
def test_bodies_that_are_refused_with_a_status(body: bytes, status: str) -> None:
    """No message, part of one, a compressed, a too large one, two for a unary method."""
    for cut in range(len(body) + 1):
        connection = started()
        data = frame(H, 4, 1, block(request())) + frame(D, 0, 1, body[:cut])
        events = connection.receive(data + frame(D, 1, 1, body[cut:]), 0.0)
        assert all(isinstance(event, StreamReset) for event in events)
        assert fields(sent(connection)[0][3])["grpc-status"] == status
        assert not connection.streams


# ---- 5.1 stream states and identifiers


def test_unknown_and_priority_frames_are_ignored() -> None:
    data = frame(0xBB, 0xFF, 77, b"?" * 30) + frame(frames.PRIORITY, 0, 99, bytes(5))
    assert all_ways(data + call(1, b"x")) == [(1, "/t.S/Unary", b"x")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(D, 0, 1, b"x"), ErrorCode.PROTOCOL_ERROR),  # 5.1: idle
        (frames.rst_stream(1, 8), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(1, 8), ErrorCode.PROTOCOL_ERROR),
        (frame(H, 5, 2, block(request())), ErrorCode.PROTOCOL_ERROR),  # 5.1.1: even
        (call(3, b"") + frame(H, 4, 1, block(request())), ErrorCode.PROTOCOL_ERROR),  # 5.1.1: lower
        (frame(H, 4, 0, block(request())), ErrorCode.PROTOCOL_ERROR),  # 6.2
        (frame(D, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),  # 6.1
        (frame(frames.RST_STREAM, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),  # 6.5
        (frame(frames.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),  # 6.7
        (frame(frames.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),  # 6.8
        (frame(frames.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.RST_STREAM, 0, 1, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(frames.SETTINGS, 1, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.settings({2: 2}), ErrorCode.PROTOCOL_ERROR),
        (frames.settings({4: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.settings({5: 100}), ErrorCode.PROTOCOL_ERROR),
        (frames.settings({5: 2**24}), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),  # 8.4
        (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),  # 6.9
        (frames.window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),  # 6.9.1
        (frame(frames.CONTINUATION, 4, 1, b""), ErrorCode.PROTOCOL_ERROR),  # 6.10
        (frame(H, 0, 1) + frame(D, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (frame(H, 0, 1) + frame(frames.CONTINUATION, 4, 3), ErrorCode.PROTOCOL_ERROR),
        (frame(H, 0, 1) + frames.ping(bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (frame(H, 4, 1, b"\xff\xff\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),  # 4.3
        (frame(H, 12, 1, b"\x05abc"), ErrorCode.PROTOCOL_ERROR),  # 6.2: padding
        (frame(H, 12, 1), ErrorCode.FRAME_SIZE_ERROR),
        (frame(H, 36, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
        (call(1, b"")[:-14] + frame(D, 8, 1, b"\x01"), ErrorCode.PROTOCOL_ERROR),  # 6.1
    ],
)
def test_faults_of_the_connection(data: bytes, code: ErrorCode) -> None:
    assert fault(data) == code


def test_a_stream_is_not_opened_again() -> None:
    """5.1: HEADERS on a stream that both have ended end the connection, but not on one that was
    reset: those may have been on their way."""
    connection = started()
    ((stream_id, _, _),) = connection.receive(call(1, b""), 0.0)
    connection.reply(stream_id, b"")
    sent(connection)
    connection.receive(frame(H, 4, 1, block(request())), 0.0)
    assert error_of(sent(connection)[-1][3]) == ErrorCode.STREAM_CLOSED
    connection = started()
    connection.receive(OPEN, 0.0)
    connection.reset(connection.streams[1], ErrorCode.CANCEL)
    assert connection.receive(frame(H, 5, 1, block([("x", "y")])), 0.0) == []
    assert not connection.ended


def test_frames_above_the_limit() -> None:
    """4.2: refused as soon as the length is seen."""
    connection = started(max_frame=16384)
    connection.receive(frames.pack_header(16385 << 8, 0, 1), 0.0)
    assert error_of(sent(connection)[-1][3]) == ErrorCode.FRAME_SIZE_ERROR


OPEN = frame(H, 4, 1, block(request("/t.S/Stream")))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (OPEN + frame(D, 1, 1) + frame(D, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),  # 5.1
        (OPEN + frame(D, 1, 1) + frame(H, 5, 1, block([("x", "y")])), ErrorCode.STREAM_CLOSED),
        (call(1, b"") + frame(H, 4, 1, block(request())), ErrorCode.STREAM_CLOSED),
        (OPEN + frames.rst_stream(1, 8) + frame(D, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
        (OPEN + frames.window_update(1, 0), ErrorCode.PROTOCOL_ERROR),  # 6.9
        (OPEN + frames.window_update(1, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (OPEN + frame(H, 4, 1, block([("x", "y")])), ErrorCode.PROTOCOL_ERROR),  # 8.1
        (OPEN + frame(frames.PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),  # 6.3
    ],
)
def test_faults_of_a_stream(data: bytes, code: ErrorCode) -> None:
    assert stream_fault(data) == code


@pytest.mark.parametrize(
    "fields_",
    [
        request(method=None),
        request(scheme=None),
        request(path=None),
        request(path=""),
        request("/t.S/Unary", ("Upper", "x")),
        request("/t.S/Unary", ("", "x")),
        request("/t.S/Unary", ("a b", "x")),
        request("/t.S/Unary", ("connection", "close")),
        request("/t.S/Unary", ("transfer-encoding", "chunked")),
        request("/t.S/Unary", ("te", "gzip")),
        request("/t.S/Unary", ("x", "a\0b")),
        request("/t.S/Unary", ("x", "a\nb")),
        request("/t.S/Unary", ("x", " a")),
        request("/t.S/Unary", (":path", "/other")),
        request("/t.S/Unary", (":status", "200")),
        request("/t.S/Unary", ("x", "y"), (":authority", "late")),
        request("/t.S/Unary", ("content-length", "x")),
        [*request(), (":unknown", "x")],
        [("x", "y"), *request()],
    ],
)
def test_malformed_requests(fields_: list) -> None:
    """8.1.1, 8.2, 8.3: the stream is reset."""
    data = frame(H, 4, 1, block([(k.encode(), v.encode()) for k, v in fields_]))
    assert stream_fault(data + frame(D, 1, 1, message(b""))) == ErrorCode.PROTOCOL_ERROR


def test_content_length_must_be_the_length() -> None:
    head = frame(H, 4, 1, block(request("/t.S/Unary", ("content-length", "6"))))
    assert all_ways(head + frame(D, 1, 1, message(b"x"))) == [(1, "/t.S/Unary", b"x")]
    assert stream_fault(head + frame(D, 1, 1, message(b"xy"))) == ErrorCode.PROTOCOL_ERROR


def test_too_many_streams_are_refused() -> None:
    """5.1.2: REFUSED_STREAM says that it may be tried again."""
    connection = started(max_streams=2)
    opens = b"".join(frame(H, 4, n, block(request("/t.S/Stream"))) for n in (1, 3, 5))
    assert len(connection.receive(opens, 0.0)) == 2
    ((name, _, stream_id, payload),) = sent(connection)
    assert (name, stream_id, error_of(payload)) == ("RST_STREAM", 5, ErrorCode.REFUSED_STREAM)


def test_unary_calls_of_one_receive_count_as_streams() -> None:
    encoder = Encoder()
    data = [call(n, b"x", encoder=encoder) for n in range(1, 21, 2)]
    connection = started(max_streams=4)
    connection.receive(data[0], 0.0)
    connection.reply(1, b"")
    sent(connection)
    assert len(connection.receive(b"".join(data[1:]), 0.0)) == 4
    assert [e[0] for e in outline(connection)] == ["RST_STREAM"] * 5


def _long_story() -> bytes:
    """Calls, a large message in many frames, a stream, a reset: more than one receive takes."""
    encoder = Encoder()
    parts = [call(n, b"%d" % n, encoder=encoder) for n in range(1, 41, 2)]
    large = message(bytes(range(256)) * 300)
    parts.append(frame(H, 4, 41, block(request("/t.S/Large"), encoder)))
    parts += [frame(D, 0, 41, large[at : at + 9000]) for at in range(0, len(large), 9000)]
    parts.append(frame(D, 1, 41))
    parts.append(frame(H, 0, 43, block(request("/t.S/Stream"), encoder)))
    parts.append(frame(frames.CONTINUATION, 4, 43))
    parts += [frame(D, 0, 43, message(b"m%d" % n)) for n in range(20)]
    parts.append(call(45, b"x", encoder=encoder) + frames.rst_stream(45, 8))
    parts.append(frame(D, 1, 43))
    parts += [call(n, b"%d" % n, encoder=encoder) for n in range(47, 87, 2)]
    return b"".join(parts)


STORY = _long_story()


def _heard(parts: list[bytes]) -> list:
    connection = started(stream_window=1 << 20)
    return [plain(e) for part in parts for e in connection.receive(part, 0.0)]


@settings(deadline=None)
@given(st.lists(st.integers(0, len(STORY)), max_size=8))
def test_cuts_do_not_change_the_story(cuts: list[int]) -> None:
    """Wherever receives cut it: the same events; only a call may be told before its reset."""
    ends = sorted(cuts)
    parts = [STORY[a:b] for a, b in zip([0, *ends], [*ends, len(STORY)], strict=True)]
    events = [e for e in _heard(parts) if e != (45, "/t.S/Unary", b"x")]
    assert [e for e in events if e[:2] != ("reset", 45)] == [
        e for e in _heard([STORY]) if e[:2] != ("reset", 45)
    ]
    assert (41, "/t.S/Large", bytes(range(256)) * 300) in events
