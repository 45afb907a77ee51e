"""Frames as a peer would write them, and what came out read back, for stories with plain values."""

from hpack import Decoder, Encoder

from builder.wire import frames, heads
from builder.wire.events import (
    ConnectionEnded,
    MessageReceived,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from builder.wire.frames import ErrorCode
from builder.wire.limits import Limits
from builder.wire.server import ServerConnection

ROUTES = {
    "/t.S/Unary": heads.Route(True, 1000, "unary"),
    "/t.S/Large": heads.Route(True, 1_000_000, "large"),
    "/t.S/Stream": heads.Route(False, 1000, "stream"),
}
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/t.S/Unary"),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
NAMES = {
    0: "DATA",
    1: "HEADERS",
    2: "PRIORITY",
    3: "RST_STREAM",
    4: "SETTINGS",
    5: "PUSH_PROMISE",
    6: "PING",
    7: "GOAWAY",
    8: "WINDOW_UPDATE",
    9: "CONTINUATION",
}
START = frames.PREFACE + frames.settings({})


def request(path: str = "/t.S/Unary", *extra: tuple[str, str], **change: str) -> list:
    """Header fields of a request; `change` replaces pseudo-header fields, None removes them."""
    fields = dict(REQUEST) | {":path": path}
    fields |= {":" + name: value for name, value in change.items()}
    return [(k, v) for k, v in fields.items() if v is not None] + list(extra)


def block(fields: list, encoder: Encoder | None = None) -> bytes:
    return (encoder or Encoder()).encode(fields)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return frames.pack_header(len(payload) << 8 | kind, flags, stream_id) + payload


def message(body: bytes) -> bytes:
    return b"\0" + len(body).to_bytes(4, "big") + body


def call(stream_id: int, body: bytes, path: str = "/t.S/Unary", encoder=None) -> bytes:
    """A complete unary call in two frames."""
    head = frame(frames.HEADERS, 4, stream_id, block(request(path), encoder))
    return head + frame(frames.DATA, 1, stream_id, message(body))


def read(data: bytes) -> list[tuple[str, int, int, bytes]]:
    """Frames as (name, flags, stream, payload)."""
    found, at = [], 0
    while at < len(data):
        word, flags, stream_id = frames.FRAME_HEADER.unpack_from(data, at)
        stop = at + 9 + (word >> 8)
        assert stop <= len(data), "a frame is cut"
        found.append((NAMES[word & 0xFF], flags, stream_id, data[at + 9 : stop]))
        at = stop
    return found


def server(**limits: int) -> ServerConnection:
    """A server's connection that has said its SETTINGS."""
    connection = ServerConnection(Limits(**limits), ROUTES)
    sent(connection)
    return connection


def started(**limits: int) -> ServerConnection:
    """A server's connection after the client's preface."""
    connection = server(**limits)
    connection.receive(START, 0.0)
    assert [name for name, *_ in sent(connection)] == ["SETTINGS"]
    return connection


def sent(connection, budget: int = 1 << 20) -> list[tuple[str, int, int, bytes]]:
    return read(b"".join(connection.take(budget)))


def outline(connection) -> list[tuple[str, int]]:
    """Names and streams of what goes out."""
    return [(name, stream_id) for name, _, stream_id, _ in sent(connection)]


def fields(payload: bytes) -> dict[str, str]:
    return dict(Decoder().decode(payload))


def error_of(payload: bytes) -> frames.ErrorCode:
    """The error code of a RST_STREAM or GOAWAY payload: its last word but debug data."""
    return frames.ErrorCode(int.from_bytes(payload[-4:] if len(payload) == 4 else payload[4:8]))


def plain(event: object) -> object:
    """An event without objects that differ between connections."""
    match event:
        case (stream_id, head, body):
            return stream_id, head.path, body
        case StreamOpened(stream, head):
            return "opened", stream.id, head.path
        case MessageReceived(stream, body):
            return "message", stream.id, body
        case StreamEnded(stream):
            return "ended", stream.id
        case StreamReset(stream, code):
            return "reset", stream.id, code
        case ConnectionEnded(code):
            return "connection", code
        case _:
            return event


def stream_fault(data: bytes, **limits: int) -> ErrorCode:
    """The error of the stream that these frames end; the connection goes on."""
    connection = started(**limits)
    connection.receive(data, 0.0)
    resets = [payload for name, _, _, payload in sent(connection) if name == "RST_STREAM"]
    assert len(resets) == 1
    assert not connection.ended
    later = call(1001, b"fine")
    assert plain(connection.receive(later, 0.0)[0]) == (1001, "/t.S/Unary", b"fine")
    return error_of(resets[0])
