"""Messages that are nothing but octets for some place: what comes of them at once is one message,
whole or not; each octet is where it belongs, and each is given back once."""

from random import Random

import pytest

from builder.reapi.pb import bytestream_pb2 as bs
from builder.server.chunks import ChunkRuns, chunk_of
from builder.wire import frames, heads
from builder.wire.events import Event, MessageReceived, StreamEnded
from builder.wire.limits import Limits
from builder.wire.pieces import MANY_PIECES
from builder.wire.runs import WORTH_OCTETS
from builder.wire.server import ServerConnection
from tests.wire.peers import START, block, frame, message, request, sent

H, D = frames.HEADERS, frames.DATA
ROUTES = {"/t.S/Write": heads.Route(False, 8 << 20, "write", True, ChunkRuns())}
OPEN = block(request("/t.S/Write"))
BODY = Random(1).randbytes(1 << 20)
WHOLE = (0, BODY, True)


def opened(*stream_ids: int, **limits: int) -> ServerConnection:
    connection = ServerConnection(Limits(**{"initial_window": 4 << 20} | limits), ROUTES)
    connection.receive(START, 0.0)
    for stream_id in stream_ids or (1,):
        connection.receive(frame(H, 4, stream_id, OPEN), 0.0)
    sent(connection)
    return connection


def chunks(body: bytes, size: int) -> list[bytes]:
    """The messages of a write, as clients send them."""
    return [
        message(
            bs.WriteRequest(
                resource_name="" if at else "name",
                write_offset=at,
                data=body[at : at + size],
                finish_write=at + size >= len(body),
            ).SerializeToString()
        )
        for at in range(0, len(body), size)
    ]


def framed(body: bytes, size: int, stream_id: int = 1) -> list[bytes]:
    return [frame(D, 0, stream_id, body[at : at + size]) for at in range(0, len(body), size)]


def taken(connection: ServerConnection, data: bytes) -> list[tuple[int, bytes, bool]]:
    """Where, what, and whether it was the last: of each message that these octets brought."""
    found = []
    for event in connection.receive(data, 0.0):
        assert isinstance(event, MessageReceived), event
        pieces = event.message if isinstance(event.message, list) else [event.message]
        chunk = chunk_of(pieces)
        found.append((chunk.write_offset, chunk.joined(), chunk.finish_write))
        connection.consumed(event.stream, sum(map(len, pieces)))
    return found


def joined(found: list[tuple[int, bytes, bool]]) -> tuple[int, bytes, bool]:
    """The same as one."""
    body = b""
    for offset, data, _ in found:
        assert offset == len(body)
        body += data
    return 0, body, found[-1][2]


def check_windows(connection: ServerConnection) -> None:
    stream = connection.streams[1]
    assert stream.recv_credit + stream.recv_due == stream.window
    assert connection._recv_credit + connection._recv_due == connection.limits.connection_window
    assert stream.unread == 0
    assert not stream.wire_sizes


@pytest.mark.parametrize("size", [1000, 16_384, 65_536, 262_144])
@pytest.mark.parametrize("frame_size", [1000, 16_384, 65_536])
@pytest.mark.parametrize("across", [False, True])
def test_a_write_arrives_however_it_is_cut(size: int, frame_size: int, across: bool) -> None:
    """Messages of any size in frames of any size, that end with messages or do not, received in
    pieces of any size."""
    random = Random(size + frame_size)
    connection = opened(max_tiny_data=1_000_000)
    messages = chunks(BODY, size)
    bodies = [b"".join(messages)] if across else messages
    data = b"".join(part for body in bodies for part in framed(body, frame_size))
    found = []
    while data:
        step = random.choice((1, 7, 30, 5000, 65_536, 500_000))
        found += taken(connection, data[:step])
        data = data[step:]
    assert joined(found) == WHOLE
    check_windows(connection)


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (16_384, (16_384, len(BODY) - 2 * 16_384, 16_384)),
        (262_144, (len(BODY) - 262_144, 262_144)),
        (len(BODY), (len(BODY),)),
    ],
)
def test_what_a_receive_brings_is_one_message(size: int, parts: tuple[int, ...]) -> None:
    """The first request, which names the resource, all that come after it, and the last one; the
    first is no message of its own if it is large."""
    connection = opened()
    messages = chunks(BODY, size)
    data = b"".join(part for body in messages for part in framed(body, 65_536))
    found = taken(connection, data)
    assert [len(data) for _, data, _ in found] == list(parts)
    assert joined(found) == WHOLE


@pytest.mark.parametrize("step", [9_000, 70_000, 300_000])
def test_a_large_request_with_a_name_and_an_end_is_told_as_it_comes(step: int) -> None:
    """Its name is told with its first octets, its end with the last, and little of it is kept."""
    connection = opened()
    (whole,) = chunks(BODY, len(BODY))
    data = b"".join(framed(whole, 65_536))
    told = []
    for at in range(0, len(data), step):
        for event in connection.receive(data[at : at + step], 0.0):
            assert isinstance(event, MessageReceived), event
            told.append(chunk_of(event.message))  # type: ignore[arg-type]  # it is in pieces
            connection.consumed(event.stream, sum(map(len, event.message)))  # type: ignore[arg-type]  # as above
        assert connection.streams[1].unread < WORTH_OCTETS
    assert [one.resource_name for one in told] == ["name", *[""] * (len(told) - 1)]
    assert [one.finish_write for one in told] == [*[False] * (len(told) - 1), True]
    assert joined([(one.write_offset, one.joined(), one.finish_write) for one in told]) == WHOLE
    check_windows(connection)


def test_a_frame_that_a_receive_has_cut_is_taken_as_it_comes() -> None:
    """Nothing of it is kept, and other streams' frames after it are theirs."""
    connection = opened(1, 3)
    first, second, _ = chunks(BODY[:700_000], 262_144)
    taken(connection, frame(D, 0, 1, first[:60_000]) + frame(D, 0, 1, first[60_000:120_000]))
    taken(connection, b"".join(framed(first[120_000:], 60_000)))
    one = b"".join(framed(second, 65_536))
    three = frame(D, 0, 3, message(bs.WriteRequest(data=b"three").SerializeToString()))
    found = taken(connection, one[:100_000])
    head = second.index(BODY[262_144:262_200])
    assert found == [(262_144, BODY[262_144 : 262_144 + 100_000 - 18 - head], False)]
    assert connection._have == 0
    both = taken(connection, one[100_000:] + three)
    rest = BODY[262_144:524_288][len(found[0][1]) :]
    assert sorted(both) == [(0, b"three", False), (524_288 - len(rest), rest, False)]


def test_a_little_is_kept_until_it_is_more() -> None:
    """What comes in drops does not become a message for each, nor a piece for each."""
    connection = opened()
    first, second, *_ = chunks(BODY, 262_144)
    taken(connection, b"".join(framed(first, 65_536)))
    data = frame(D, 0, 1, second[:65_536])
    assert taken(connection, data[:100]) == []
    run = connection.streams[1].run
    assert run is not None
    for at in range(100, 2000):
        assert taken(connection, data[at : at + 1]) == []
        assert len(run.pieces) <= MANY_PIECES
    assert connection.streams[1].unread == 2000 - 9
    ((offset, body, _),) = taken(connection, data[2000:] + frame(D, 0, 1, second[65_536:70_000]))
    assert offset == 262_144
    assert body == BODY[262_144:][: len(body)]
    assert connection.streams[1].unread == 0


def test_a_little_does_not_keep_what_came_with_it() -> None:
    connection = opened()
    first, second, *_ = chunks(BODY, 262_144)
    taken(connection, b"".join(framed(first, 65_536)))
    pings = frame(frames.PING, 0, 0, bytes(8)) * 8000
    taken(connection, frame(D, 0, 1, second[:100]) + frame(D, 0, 1, second[100:200]) + pings)
    run = connection.streams[1].run
    assert run is not None
    assert all(isinstance(piece, bytes) for piece in run.pieces)


def test_nothing_is_joined_to_what_is_the_last() -> None:
    """What a client sends after the end stays after it."""
    connection = opened()
    (whole,) = chunks(BODY, len(BODY))
    late = message(bs.WriteRequest(write_offset=len(BODY), data=b"late").SerializeToString())
    found = taken(connection, b"".join(framed(whole + late, 65_536)))
    assert [(offset, is_last) for offset, _, is_last in found] == [(0, True), (len(BODY), False)]


def test_other_messages_keep_their_place() -> None:
    """Data that do not follow, a request with a name, and one that is compressed."""
    connection = opened()

    def told(offset: int, data: bytes, name: str = "") -> bytes:
        body = bs.WriteRequest(write_offset=offset, data=data, resource_name=name)
        return frame(D, 0, 1, message(body.SerializeToString()))

    data = BODY[:1000]
    many = told(5, data) + told(1005, data) + told(9, data) + told(1009, data)
    found = taken(connection, many + told(7, data, "name") + told(1007, data))
    places = [(5, 2000), (9, 2000), (7, 1000), (1007, 1000)]
    assert [(offset, len(body)) for offset, body, _ in found] == places
    check_windows(connection)
    events = connection.receive(told(2007, data) + frame(D, 0, 1, b"\1" + bytes(99)), 0.0)
    assert isinstance(events[0], MessageReceived)
    assert connection.streams[1].ignored


@pytest.mark.parametrize("cut", [0, 100])
def test_the_end_comes_after_what_came_before_it(cut: int) -> None:
    """A stream that ends inside a message is told so."""
    connection = opened()
    body = message(bs.WriteRequest(write_offset=5, data=BODY[:1000]).SerializeToString())
    events: list[Event] = connection.receive(frame(D, 1, 1, body[: len(body) - cut]), 0.0)
    assert isinstance(events[0], MessageReceived)
    assert [type(event) for event in events[1:]] == ([] if cut else [StreamEnded])
    assert ("HEADERS" in [name for name, *_ in sent(connection)]) == bool(cut)


def test_a_run_keeps_within_its_window() -> None:
    """A frame beyond it resets the stream."""
    connection = opened(stream_window=65_535, connection_window=1 << 20)
    body = message(bs.WriteRequest(write_offset=5, data=BODY[:200_000]).SerializeToString())
    connection.receive(b"".join(framed(body, 20_000)[:4]), 0.0)
    assert "RST_STREAM" in [name for name, *_ in sent(connection)]


def test_the_rest_of_a_frame_whose_stream_is_reset_is_passed_over() -> None:
    """It counts for the connection, and the next frame is read."""
    connection = opened(1, 3)
    body = message(bs.WriteRequest(write_offset=5, data=BODY[:200_000]).SerializeToString())
    data = frame(D, 0, 1, body[:65_000])
    connection.receive(data[:30_000], 0.0)
    connection.reset(connection.streams[1], 8)
    assert taken(connection, data[30_000:60_000]) == []
    last = message(bs.WriteRequest(data=b"x").SerializeToString())
    assert taken(connection, data[60_000:] + frame(D, 0, 3, last)) == [(0, b"x", False)]
    assert connection._recv_credit + connection._recv_due == connection.limits.connection_window


def test_what_is_kept_of_runs_counts_as_unfinished() -> None:
    """A client that leaves every message a little unfinished is bounded all the same."""
    ids = range(1, 100, 2)
    connection = opened(*ids, max_unfinished=100_000, connection_window=65_535)
    body = message(bs.WriteRequest(write_offset=5, data=BODY[:200_000]).SerializeToString())
    for stream_id in ids:
        connection.receive(frame(D, 0, stream_id, body[:16_000]), 0.0)
    assert connection.limits_hit
    assert set(connection.limits_hit) == {"max_unfinished"}
