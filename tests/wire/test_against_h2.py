"""Random frames, to us and to h2: whatever h2 accepts means the same to us, and no fault passes.

h2 is an implementation that we did not write. Where both find a fault they may differ in how far
it reaches (a stream, the connection), as RFC 9113 lets them.
"""

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.wire import frames, heads
from builder.wire.client import ClientConnection
from builder.wire.events import MessageReceived, ResponseEnded, StreamEnded, StreamOpened
from builder.wire.limits import Limits
from builder.wire.server import ServerConnection
from tests.wire.peers import START, block, frame, message, read, request

IDS = st.sampled_from([1, 1, 3, 3, 5, 7, 2, 0])
FLAGS = st.sampled_from([0, 1])
GOOD = request("/t.S/Stream")
LISTS = [
    GOOD,
    GOOD,
    GOOD,
    [*GOOD, ("x", "y")],
    [("x", "y")],
    GOOD[1:],
    [*GOOD, ("connection", "close")],
    [*GOOD, ("Upper", "x")],
    [("x", "y"), *GOOD],
]
KINDS = st.sampled_from([0, 1, 2, 3, 4, 6, 7, 8, 9])  # h2 lets a cut PUSH_PROMISE pass
Op = tuple[object, ...]
OPS = st.one_of(
    st.tuples(st.just("headers"), IDS, FLAGS, st.sampled_from(LISTS)),
    st.tuples(st.just("headers"), IDS, FLAGS, st.just(GOOD)),
    st.tuples(st.just("split"), IDS, FLAGS, st.integers(0, 30)),
    st.tuples(st.just("data"), IDS, FLAGS, st.binary(max_size=40)),
    st.tuples(st.just("padded"), IDS, FLAGS, st.binary(max_size=9), st.integers(0, 9)),
    st.tuples(st.just("rst"), IDS, st.sampled_from([0, 8, 77])),
    st.tuples(st.just("update"), IDS, st.sampled_from([0, 1, 1000, 2**31 - 1])),
    st.tuples(st.just("ping"), st.sampled_from([0, 1])),
    st.tuples(
        st.just("settings"),
        st.dictionaries(
            st.sampled_from([1, 2, 3, 4, 5, 6, 99]),
            st.sampled_from([0, 1, 2, 100, 20_000, 70_000, 2**31, 2**32 - 1]),
            max_size=2,
        ),
    ),
    st.tuples(st.just("priority"), st.sampled_from([1, 3, 9]), st.just(bytes(4) + b"\x10")),
    st.tuples(st.just("unknown"), IDS, st.binary(max_size=9)),
    st.tuples(st.just("raw"), KINDS, st.integers(0, 255), IDS, st.binary(max_size=12)),
)


def encode(op: Op, encoder: Encoder) -> bytes:
    match op:
        case ("headers", stream_id, flags, fields):
            return frame(frames.HEADERS, flags | 4, stream_id, block(fields, encoder))
        case ("split", stream_id, flags, cut):
            whole = block(GOOD, encoder)
            first = frame(frames.HEADERS, flags, stream_id, whole[:cut])
            return first + frame(frames.CONTINUATION, 4, stream_id, whole[cut:])
        case ("data", stream_id, flags, body):
            return frame(frames.DATA, flags, stream_id, message(body))
        case ("padded", stream_id, flags, body, size):
            payload = bytes([size]) + message(body) + bytes(size)
            return frame(frames.DATA, flags | 8, stream_id, payload)
        case ("rst", stream_id, code):
            return frames.rst_stream(stream_id, code)
        case ("update", stream_id, increment):
            return frames.window_update(stream_id, increment)
        case ("ping", flags):
            return frames.ping(b"12345678", flags)
        case ("settings", values):
            return frames.settings(values)
        case ("priority", stream_id, payload):
            return frame(frames.PRIORITY, 0, stream_id, payload)
        case ("unknown", stream_id, payload):
            return frame(0x42, 0, stream_id, payload)
        case ("raw", kind, flags, stream_id, payload):
            return frame(kind, flags, stream_id, payload)
    raise AssertionError(op)


class Oracle:
    """h2 as the server; what it understood, and whether it found a fault."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.out = self.connection.data_to_send()
        self.opened: list[int] = []
        self.bodies: dict[int, bytes] = {}
        self.ended: list[int] = []
        self.fault = False

    def receive(self, data: bytes) -> None:
        try:
            events = self.connection.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.fault = True
            return
        for event in events:
            match event:
                case h2.events.RequestReceived():
                    self.opened.append(event.stream_id)
                case h2.events.DataReceived():
                    before = self.bodies.get(event.stream_id, b"")
                    self.bodies[event.stream_id] = before + event.data
                case h2.events.StreamEnded():
                    self.ended.append(event.stream_id)
                case h2.events.StreamReset():
                    self.fault |= not event.remote_reset
        self.out = self.connection.data_to_send()
        self.fault |= any(name in ("RST_STREAM", "GOAWAY") for name, *_ in read(self.out))


class Subject:
    """Ours, in the same words."""

    def __init__(self) -> None:
        routes = {"/t.S/Stream": heads.Route(False, 1 << 20, None)}
        self.connection = ServerConnection(Limits(stream_window=65_535), routes)
        self.connection.take(1 << 20)
        self.opened: list[int] = []
        self.bodies: dict[int, bytes] = {}
        self.ended: list[int] = []
        self.fault = False

    def receive(self, data: bytes) -> None:
        for event in self.connection.receive(data, 0.0):
            match event:
                case StreamOpened(stream):
                    self.opened.append(stream.id)
                case MessageReceived(stream, body):
                    before = self.bodies.get(stream.id, b"")
                    self.bodies[stream.id] = before + message(body)
                case StreamEnded(stream):
                    self.ended.append(stream.id)
        out = read(b"".join(self.connection.take(1 << 20)))
        self.fault |= any(name in ("RST_STREAM", "GOAWAY") for name, *_ in out)


def h2_lets_pass(op: Op) -> bool:
    """Faults by RFC 9113 that h2 ignores: RST_STREAM on an idle stream (6.4)."""
    return op[0] == "rst" or op[:2] == ("raw", frames.RST_STREAM)


@pytest.mark.no_cover
@settings(max_examples=400, deadline=None)
@given(st.lists(OPS, max_size=12))
def test_random_frames_mean_the_same(ops: list[Op]) -> None:
    """Up to the first fault: the same streams, bodies and ends; then both have found it."""
    encoder = Encoder()
    oracle, subject = Oracle(), Subject()
    oracle.receive(START)
    subject.receive(START)
    for op in ops:
        data = encode(op, encoder)
        oracle.receive(data)
        subject.receive(data)
        assert subject.fault or not oracle.fault, op
        if subject.fault:
            assert oracle.fault or h2_lets_pass(op), op
            return
        assert subject.opened == oracle.opened
        assert subject.ended == oracle.ended
        assert subject.bodies == {k: v for k, v in oracle.bodies.items() if v}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=30_000), max_size=4), st.integers(0, 3), st.booleans())
def test_our_client_and_h2_as_its_server(
    bodies: list[bytes], status: int, trailers_only: bool
) -> None:
    """h2 accepts what our client says, and our client understands what h2 answers."""
    client = ClientConnection(Limits(), "localhost", "http", "test")
    oracle = Oracle()
    stream = client.open("/t.S/Stream", {"x-bin": b"\0\1"}, timeout_s=1.5)
    for body in bodies:
        client.send_message(stream, body)
    client.finish(stream)
    received, ended = [], None
    h2_side = oracle.connection
    h2_side.increment_flow_control_window(1 << 20)
    h2_side.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
    answered = False
    client.receive(oracle.out, 0.0)
    for _ in range(20):
        oracle.receive(b"".join(client.take(10_000)))
        assert not oracle.fault
        if oracle.ended and not answered:
            answered = True
            assert oracle.bodies.get(1, b"") == b"".join(map(message, bodies))
            head = [(":status", "200"), ("content-type", "application/grpc")]
            tail = [("grpc-status", str(status)), ("grpc-message", "%C3%A4")]
            if trailers_only:
                h2_side.send_headers(1, head + tail, end_stream=True)
            else:
                h2_side.send_headers(1, head)
                h2_side.send_data(1, message(b"answer"))
                h2_side.send_headers(1, tail, end_stream=True)
        for event in client.receive(oracle.out + h2_side.data_to_send(), 0.0):
            if isinstance(event, MessageReceived):
                received.append(event.message)
            elif isinstance(event, ResponseEnded):
                ended = event
    assert received == ([] if trailers_only else [b"answer"])
    assert ended is not None
    assert (ended.code, ended.message) == (status, "ä")
    assert not client.streams
