"""The client's side of a connection.

`open` starts a call; StreamOpened has no counterpart here. A call ends with exactly one of
ResponseEnded and StreamReset.
"""

from collections.abc import Mapping

from builder.base.errors import Code
from builder.wire import frames, grpc, heads, hpacked
from builder.wire.connection import Connection
from builder.wire.events import GoawayReceived, ResponseEnded, ResponseStarted, StreamReset
from builder.wire.frames import (
    END_STREAM,
    LARGEST_STREAM_ID,
    PREFACE,
    ConnectionFaultError,
    ErrorCode,
    StreamFaultError,
)
from builder.wire.heads import ResponseHead
from builder.wire.hpacked import HeaderMemo
from builder.wire.limits import Limits
from builder.wire.stream import MessageFaultError, Stream
from builder.wire.windows import Windows

MANY_BLOCKS = 256


class ClientConnection(Connection):
    """The client's side; `authority` and `scheme` are the same for all its calls."""

    def __init__(self, limits: Limits, authority: str, scheme: str, user_agent: str) -> None:
        window = limits.stream_window  # what comes is asked for
        super().__init__(limits, Windows(window, window, window))
        self.sender.out[:0] = [
            PREFACE,
            frames.settings(
                {
                    frames.ENABLE_PUSH: 0,
                    frames.INITIAL_WINDOW_SIZE: limits.stream_window,
                    frames.MAX_FRAME_SIZE: limits.max_frame,
                    frames.MAX_HEADER_LIST_SIZE: limits.max_header_list,
                }
            ),
        ]
        self._memo = HeaderMemo(heads.read_response, limits.largest_header_list)
        self._before = [(b":method", b"POST"), (b":scheme", scheme.encode())]
        self._after = hpacked.encode(
            [
                (b":authority", authority.encode()),
                (b"te", b"trailers"),
                heads.CONTENT_TYPE,
                (b"user-agent", user_agent.encode()),
            ]
        )
        self._authority = authority
        self._blocks: dict[str, bytes] = {}

    # ---- bytes out

    @property
    def room(self) -> int:
        """How many more calls may be opened now."""
        if self.ended or self.goaway_received or self.last_own_id >= LARGEST_STREAM_ID - 2:
            return 0
        return self.peer_max_streams - len(self.streams)

    def open(
        self,
        path: str,
        metadata: Mapping[str, str | bytes] | None = None,
        timeout_s: float | None = None,
        max_message: int | None = None,
    ) -> Stream:
        """Start a call. Raises ValueError for metadata that cannot be sent."""
        block = self._block_of(path)
        if timeout_s is not None:
            value = grpc.format_timeout(timeout_s).encode()
            block += hpacked.encode_field(b"grpc-timeout", value)
        if metadata:
            block += hpacked.encode(heads.metadata_fields(metadata))
        stream_id = self.last_own_id = self.last_own_id + 2 if self.last_own_id else 1
        stream = Stream(
            stream_id,
            self.sender.initial_window,
            self.limits.stream_window,
            self.limits.max_message if max_message is None else max_message,
        )
        self.streams[stream_id] = stream
        self.sender.out.append(frames.headers(stream_id, block, False, self.sender.max_frame))
        return stream

    def _block_of(self, path: str) -> bytes:
        block = self._blocks.get(path)
        if block is None:
            if len(self._blocks) >= MANY_BLOCKS:
                self._blocks.clear()
            block = hpacked.encode([*self._before, (b":path", path.encode())]) + self._after
            self._blocks[path] = block
        return block

    def finish(self, stream: Stream) -> None:
        """No more messages, after what is queued."""
        if not stream.closed and not stream.ending:
            self.sender.finish(stream)

    # ---- bytes in

    def _on_headers(self, stream_id: int, flags: int, block: bytes) -> None:
        head = self._memo.decode(block)
        stream = self.streams.get(stream_id)
        if stream is None or stream.half_closed:
            self._closed_stream(stream_id, "HEADERS")
            return
        if head.fault or (head.http_status != 0) == stream.headers_done:
            raise StreamFaultError(
                stream_id, ErrorCode.PROTOCOL_ERROR, head.fault or "headers in the wrong order"
            )
        if 100 <= head.http_status < 200:
            return
        ended = bool(flags & END_STREAM)
        if not stream.headers_done:
            stream.headers_done = True
            if not ended and head.status is None:
                self.events.append(ResponseStarted(stream, head))
                return
        elif not ended:
            raise StreamFaultError(
                stream_id, ErrorCode.PROTOCOL_ERROR, "trailers do not end the stream"
            )
        self._respond(stream, head, ended)

    def _respond(self, stream: Stream, head: ResponseHead, ended: bool) -> None:
        """The call has its status; what we still wanted to send is dropped."""
        stream.half_closed = ended
        if not (ended and stream.ended):
            self._send_reset(stream.id, ErrorCode.CANCEL)
        code, message = head.status, head.message
        if not code and (stream.need >= 0 or stream.pieces):  # an error says more
            code, message = Code.INTERNAL, "the response ends inside a message"
        elif code is None:
            code, message = Code.UNKNOWN, "the server's trailers have no grpc-status"
        elif message is heads.NO_GRPC:
            message = f"{self._authority} answered HTTP status {head.http_status} and {message}: "
            message += "is that a gRPC port?"
        self._close(stream)
        self.events.append(ResponseEnded(stream, code, message, head.details, head))

    def _peer_ended(self, stream: Stream) -> None:
        """END_STREAM on DATA: a response without trailers."""
        self._respond(stream, ResponseHead(), ended=True)

    def _message_fault(self, stream: Stream, fault: MessageFaultError) -> None:
        self.reset(stream, ErrorCode.CANCEL)
        self.events.append(ResponseEnded(stream, fault.code, fault.text, b"", ResponseHead()))

    def _on_reset(self, stream: Stream, code: int) -> None:
        self.events.append(
            StreamReset(
                stream,
                code,
                "the server reset the stream",
                unprocessed=code == ErrorCode.REFUSED_STREAM,
            )
        )

    def _goaway(self, payload: bytes) -> None:
        """RFC 9113, 6.8: calls above the last stream were not processed."""
        super()._goaway(payload)
        received = self.events[-1]
        assert isinstance(received, GoawayReceived)
        for stream in [s for s in self.streams.values() if s.id > received.last_stream_id]:
            self._close(stream)
            self.events.append(
                StreamReset(stream, ErrorCode.REFUSED_STREAM, "the server is going away", True)
            )

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id > self.last_own_id or not stream_id & 1

    def _count_peer_reset(self) -> None:
        """A server may reset every call that we make."""

    def _stream_fault(self, fault: StreamFaultError) -> None:
        if self._is_idle(fault.stream_id):
            raise ConnectionFaultError(fault.code, str(fault))
        super()._stream_fault(fault)
