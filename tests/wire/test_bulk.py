"""Large messages: frames of one size are taken and made many at a time; nothing else changes."""

import pytest

from builder.wire import frames, heads
from builder.wire.events import MessageReceived
from builder.wire.limits import Limits
from builder.wire.server import ServerConnection
from tests.wire.peers import START, block, frame, message, plain, read, request, sent, started

H, D = frames.HEADERS, frames.DATA
LARGE = {"/t.S/Stream": heads.Route(False, 8 << 20, "stream")}
BODY = bytes(range(251)) * 1200  # 301,200 octets, and no two frames of it are alike
OPEN = frame(H, 4, 1, block(request("/t.S/Stream")))


def large(**limits: int) -> ServerConnection:
    connection = ServerConnection(Limits(**limits), LARGE)
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
    assert stream.recv_credit + stream.recv_due == connection.limits.stream_window
    assert connection._recv_credit + connection._recv_due == connection.limits.connection_window


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
