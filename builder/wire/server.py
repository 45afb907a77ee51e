"""Hot: the server's side of a connection.

A small unary call costs one memo look-up, one `unpack_from` and one tuple here, and two packs on
the way out; no stream object is made for it. GetActionResult, parsing included, takes 3 to 5 us of
CPU, where the same handler takes 170 on h2 and on grpcio (`python -m tests.bench wire`,
figures.gar_per_cpu_s_bare); the branches in `_frames` are one long function for that reason.

A call is reported in one of two ways, by its route:
- unary: one tuple `(stream id, head, message)` when it is complete. Answer it by `reply` or
  `fail` before the next `receive`, or `adopt` it first and answer later.
- streaming: StreamOpened, MessageReceived..., StreamEnded. Answer by `send_message`, `finish`.
"""

from collections.abc import Mapping, Sequence
from struct import Struct

from builder.base.errors import Code
from builder.wire import frames, heads
from builder.wire.connection import Connection
from builder.wire.events import Event, MessageReceived, StreamEnded, StreamOpened, StreamReset
from builder.wire.frames import (
    END_STREAM,
    FRAME_HEADER,
    HEADERS,
    LARGEST_STREAM_ID,
    PREFACE,
    ConnectionFaultError,
    ErrorCode,
    StreamFaultError,
)
from builder.wire.hpacked import HeaderMemo
from builder.wire.limits import Limits
from builder.wire.pieces import PREFIX_OCTETS, Buffer
from builder.wire.runs import Run
from builder.wire.sending import FEW, SMALL_MESSAGE, pack_data
from builder.wire.stream import Message, MessageFaultError, Stream, whole
from builder.wire.unfinished import largest, unfinished
from builder.wire.windows import Windows

# The response of a small unary call: HEADERS, DATA and message prefix; then the trailers.
_ANSWER = Struct(f">IBI{len(heads.RESPONSE_BLOCK)}sIBIBI")
_TRAILERS = Struct(f">IBI{len(heads.OK_BLOCK)}s")
_ANSWER_WORD = len(heads.RESPONSE_BLOCK) << 8 | HEADERS
_TRAILERS_WORD = len(heads.OK_BLOCK) << 8 | HEADERS
_CALL = Struct(">IBIBI")  # header of the DATA frame that follows HEADERS, and its message prefix

pack_answer = _ANSWER.pack
pack_trailers = _TRAILERS.pack
unpack_call = _CALL.unpack_from
unpack_header = FRAME_HEADER.unpack_from


def windows_of(limits: Limits) -> Windows:
    """For all connections that have these limits."""
    return Windows(limits.initial_window, limits.stream_window, limits.all_windows)


class ServerConnection(Connection):
    """The server's side. `routes` maps `/package.Service/Method` to what is served there."""

    def __init__(
        self,
        limits: Limits,
        routes: Mapping[str, heads.Route],
        windows: Windows | None = None,
    ) -> None:
        super().__init__(limits, windows or windows_of(limits))
        self.sender.out.insert(
            0,
            frames.settings(
                {
                    frames.MAX_CONCURRENT_STREAMS: limits.max_streams,
                    frames.INITIAL_WINDOW_SIZE: self._windows.initial,
                    frames.MAX_FRAME_SIZE: limits.max_frame,
                    frames.MAX_HEADER_LIST_SIZE: limits.max_header_list,
                }
            ),
        )
        self.begun: list[Stream] = []  # unary calls whose message comes yet; the owner clears it
        self.refused = 0  # calls that were answered here: unknown paths, bad content types
        self.draining = False
        self._preface = PREFACE
        self._memo = HeaderMemo(
            heads.RequestReader(routes, limits.max_header_list),
            limits.largest_header_list,
            limits.max_header_list,
        )
        self._known = self._memo.known
        self._batch_floor = 0  # streams above it were called in this receive,
        self._calls = 0  # so many of them, which are not in `streams`

    # ---- bytes in

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Events of these bytes. `now` in seconds, for rates. After ConnectionEnded: nothing."""
        self._batch_floor = self.last_peer_id
        self._calls = 0
        return super().receive(data, now)

    def _frames(self, data: bytes, at: int) -> int:
        end = len(data)
        if self._preface:
            at = self._read_preface(data)
            if self._preface:
                return at
        known = self._known
        append = self.events.append
        max_streams = self.limits.max_streams
        max_frame = self.limits.max_frame
        streams = self.streams
        last_id = self.last_peer_id
        taken, calls = 0, self._calls
        room = 0 if self.draining or self.sender.backlog > self.limits.max_backlog else max_streams
        while end - at >= 9:
            word, flags, stream_id = unpack_header(data, at)
            start = at + 9
            stop = start + (word >> 8)
            if stop > end:
                self._check_size(word >> 8)
                if not (word & 0xFF or flags) and self._takes_cut(stream_id, data, start, stop):
                    at = end
                else:
                    self._need = stop - at
                break
            if (
                word & 0xFF == 1
                and flags == 4
                and last_id < stream_id <= LARGEST_STREAM_ID
                and stream_id & 1
                and stop + 14 <= end
                and self._block is None
                and self.settings_received
                and stop - start <= max_frame
            ):
                block = data[start:stop]
                head = known.get(block) or self._memo.decode(block)
                word, flags, same_id, compressed, size = unpack_call(data, stop)
                after = stop + 14 + size
                if (
                    head.unary
                    and not head.fault
                    and word == size + 5 << 8
                    and flags == 1
                    and same_id == stream_id
                    and not compressed
                    and after <= end
                    and size <= head.max_message
                    and calls + len(streams) < room
                ):
                    append((stream_id, head, data[stop + 14 : after]))
                    self.last_peer_id = last_id = stream_id
                    taken += size + 5
                    calls += 1
                    at = after
                    continue
                self._calls = calls
                self._begin(stream_id, head, 4)
                last_id = self.last_peer_id
                at = stop
                continue
            bulk = 0 if word & 0xFF or flags else self._bulk(stream_id, data, start, stop)
            if not bulk:
                self._calls = calls
                self.frame(word, flags, stream_id & LARGEST_STREAM_ID, data, start, stop)
                last_id = self.last_peer_id
            at = bulk or stop
        else:
            self._need = 9
        self._calls = calls
        self._recv_credit -= taken
        self._recv_due += taken
        return at

    def _read_preface(self, data: bytes) -> int:
        """RFC 9113, 3.4. Whatever differs is not a client of HTTP/2."""
        size = min(len(data), len(PREFACE))
        if data[:size] != PREFACE[:size]:
            raise ConnectionFaultError(
                ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2 (with prior knowledge)"
            )
        if size < len(PREFACE):
            self._need = len(PREFACE)
            return 0
        self._preface = b""
        return size

    def _on_headers(self, stream_id: int, flags: int, block: bytes) -> None:
        head = self._memo.decode(block)
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._trailers(stream, head, flags)
            return
        if not stream_id & 1:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a client's stream id is even")
        if stream_id <= self.last_peer_id:
            self._not_new(stream_id)
            return
        self._begin(stream_id, head, flags)

    def _not_new(self, stream_id: int) -> None:
        """HEADERS of a stream that is not open and cannot be opened (RFC 9113, 5.1 and 5.1.1).

        They may have been on their way when we reset it; else the client is confused.
        """
        if self._find(stream_id, "HEADERS") is not None:  # it came in this very receive
            raise StreamFaultError(
                stream_id, ErrorCode.STREAM_CLOSED, "HEADERS after the end of the stream"
            )
        if stream_id in self._reset_ids:
            return
        if stream_id == self.last_peer_id:
            raise ConnectionFaultError(ErrorCode.STREAM_CLOSED, f"stream {stream_id} has ended")
        raise ConnectionFaultError(
            ErrorCode.PROTOCOL_ERROR,
            f"stream id {stream_id} is not above {self.last_peer_id}, which came before it",
        )

    def _begin(self, stream_id: int, head: heads.RequestHead, flags: int) -> None:
        """A new stream: open it, or say why not."""
        if self.draining:
            return  # above the last stream of our GOAWAY: ignored (RFC 9113, 6.8)
        self.last_peer_id = stream_id
        try:
            limit = self._limit_hit()
            if limit:
                self.limits_hit.append(limit)
                raise StreamFaultError(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
            if head.fault:
                raise StreamFaultError(stream_id, ErrorCode.PROTOCOL_ERROR, head.fault)
            self._open(stream_id, head, bool(flags & END_STREAM))
        except StreamFaultError as fault:
            self._stream_fault(fault)

    def _limit_hit(self) -> str:
        """Why one more stream is too many, if it is."""
        if len(self.streams) + self._calls >= self.limits.max_streams:
            return "max_streams"
        return "max_backlog" if self.sender.backlog > self.limits.max_backlog else ""

    def _open(self, stream_id: int, head: heads.RequestHead, ended: bool) -> None:
        if head.refusal:
            self.refused += 1
            if isinstance(head, heads.OversizedHead):
                self.limits_hit.append("max_header_list")
            out = self.sender.out
            out.append(frames.headers(stream_id, head.refusal, True, self.sender.max_frame))
            if not ended:
                self._send_reset(stream_id, ErrorCode.NO_ERROR)
            return
        stream = self._make(stream_id, head)
        if not head.unary and (head.route is None or not head.route.unary):
            self.events.append(StreamOpened(stream, head))
        elif not ended:
            self.begun.append(stream)
        if ended:
            stream.half_closed = True
            self._peer_ended(stream)

    def _make(self, stream_id: int, head: heads.RequestHead) -> Stream:
        stream = Stream(
            stream_id, self.sender.initial_window, self._windows.initial, head.max_message
        )
        stream.head = head
        stream.encoding = head.encoding
        if head.route is not None:
            stream.in_pieces = head.route.pieces
            if head.route.runs is not None:
                stream.run = Run(head.route.runs)
        self.streams[stream_id] = stream
        return stream

    def _trailers(self, stream: Stream, head: heads.RequestHead, flags: int) -> None:
        """Request trailers carry nothing for gRPC, but they end the stream (8.1)."""
        if stream.half_closed:
            raise StreamFaultError(
                stream.id, ErrorCode.STREAM_CLOSED, "HEADERS after the end of the stream"
            )
        if not flags & END_STREAM or not head.trailers:
            raise StreamFaultError(
                stream.id, ErrorCode.PROTOCOL_ERROR, "a second header block is not trailers"
            )
        stream.half_closed = True
        if not stream.ignored:
            self._peer_ended(stream)

    def _message(self, stream: Stream, message: Message) -> None:
        head = stream.head
        assert head is not None
        assert head.route is not None
        if not head.route.unary:
            self.events.append(MessageReceived(stream, message))
        elif stream.first_message is None:
            stream.first_message = whole(message)
        else:
            raise MessageFaultError(Code.UNIMPLEMENTED, "a unary call with more than one message")

    def _peer_ended(self, stream: Stream) -> None:
        head = stream.head
        assert head is not None
        assert head.route is not None
        if 0 <= head.content_length != stream.body_octets:
            raise StreamFaultError(
                stream.id, ErrorCode.PROTOCOL_ERROR, "content-length is not the body's length"
            )
        self._tell_run(stream)
        if stream.is_inside:
            self.fail(stream.id, Code.INTERNAL, "the request ends inside a message")
        elif not head.route.unary:
            self.events.append(StreamEnded(stream))
        elif stream.first_message is None:
            self.fail(stream.id, Code.INTERNAL, "a unary call without a message")
        else:
            self.events.append((stream.id, head, stream.first_message))
            stream.first_message = None

    def _message_fault(self, stream: Stream, fault: MessageFaultError) -> None:
        self.fail(stream.id, fault.code, fault.text)
        if fault.code == Code.RESOURCE_EXHAUSTED:
            self.limits_hit.append("max_message")
        self.events.append(StreamReset(stream, ErrorCode.NO_ERROR, fault.text))

    @property
    def unfinished(self) -> int:
        """Octets that are kept of requests that have not ended."""
        return sum(unfinished(self.streams.values()).values())

    def _relieve(self) -> None:
        over = self.unfinished - self.limits.max_unfinished
        self._end_largest(over, self.limits.max_unfinished, "max_unfinished", "one connection")

    def relieve(self, octets: int) -> list[Event]:
        """End calls until so much less is kept of their requests, because it is too much in all."""
        most = self.limits.all_unfinished
        self._end_largest(octets, most, "all_unfinished", "all connections")
        events, self.events = self.events, []
        return events

    def _end_largest(self, octets: int, most: int, limit: str, where: str) -> None:
        text = f"more than {most} bytes of unfinished requests on {where}"
        for stream in largest(self.streams.values(), octets):
            stream.ignored = True
            stream.drop()
            self.limits_hit.append(limit)
            self.fail(stream.id, Code.RESOURCE_EXHAUSTED, text)
            self.events.append(StreamReset(stream, ErrorCode.NO_ERROR, text))

    def _on_reset(self, stream: Stream, code: int) -> None:
        head = stream.head
        if head is not None and head.route is not None and head.route.unary:
            self._uncall(stream.id)
        self.events.append(StreamReset(stream, code, "the client reset the stream"))

    def _find(self, stream_id: int, what: str) -> Stream | None:
        if self._batch_floor < stream_id <= self.last_peer_id and stream_id not in self.streams:
            for event in reversed(self.events):  # rare: called and touched in one receive
                if type(event) is tuple and event[0] == stream_id:
                    return self.adopt(stream_id, event[1])
        return super()._find(stream_id, what)

    def _uncall(self, stream_id: int) -> None:
        self.events[:] = [e for e in self.events if type(e) is not tuple or e[0] != stream_id]

    def _is_idle(self, stream_id: int) -> bool:
        return (stream_id > self.last_peer_id and not self.draining) or not stream_id & 1

    # ---- bytes out

    def adopt(self, stream_id: int, head: heads.RequestHead) -> Stream:
        """A stream for a unary call that is not answered at once, so that a reset finds it."""
        stream = self.streams.get(stream_id)
        if stream is None:
            stream = self._make(stream_id, head)
            stream.half_closed = True
        return stream

    def reply(self, stream_id: int, message: bytes) -> None:
        """Answer a unary call with one message and OK."""
        sender = self.sender
        size = len(message) + PREFIX_OCTETS
        stream = self.streams.get(stream_id)
        if (
            size <= sender.window
            and size <= (sender.initial_window if stream is None else stream.send_window)
            and size <= sender.max_frame
        ):
            sender.window -= size
            sender.out += (
                pack_answer(
                    _ANSWER_WORD, 4, stream_id, heads.RESPONSE_BLOCK,
                    size << 8, 0, stream_id, 0, size - PREFIX_OCTETS,
                ),
                message,
                pack_trailers(_TRAILERS_WORD, 5, stream_id, heads.OK_BLOCK),
            )  # fmt: skip
            if stream is not None:
                stream.ended = True
                self._close(stream)
            return
        if stream is None:
            stream = Stream(stream_id, sender.initial_window, 0, 0)
            stream.half_closed = True
            self.streams[stream_id] = stream
        self.send_headers(stream)
        self.send_message(stream, message)
        stream.waiting = False
        sender.finish(stream, heads.OK_BLOCK)

    def tell(self, stream: Stream, message: Buffer) -> None:
        """One more message of an answer that goes on, after the response headers."""
        sender = self.sender
        size = len(message) + PREFIX_OCTETS
        if (
            size > SMALL_MESSAGE
            or stream.queued
            or size > sender.window
            or size > stream.send_window
            or len(sender.out) >= FEW
            or stream.ending
            or stream.closed
        ):
            self.send_headers(stream)
            self.send_message(stream, message)
            return
        sender.window -= size
        stream.send_window -= size
        sender.moved += size
        sender.frames += 1
        if stream.headers_done:
            sender.out += (pack_data(size << 8, 0, stream.id, 0, size - PREFIX_OCTETS), message)
            return
        stream.headers_done = True
        sender.out += (
            pack_answer(
                _ANSWER_WORD, 4, stream.id, heads.RESPONSE_BLOCK,
                size << 8, 0, stream.id, 0, size - PREFIX_OCTETS,
            ),
            message,
        )  # fmt: skip

    def tell_last(self, stream: Stream, message: Buffer) -> None:
        """The last message of an answer, and OK."""
        self.tell(stream, message)
        if stream.queued or stream.ending or stream.closed or not stream.half_closed:
            self.finish(stream, 0)
            return
        stream.ending = stream.ended = True
        self.sender.out.append(pack_trailers(_TRAILERS_WORD, 5, stream.id, heads.OK_BLOCK))
        self._close(stream)

    def send_message(self, stream: Stream, message: Buffer | Sequence[Buffer]) -> bool:
        """As `Connection.send_message`; a small one, whose end is headers, needs no queue."""
        if not stream.closed and not stream.ending and self.sender.pass_by(stream, message):
            return True
        return super().send_message(stream, message)

    def send_headers(self, stream: Stream, block: bytes = heads.RESPONSE_BLOCK) -> None:
        """Response headers; once."""
        if not stream.headers_done and not stream.closed:
            stream.headers_done = True
            self.sender.out.append(frames.headers(stream.id, block, False, self.sender.max_frame))

    def finish(self, stream: Stream, code: int, message: str = "", details: bytes = b"") -> None:
        """End a call with this status, after what is queued."""
        if stream.closed or stream.ending:
            return
        if stream.headers_done:
            block = heads.trailers(code, message, details) if code else heads.OK_BLOCK
            self.sender.finish(stream, block)
            return
        stream.headers_done = True
        self.sender.finish(stream, heads.trailers_only(code, message, details=details))

    def fail(self, stream_id: int, code: int, message: str, details: bytes = b"") -> None:
        """End a call that has no response yet with this status, at once."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.finish(stream, code, message, details)
            return
        block = heads.trailers_only(code, message, details=details)
        self.sender.out.append(frames.headers(stream_id, block, True, self.sender.max_frame))

    def _sent_end(self, stream: Stream) -> None:
        """An early answer asks the client to stop sending (RFC 9113, 8.1)."""
        if not stream.half_closed:
            self._send_reset(stream.id, ErrorCode.NO_ERROR)
        self._close(stream)

    # ---- draining

    def announce_drain(self) -> None:
        """First GOAWAY: please use another connection; calls on their way are still taken."""
        self.sender.out.append(frames.goaway(LARGEST_STREAM_ID, ErrorCode.NO_ERROR))

    def drain(self) -> None:
        """Second GOAWAY, with the last stream that is served; say it a round trip later."""
        self.draining = True
        self.goaway()
