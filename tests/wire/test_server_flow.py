"""The server's flow control, PING, GOAWAY and SETTINGS: RFC 9113, 6.4 to 6.9."""

import pytest
from hpack import Encoder

from builder.base.errors import UsageError
from builder.wire import frames, heads
from builder.wire.events import (
    GoawayReceived,
    PingAcknowledged,
    SettingsReceived,
)
from builder.wire.frames import ErrorCode
from builder.wire.limits import Limits
from builder.wire.server import ServerConnection
from tests.wire.peers import (
    block,
    call,
    frame,
    message,
    outline,
    plain,
    read,
    request,
    sent,
    server,
    started,
    stream_fault,
)

H, D = frames.HEADERS, frames.DATA


def test_reset_of_a_call_that_came_in_the_same_receive() -> None:
    encoder = Encoder()
    connection = started()
    connection.receive(call(1, b"x", encoder=encoder), 0.0)
    connection.reply(1, b"")
    sent(connection)
    data = call(3, b"a", encoder=encoder) + frames.rst_stream(3, 8) + call(5, b"b", encoder=encoder)
    events = [plain(event) for event in connection.receive(data, 0.0)]
    assert events == [("reset", 3, 8), (5, "/t.S/Unary", b"b")]
    assert not connection.streams


def test_window_of_a_call_that_came_in_the_same_receive() -> None:
    """An answer larger than the stream's first window uses what the same receive added."""
    encoder = Encoder()
    connection = started()
    connection.receive(frames.settings({4: 0}) + call(1, b"x", encoder=encoder), 0.0)
    connection.receive(call(3, b"x", encoder=encoder) + frames.window_update(3, 100), 0.0)
    connection.reply(3, b"answer")
    assert ("DATA", 3) in outline(connection)


def test_ping_is_answered_and_acknowledged() -> None:
    connection = started()
    events = connection.receive(frames.ping(b"12345678") + frames.ping(b"abcdefgh", 1), 0.0)
    assert events == [PingAcknowledged(b"abcdefgh")]
    assert sent(connection) == [("PING", 1, 0, b"12345678")]


def test_goaway_of_the_client_is_told() -> None:
    events = started().receive(frames.goaway(0, 0, b"bye"), 0.0)
    assert events == [GoawayReceived(0, 0, b"bye")]


def test_drain_says_goaway_twice() -> None:
    """6.8: calls between the two are served; after the second they are ignored."""
    connection = started()
    connection.announce_drain()
    assert len(connection.receive(call(1, b"x"), 0.0)) == 1
    connection.drain()
    first, second = sent(connection)
    assert (first[3][:4], second[3][:4]) == (b"\x7f\xff\xff\xff", b"\0\0\0\1")
    assert connection.receive(call(3, b"x") + frames.ping(bytes(8)), 0.0) == []
    connection.reply(1, b"y")
    assert outline(connection) == [("PING", 0), ("HEADERS", 1), ("DATA", 1), ("HEADERS", 1)]


def test_large_answers_wait_for_the_windows() -> None:
    """6.9: stream window, connection window and a negative window each hold DATA back."""
    connection = started()
    connection.receive(frames.settings({4: 100}) + call(1, b"x", "/t.S/Large"), 0.0)
    sent(connection)
    connection.reply(1, bytes(70_000))
    assert [len(p) for name, _, _, p in sent(connection) if name == "DATA"] == [100]
    connection.receive(frames.settings({4: 50}), 0.0)
    connection.receive(frames.window_update(1, 50), 0.0)
    assert "DATA" not in [name for name, _ in outline(connection)]
    connection.receive(frames.window_update(1, 100_000), 0.0)
    sizes = [len(p) for name, _, _, p in sent(connection) if name == "DATA"]
    assert sum(sizes) == 65_535 - 100
    assert max(sizes) == 16_384
    connection.receive(frames.window_update(0, 100_000), 0.0)
    rest = sent(connection)
    assert sum(len(p) for name, _, _, p in rest if name == "DATA") == 70_005 - 65_535
    assert rest[-1][:2] == ("HEADERS", 5)
    assert not connection.streams


def test_streams_take_turns() -> None:
    """A large answer does not keep a small one waiting."""
    connection = started()
    connection.receive(frames.settings({4: 2**24}) + frames.window_update(0, 2**24), 0.0)
    opens = b"".join(frame(H, 5, n, block(request("/t.S/Stream"))) for n in (1, 3))
    first, _, second, _ = connection.receive(opens, 0.0)
    sent(connection)
    connection.send_message(first.stream, bytes(4_000_000))
    connection.send_message(second.stream, b"small")
    out = sent(connection, budget=256 * 1024)
    assert ("DATA", 3) in [(name, stream_id) for name, _, stream_id, _ in out[:6]]


def test_consumed_messages_open_the_window() -> None:
    connection = started(stream_window=65_535)
    connection.receive(frame(H, 4, 1, block(request("/t.S/Stream"))), 0.0)
    body = message(bytes(995))
    events = connection.receive(frame(D, 0, 1, body * 16) * 3, 0.0)
    assert outline(connection) == []
    for event in events:
        connection.consumed(event.stream, len(event.message))
    updates = [p for name, _, stream_id, p in sent(connection) if stream_id == 1]
    assert int.from_bytes(updates[0]) == 33_000


def test_data_beyond_the_windows() -> None:
    """6.9.1: FLOW_CONTROL_ERROR of the stream, or of the connection."""
    data = frame(D, 0, 1, message(bytes(995)) * 16)
    opened = frame(H, 4, 1, block(request("/t.S/Stream")))
    assert stream_fault(opened + data * 5, stream_window=65_535) == ErrorCode.FLOW_CONTROL_ERROR
    connection = started(connection_window=70_000)
    assert plain(connection.receive(opened + data * 5, 0.0)[-1]) == (
        "connection",
        ErrorCode.FLOW_CONTROL_ERROR,
    )


def test_settings_are_acknowledged_in_order() -> None:
    connection = started()
    events = connection.receive(frames.settings({5: 20_000}) + frames.settings({}), 0.0)
    assert events == [SettingsReceived()] * 2
    assert sent(connection) == [("SETTINGS", 1, 0, b"")] * 2


def test_memo_survives_between_connections_only_as_blocks() -> None:
    """The response blocks are constants: two connections send the same octets."""
    outs = []
    for _ in range(2):
        connection = started()
        connection.receive(call(1, b"x"), 0.0)
        connection.reply(1, b"same")
        outs.append(sent(connection))
    assert outs[0] == outs[1]
    assert heads.RESPONSE_BLOCK in [payload for _, _, _, payload in outs[0]]


def test_first_settings_frame_has_our_limits() -> None:
    connection = ServerConnection(server(max_streams=7).limits, {})
    payload = read(b"".join(connection.take(100)))[0][3]
    assert dict(frames.PACK_SETTING.iter_unpack(payload)) == {
        frames.MAX_CONCURRENT_STREAMS: 7,
        frames.INITIAL_WINDOW_SIZE: 128 << 10,
        frames.MAX_FRAME_SIZE: 1 << 16,
        frames.MAX_HEADER_LIST_SIZE: 1 << 16,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"initial_window": 1000},
        {"stream_window": 1000},
        {"connection_window": 2**31},
        {"max_frame": 1000},
    ],
)
def test_limits_that_no_client_could_keep(wrong: dict[str, int]) -> None:
    """6.5.2: a client uses the defaults until it has seen our SETTINGS."""
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Limits(**wrong)
