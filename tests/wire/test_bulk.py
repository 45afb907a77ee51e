"""Large messages: frames of one size are taken and made many at a time; nothing else changes."""

import pytest

from builder.wire import frames, heads
from builder.wire.events import MessageReceived
from builder.wire.limits import Limits
from builder.wire.server import ServerConnection
from builder.wire.stream import whole
from tests.wire.peers import START, block, frame, message, plain, read, request, sent, started

H, D = frames.HEADERS, frames.DATA
LARGE = {"/t.S/Stream": heads.Route(False, 8 << 20, "stream")}
BODY = bytes(range(251)) * 1200  # 301,200 octets, and no two frames of it are alike
OPEN = frame(H, 4, 1, block(request("/t.S/Stream")))


def large(**limits: int) -> ServerConnection:
    connection = ServerConnection(Limits(**{"initial_window": 4 << 20} | limits), LARGE)
    connection.receive(START + OPEN, 0.0)
    sent(connection)
    return connection


def framed(body: bytes, size: int, stream_id: int = 1) -> bytes:
    parts = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(frame(D, 0, stream_id, part) for part in parts)


def messages(connection: ServerConnection, data: bytes, step: int) -> list[bytes]:
    found = []
    for at in range(0, len(data), step):
        for event in connection.receive(data[at : at + step], 0.0):
            assert isinstance(event, MessageReceived), event
            found.append(event.message)
            connection.consumed(event.stream, len(event.message))
    return found


@pytest.mark.parametrize("size", [64, 100, 4096, 16_384, 65_536])
@pytest.mark.parametrize("step", [8191, 65_536, 1 << 20])
def test_messages_come_whole(size: int, step: int) -> None:
    """However frames are cut, and wherever a receive ends, the same messages come."""
    connection = large(max_tiny_data=1_000_000)
    bodies = [BODY, b"", BODY[:70_000], b"x", BODY]
    data = framed(b"".join(map(message, bodies)), size)
    assert messages(connection, data, step) == bodies
    stream = connection.streams[1]
    assert stream.recv_credit + stream.recv_due == stream.window
    assert connection._recv_credit + connection._recv_due == connection.limits.connection_window


@pytest.mark.parametrize("size", [64, 4096, 16_384])
@pytest.mark.parametrize("step", [8191, 1 << 20])
def test_a_route_may_want_pieces(size: int, step: int) -> None:
    """What is longer than a frame comes as it was cut, and is joined by who wants that."""
    connection = ServerConnection(
        Limits(max_tiny_data=1_000_000), {"/t.S/Stream": heads.Route(False, 8 << 20, None, True)}
    )
    connection.receive(START + OPEN, 0.0)
    bodies = [BODY, b"", BODY[:70_000], b"x", BODY]
    data = framed(b"".join(map(message, bodies)), size)
    found = []
    for at in range(0, len(data), step):
        for event in connection.receive(data[at : at + step], 0.0):
            assert isinstance(event, MessageReceived), event
            assert isinstance(event.message, list) == (len(whole(event.message)) > 1)
            found.append(whole(event.message))
            connection.consumed(event.stream, len(found[-1]))
    assert found == bodies


def test_a_large_message_after_a_prefix_that_is_cut() -> None:
    """A prefix in two frames, and one that says that the message is compressed."""
    connection = large()
    whole_one = message(BODY)
    data = frame(D, 0, 1, whole_one[:3]) + framed(whole_one[3:], 16_384)
    (event,) = connection.receive(data, 0.0)
    assert plain(event) == ("message", 1, BODY)
    connection.receive(framed(b"\1" + whole_one[1:], 16_384), 0.0)
    assert connection.streams[1].ignored


def test_a_unary_call_has_one_message_however_large() -> None:
    """The second one ends it, also when it comes in a run of frames."""
    connection = ServerConnection(
        Limits(initial_window=4 << 20), {"/t.S/Unary": heads.Route(True, 8 << 20, None)}
    )
    connection.receive(START + frame(H, 4, 1, block(request("/t.S/Unary"))), 0.0)
    sent(connection)
    connection.receive(framed(message(BODY), 16_384) + framed(message(BODY), 16_384), 0.0)
    (kind, _, _, payload), *_ = sent(connection)
    assert kind == "HEADERS"
    assert b"more than one message" in payload


def test_a_run_stops_at_another_stream_and_at_the_end_of_the_message() -> None:
    """Frames of other streams, and the last frame of a message, are looked at one by one."""
    connection = large()
    connection.receive(frame(H, 4, 3, block(request("/t.S/Stream"))), 0.0)
    ones = read(framed(message(BODY), 16_384, 1))
    threes = read(framed(message(BODY[::-1]), 16_384, 3))
    mixed = b"".join(
        frame(D, 0, stream_id, part)
        for at in range(0, len(ones), 3)
        for some in (ones[at : at + 3], threes[at : at + 3])
        for _, _, stream_id, part in some
    )
    events = [plain(event) for event in connection.receive(mixed, 0.0)]
    assert events == [("message", 1, BODY), ("message", 3, BODY[::-1])]


def test_many_small_frames_of_one_message_are_joined() -> None:
    """A message in thousands of frames costs a bounded number of objects."""
    connection = large()
    data = framed(message(BODY), 64)
    connection.receive(data[: len(data) // 2 // 73 * 73], 0.0)
    assert len(connection.streams[1].pieces) <= 128
    events = connection.receive(data[len(data) // 2 // 73 * 73 :], 0.0)
    assert [plain(event) for event in events] == [("message", 1, BODY)]


@pytest.mark.parametrize("window", [16_383, 65_535, 100_000, 1 << 20])
@pytest.mark.parametrize("budget", [1, 40_000, 1 << 20])
@pytest.mark.parametrize("max_frame", [16_384, 50_000])
def test_large_answers_are_cut_into_whole_frames(window: int, budget: int, max_frame: int) -> None:
    """What goes out is the message, in frames of at most the peer's size, within its windows."""
    connection = started(max_frame=max_frame)
    connection.receive(frames.settings({4: window, 5: max_frame}) + OPEN, 0.0)
    connection.receive(frames.window_update(0, 10_000_000), 0.0)
    stream = connection.streams[1]
    head, rest = b"head", memoryview(BODY)
    connection.send_message(stream, [head, rest[:100], rest[100:200_000], rest[200_000:]])
    out = b""
    while stream.queued:
        parts = [
            (part, flags) for name, flags, _, part in sent(connection, budget) if name == "DATA"
        ]
        assert all(0 < len(part) <= max_frame and not flags for part, flags in parts)
        got = sum(len(part) for part, _ in parts)
        assert got <= window
        assert got < budget + max_frame
        out += b"".join(part for part, _ in parts)
        if got:
            connection.receive(frames.window_update(1, got), 0.0)
    assert out == message(head + BODY)


def test_a_message_without_pieces_is_empty() -> None:
    connection = started()
    connection.receive(OPEN, 0.0)
    connection.send_message(connection.streams[1], [])
    assert ("DATA", 0, 1, message(b"")) in sent(connection)


@pytest.mark.parametrize("size", [100, 16_384])
def test_a_piece_does_not_keep_what_came_with_it(size: int) -> None:
    """Streams that each keep a frame of one large receive do not keep all of it each."""
    connection = large()
    half = frame(D, 0, 1, message(BODY)[:size])
    pings = frame(frames.PING, 0, 0, bytes(8)) * 8000
    connection.receive(half + pings, 0.0)
    (piece,) = connection.streams[1].pieces
    assert isinstance(piece, bytes) or len(piece.obj) <= 8 * size  # type: ignore[arg-type]


def test_whether_bodies_come_is_told() -> None:
    """Of what came last, so that of anything else less is read at once: a large message is bulky,
    small calls and headers are not, and half a frame changes nothing."""
    connection = large()
    assert not connection.bulky
    data = framed(message(BODY), 16_384)
    connection.receive(data[:65_000], 0.0)
    assert connection.bulky
    head = frame(H, 4, 3, block(request("/t.S/Stream")))
    connection.receive(data[65_000:65_010], 0.0)
    assert connection.bulky
    connection.receive(data[65_010:] + head * 5000, 0.0)
    assert not connection.bulky
