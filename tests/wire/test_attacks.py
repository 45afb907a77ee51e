"""What a hostile peer does ends with the right GOAWAY, and costs bounded memory and time."""

import tracemalloc
from collections.abc import Callable

import pytest
from hpack import Encoder

from builder.wire import frames
from builder.wire.events import ConnectionEnded
from builder.wire.frames import ErrorCode
from builder.wire.server import ServerConnection
from tests.wire.peers import block, call, error_of, fields, frame, message, request, sent, started

SMALL = {"max_resets": 50, "max_control": 50, "max_tiny_data": 50}


def opened(stream_id: int) -> bytes:
    return frame(frames.HEADERS, 4, stream_id, block(request("/t.S/Stream")))


OPEN = opened(1)


def rapid_reset(connection: ServerConnection, number: int) -> bytes:
    """CVE-2023-44487."""
    stream_id = 2 * number + 1
    head = frame(frames.HEADERS, 4, stream_id, block(request("/t.S/Stream")))
    return head + frames.rst_stream(stream_id, 8)


def rapid_reset_of_unary_calls(connection: ServerConnection, number: int) -> bytes:
    return call(2 * number + 1, b"x") + frames.rst_stream(2 * number + 1, 8)


def made_you_reset(connection: ServerConnection, number: int) -> bytes:
    """CVE-2025-8671: the server is made to send the resets."""
    stream_id = 2 * number + 1
    head = frame(frames.HEADERS, 4, stream_id, block(request("/t.S/Stream")))
    return head + frames.window_update(stream_id, 0)


def ping_flood(connection: ServerConnection, number: int) -> bytes:
    return frames.ping(b"12345678")


def settings_flood(connection: ServerConnection, number: int) -> bytes:
    return frames.settings({})


def priority_flood(connection: ServerConnection, number: int) -> bytes:
    return frame(frames.PRIORITY, 0, 1, bytes(4) + b"\1")


def unknown_flood(connection: ServerConnection, number: int) -> bytes:
    return frame(99, 0, 0, b"x")


def tiny_data(connection: ServerConnection, number: int) -> bytes:
    head = frames.pack_header(5 << 8, 0, 1) + (900).to_bytes(5, "big")
    return (OPEN + head if number == 0 else b"") + frame(frames.DATA, 0, 1, b"x")


def empty_data(connection: ServerConnection, number: int) -> bytes:
    """CVE-2019-9518."""
    return (OPEN if number == 0 else b"") + frame(frames.DATA, 0, 1)


def tiny_windows(connection: ServerConnection, number: int) -> bytes:
    """CVE-2019-9511: DATA dribbles an octet at a time."""
    return (OPEN if number == 0 else b"") + frames.window_update(1, 1)


def large_windows(connection: ServerConnection, number: int) -> bytes:
    """As `tiny_windows`, of a size that is of use to whom something is sent; nothing is."""
    return (OPEN if number == 0 else b"") + frames.window_update(1, 1000)


def windows_of_the_connection(connection: ServerConnection, number: int) -> bytes:
    return frames.window_update(0, 5)


def large_windows_of_the_connection(connection: ServerConnection, number: int) -> bytes:
    return frames.window_update(0, 100_000)


def windows_of_streams_that_have_ended(connection: ServerConnection, number: int) -> bytes:
    if number:
        return frames.window_update(1, 100_000)
    return OPEN + frames.rst_stream(1, 8)


@pytest.mark.parametrize(
    "attack",
    [
        large_windows,
        windows_of_the_connection,
        large_windows_of_the_connection,
        windows_of_streams_that_have_ended,
        rapid_reset,
        rapid_reset_of_unary_calls,
        made_you_reset,
        ping_flood,
        settings_flood,
        priority_flood,
        unknown_flood,
        empty_data,
        tiny_data,
        tiny_windows,
    ],
)
def test_floods_are_sent_away(attack: Callable[[ServerConnection, int], bytes]) -> None:
    """More than the budget in ten seconds is ENHANCE_YOUR_CALM; at a slow pace it is fine."""
    connection = started(**SMALL)
    for number in range(200):
        events = connection.receive(attack(connection, number), 0.0)
        if connection.ended:
            break
    assert 40 <= number <= 60
    assert isinstance(events[-1], ConnectionEnded)
    name, _, _, payload = sent(connection)[-1]
    assert name == "GOAWAY"
    assert error_of(payload) == ErrorCode.ENHANCE_YOUR_CALM
    slow = started(**SMALL)
    for number in range(200):
        slow.receive(attack(slow, number), number * 0.5)
    assert not slow.ended


@pytest.mark.parametrize(
    ("limit", "limits", "data"),
    [
        ("max_resets", {"max_resets": 0}, OPEN + frames.rst_stream(1, 8)),
        ("max_control", {"max_control": 1}, frame(frames.PING, 0, 0, bytes(8)) * 2),
        ("max_tiny_data", {"max_tiny_data": 0}, OPEN + frame(frames.DATA, 0, 1)),
        (
            "max_continuations",
            {"max_continuations": 0},
            frame(frames.HEADERS, 0, 1) + frame(frames.CONTINUATION, 0, 1),
        ),
        ("max_streams", {"max_streams": 0}, OPEN),
        ("max_header_list", {"max_header_list": 10}, OPEN),
        ("max_header_list", {"max_header_list": 70}, OPEN),
        (
            "max_message",
            {},
            frame(frames.HEADERS, 4, 1, block(request("/t.S/Large")))
            + frame(frames.DATA, 0, 1, b"\0\x7f\0\0\0"),
        ),
    ],
)
def test_the_limit_that_refused_something_is_named(
    limit: str, limits: dict[str, int], data: bytes
) -> None:
    """Once, whether it ends a call or the connection; a peer within its limits has none."""
    connection = started(**limits)
    connection.receive(data, 0.0)
    assert connection.limits_hit == [limit]
    fine = started()
    fine.receive(OPEN, 0.0)
    assert fine.limits_hit == []


def test_what_nobody_reads_is_a_limit_too() -> None:
    """A new call beside too much that waits is refused."""
    connection = started(max_backlog=0)
    connection.receive(OPEN, 0.0)
    [stream] = connection.streams.values()
    connection.send_headers(stream)
    connection.send_message(stream, bytes(100_000))
    connection.receive(frame(frames.HEADERS, 4, 3, block(request("/t.S/Stream"))), 0.0)
    assert connection.limits_hit == ["max_backlog"]


def test_continuation_flood() -> None:
    """CVE-2024-27316: a header block without end is cut off by size, and by number of frames."""
    for part, most in ((b"", 70), (bytes(16_000), 34)):
        connection = started()
        connection.receive(frame(frames.HEADERS, 0, 1), 0.0)
        count = 0
        while not connection.ended:
            connection.receive(frame(frames.CONTINUATION, 0, 1, part), 0.0)
            count += 1
        assert count <= most
        assert error_of(sent(connection)[-1][3]) == ErrorCode.ENHANCE_YOUR_CALM


def test_hpack_bomb() -> None:
    """A block of 10 KiB that stands for 40 MiB."""
    connection = started()
    bomb = b"\x40\x01a" + b"\x7f\x81\x1e" + b"v" * 3968 + b"\xbe" * 10_000
    connection.receive(frame(frames.HEADERS, 4, 1, bomb), 0.0)
    assert error_of(sent(connection)[-1][3]) == ErrorCode.ENHANCE_YOUR_CALM


def test_tiny_data_does_not_cost_an_object_each() -> None:
    """What comes in frames of one octet takes little more than its octets."""
    connection = started(max_tiny_data=10**9)
    head = frame(frames.HEADERS, 4, 1, block(request("/t.S/Large")))
    connection.receive(head + frame(frames.DATA, 0, 1, (900_000).to_bytes(5, "big")), 0.0)
    one = frame(frames.DATA, 0, 1, b"x")
    tracemalloc.start()
    for _ in range(20):
        connection.receive(one * 1000, 0.0)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 100_000
    assert connection.streams[1].received == 20_000


class Counted(dict):
    """Streams that count how often all of them are gone through."""

    rounds = 0

    def values(self):
        self.rounds += 1
        return super().values()


def test_many_windows_in_one_settings_frame_are_one_change() -> None:
    """A frame names thousands of them; the streams are gone through once."""
    connection = started()
    connection.receive(b"".join(opened(2 * n + 1) for n in range(900)), 0.0)
    connection.streams = Counted(connection.streams)
    values = [0, 2**31 - 1 - 65535] * 5000 + [70_000]
    payload = b"".join(frames.PACK_SETTING.pack(4, value) for value in values)
    connection.receive(frame(frames.SETTINGS, 0, 0, payload), 0.0)
    assert not connection.ended
    assert connection.streams.rounds == 1
    assert {stream.send_window for stream in connection.streams.values()} == {70_000}


@pytest.mark.parametrize("values", [[2**31 - 1, 0], [0, 2**31 - 1, 5]])
def test_each_window_of_a_settings_frame_counts(values: list[int]) -> None:
    """RFC 9113, 6.5.3: in their order, so one that is too large for a stream is a fault, whatever
    follows; for a stream that nothing was given it is not."""
    payload = b"".join(frames.PACK_SETTING.pack(4, value) for value in values)
    for more, ended in ((0, False), (1, True)):
        connection = started()
        given = frames.window_update(1, more) if more else b""
        connection.receive(opened(1) + given + frame(frames.SETTINGS, 0, 0, payload), 0.0)
        assert connection.ended == ended
    assert error_of(sent(connection)[-1][3]) == ErrorCode.FLOW_CONTROL_ERROR


def test_changing_the_windows_of_many_streams_is_counted() -> None:
    """By how many there are."""
    connection = started(max_control=200)
    connection.receive(b"".join(opened(2 * n + 1) for n in range(900)), 0.0)
    for number in range(30):
        connection.receive(frames.settings({frames.INITIAL_WINDOW_SIZE: number}), 0.0)
        if connection.ended:
            break
    assert 15 <= number <= 25
    assert error_of(sent(connection)[-1][3]) == ErrorCode.ENHANCE_YOUR_CALM


def test_zero_windows_are_bounded_by_memory() -> None:
    """With too much queued for a client that takes nothing, new calls are refused."""
    connection = started(max_backlog=1_000_000)
    connection.receive(frames.settings({4: 0}), 0.0)
    encoder = Encoder()
    refused = 0
    for stream_id in range(1, 101, 2):
        for event in connection.receive(call(stream_id, b"x", encoder=encoder), 0.0):
            connection.reply(event[0], bytes(100_000))
        refused += any(name == "RST_STREAM" for name, *_ in sent(connection))
    assert refused == 50 - 10
    assert connection.sender.backlog <= 1_100_000


def test_one_octet_at_a_time_of_a_large_frame() -> None:
    """A frame that dribbles in is kept as a few buffers, not as one per octet."""
    connection = started()
    data = frame(frames.HEADERS, 4, 1, block(request("/t.S/Large")))
    data += frame(frames.DATA, 1, 1, message(bytes(60_000)))
    events: list = []
    for at in range(len(data)):
        events += connection.receive(data[at : at + 1], 0.0)
        assert len(connection._parts) <= 65
    assert len(events[0][2]) == 60_000


def test_answers_to_a_reset_flood_are_cheap() -> None:
    """A receive full of calls and resets takes time in proportion to its octets."""
    encoder = Encoder()
    connection = started(max_resets=10**9)
    connection.receive(call(1, b"", encoder=encoder), 0.0)
    connection.reply(1, b"")
    sent(connection)
    data = b"".join(
        call(n, b"", encoder=encoder) + frames.rst_stream(n, 8) for n in range(3, 2003, 2)
    )
    events = connection.receive(data, 0.0)
    assert not [e for e in events if type(e) is tuple]
    assert not connection.streams


def test_pings_between_data_are_welcome() -> None:
    """A client that measures bandwidth sends a PING for each round trip in which DATA came."""
    connection = started(**SMALL)
    encoder = Encoder()
    for stream_id in range(1, 401, 2):
        connection.receive(call(stream_id, b"x", encoder=encoder), 0.0)
        connection.reply(stream_id, b"answer")
        connection.receive(frames.ping(b"12345678"), 0.0)
        sent(connection)
    assert not connection.ended


def test_windows_of_small_answers_are_welcome() -> None:
    """A client may make room for each small answer by itself, as grpc-core does between the
    headers and the data of its request."""
    connection = started(**SMALL)
    encoder = Encoder()
    for stream_id in range(1, 401, 2):
        head = frame(frames.HEADERS, 4, stream_id, block(request(), encoder))
        room = frames.window_update(stream_id, 5)
        connection.receive(head + room + frame(frames.DATA, 1, stream_id, message(b"x")), 0.0)
        connection.reply(stream_id, b"answer")
        connection.receive(frames.window_update(stream_id, 11), 0.0)
        sent(connection)
    assert not connection.ended


def test_windows_of_small_messages_are_welcome() -> None:
    """On one stream, too: each was paid for by a message."""
    connection = started(**SMALL)
    (opened,) = connection.receive(OPEN, 0.0)
    connection.send_headers(opened.stream)
    for _ in range(200):
        connection.send_message(opened.stream, b"m")
        connection.receive(frames.window_update(1, 6), 0.0)
        sent(connection)
    assert not connection.ended


@pytest.mark.parametrize("at_once", [1, 64])
@pytest.mark.parametrize("after", [1, 2])
def test_windows_of_the_connection_for_each_call_are_welcome(at_once: int, after: int) -> None:
    """grpc-core makes room for each answer, of the stream and of the connection, before and after
    it has come, and has many calls in flight."""
    connection = started(**SMALL)
    encoder = Encoder()
    for first in range(1, 2 * 64 * 20, 2 * at_once):
        ids = range(first, first + 2 * at_once, 2)
        for stream_id in ids:
            head = frame(frames.HEADERS, 4, stream_id, block(request(), encoder))
            room = frames.window_update(0, 5) + frames.window_update(stream_id, 5)
            body = frame(frames.DATA, 1, stream_id, message(b"x"))
            connection.receive(head + room + body, 0.0)
        for stream_id in ids:
            connection.reply(stream_id, b"answer")
        sent(connection)
        room = b"".join(
            frames.window_update(0, 11) * after + frames.window_update(stream_id, 11)
            for stream_id in ids
        )
        connection.receive(room, 0.0)
    assert not connection.ended


@pytest.mark.parametrize("piece", [1, 100, 1_000_000])
def test_a_window_for_each_frame_is_welcome(piece: int) -> None:
    """A client may give each DATA frame back by itself, on both windows."""
    connection = started(**SMALL)
    (opened,) = connection.receive(OPEN, 0.0)
    connection.send_headers(opened.stream)
    for _ in range(300 if piece < 1000 else 5):
        connection.send_message(opened.stream, bytes(piece))
        for name, _, _, payload in sent(connection):
            if name == "DATA":
                room = len(payload)
                connection.receive(frames.window_update(0, room), 0.0)
                connection.receive(frames.window_update(1, room), 0.0)
    assert not connection.ended


def test_an_answer_that_is_let_out_by_octets_is_a_flood() -> None:
    """CVE-2019-9511, with data: each octet of it costs us a frame."""
    connection = started(**SMALL)
    connection.receive(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}), 0.0)
    (opened,) = connection.receive(OPEN, 0.0)
    connection.send_headers(opened.stream)
    connection.send_message(opened.stream, bytes(1000))
    octets = 0
    while not connection.ended and octets < 200:
        connection.receive(frames.window_update(1, 1), 0.0)
        sent(connection)
        octets += 1
    assert 40 <= octets <= 60


def test_many_small_messages_are_welcome() -> None:
    """A frame that ends a message is not idle, however small."""
    connection = started(**SMALL)
    connection.receive(OPEN, 0.0)
    for _ in range(200):
        connection.receive(frame(frames.DATA, 0, 1, message(b"x")), 0.0)
    assert not connection.ended


@pytest.mark.parametrize("size", [70_000, 200_000, 500_000])
def test_oversized_headers_end_their_call_only(size: int) -> None:
    """The call is refused with a status; the table took part, so the next call's names resolve."""
    encoder, connection = Encoder(), started()
    fields_ = request("/t.S/Unary", ("x-large", "y" * size), ("x-later", "kept"))
    head = encoder.encode(fields_, huffman=False)
    parts = [head[at : at + 16_384] for at in range(0, len(head), 16_384)]
    data = frame(frames.HEADERS, 0, 1, parts[0])
    data += b"".join(frame(frames.CONTINUATION, 0, 1, part) for part in parts[1:])
    data += frame(frames.CONTINUATION, 4, 1) + frame(frames.DATA, 1, 1, message(b"x"))
    assert connection.receive(data, 0.0) == []
    refusal, reset = sent(connection)
    assert fields(refusal[3])["grpc-status"] == "8"
    assert (reset[0], error_of(reset[3])) == ("RST_STREAM", ErrorCode.NO_ERROR)
    again = block(request("/t.S/Unary", ("x-later", "kept")), encoder)
    assert b"kept" not in again
    after = frame(frames.HEADERS, 4, 3, again) + frame(frames.DATA, 1, 3, message(b"y"))
    ((_, head_, body),) = connection.receive(after, 0.0)
    assert (head_.metadata["x-later"], body) == ("kept", b"y")


def test_messages_that_are_never_whole() -> None:
    """A message of the largest size, but for its end, on each stream: the largest ones end."""
    connection = started(connection_window=65_535, max_unfinished=100_000)
    sizes = {1: 30_000, 3: 60_000, 5: 20_000, 7: 10_000}
    for stream_id, size in sizes.items():
        head = frame(frames.HEADERS, 4, stream_id, block(request("/t.S/Large")))
        start = b"\0" + (900_000).to_bytes(4, "big")
        connection.receive(head + frame(frames.DATA, 0, stream_id, start), 0.0)
        for _ in range(size // 10_000):
            connection.receive(frame(frames.DATA, 0, stream_id, bytes(10_000)), 0.0)
    assert connection.limits_hit == ["max_unfinished"]
    ends = {name: payload for name, _, at, payload in sent(connection) if at == 3}
    assert fields(ends["HEADERS"])["grpc-status"] == "8"
    assert error_of(ends["RST_STREAM"]) == ErrorCode.NO_ERROR
    more = frame(frames.DATA, 0, 3, bytes(10_000))
    assert connection.receive(more, 0.0) == []
    rest = frame(frames.DATA, 0, 7, bytes(10_000))
    connection.receive(rest, 0.0)
    assert list(connection.streams) == [1, 5, 7]
