"""What a connection tells its owner. One event per complete unary call, not one per frame.

A complete unary call is a plain tuple `(stream id, head, message)`, because a server makes
100,000 of them a second; all others are values of the classes below.
"""

from dataclasses import dataclass

from builder.wire.heads import RequestHead, ResponseHead
from builder.wire.stream import Message, Stream

UnaryCalled = tuple[int, RequestHead, bytes]


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """Server: a call of a streaming method began."""

    stream: Stream
    head: RequestHead


@dataclass(slots=True)  # frozen would take three times as long to make
class MessageReceived:
    """One whole gRPC message, in pieces where the stream wants that. Say `consumed` when the
    application took it."""

    stream: Stream
    message: Message


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """Server: the peer sends no more messages on this stream."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    """Client: initial metadata."""

    stream: Stream
    head: ResponseHead


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """Client: the call has a status. The stream is closed."""

    stream: Stream
    code: int
    message: str
    details: bytes
    head: ResponseHead


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The stream was ended by RST_STREAM or by a fault of the peer. It is closed.

    `unprocessed`: the server says that it did nothing with it, so it may be tried again.
    """

    stream: Stream
    code: int
    text: str
    unprocessed: bool = False


@dataclass(frozen=True, slots=True)
class SettingsReceived:
    """The peer's settings changed; they are in force."""


@dataclass(frozen=True, slots=True)
class PingAcknowledged:
    opaque: bytes


@dataclass(frozen=True, slots=True)
class GoawayReceived:
    """The peer takes no new streams; those above `last_stream_id` were not processed."""

    last_stream_id: int
    code: int
    debug: bytes


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """The peer broke the protocol or a limit: a GOAWAY is in the output, then close."""

    code: int
    text: str


Event = (
    UnaryCalled
    | StreamOpened
    | MessageReceived
    | StreamEnded
    | ResponseStarted
    | ResponseEnded
    | StreamReset
    | SettingsReceived
    | PingAcknowledged
    | GoawayReceived
    | ConnectionEnded
)
