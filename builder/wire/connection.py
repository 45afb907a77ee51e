"""Hot: the half of an HTTP/2 connection that client and server have in common, sans-io; bodies
that come in are `receiving`'s.

Bytes go in by `receive`, which returns events; bytes come out by `take`. Nothing here waits,
reads a clock or touches a socket. `server.ServerConnection` and `client.ClientConnection` add
what a side does with headers.

Inheritance instead of composition: the receive loop of the server touches this state for every
frame, and a hop more per attribute is 5 % of a small call.

Source: RFC 9113. Where it leaves a choice, a fault of one stream resets that stream only.
"""

from collections.abc import Sequence

from builder.wire import frames
from builder.wire.events import (
    ConnectionEnded,
    Event,
    StreamReset,
)
from builder.wire.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER,
    GOAWAY,
    HEADERS,
    LARGEST_STREAM_ID,
    LARGEST_WINDOW,
    PADDED,
    PING,
    PRIORITY,
    PRIORITY_FLAG,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ConnectionFaultError,
    ErrorCode,
    StreamFaultError,
)
from builder.wire.limits import Limits
from builder.wire.pieces import Buffer
from builder.wire.receiving import TINY_OCTETS, Receiving
from builder.wire.stream import Stream
from builder.wire.windows import Windows

MANY_PARTS = 64
REMEMBERED_RESETS = 512
COPY_OCTETS = 4096  # below it, joining costs nothing
FIXED_SIZES = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
ON_CONNECTION = frozenset((SETTINGS, PING, GOAWAY))
ON_STREAM = frozenset((DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, CONTINUATION))

unpack_header = FRAME_HEADER.unpack_from


class Connection(Receiving):
    """State and rules of one connection. Subclasses answer `_on_headers` and `_on_message_end`."""

    def __init__(self, limits: Limits, windows: Windows) -> None:
        super().__init__(limits, windows)
        self.last_own_id = 0
        self.ended = False  # a GOAWAY with an error went out
        self.limits_hit: list[str] = []  # fields of `Limits`, for statistics; the owner clears it
        self._reset_ids: dict[int, None] = {}  # streams that we reset lately
        self._parts: list[bytes] = []  # received, not yet a whole frame
        self._have = 0
        self._need = 1
        self.completed = 0  # frames that came in parts, and others
        self.bulky = False  # whether the last octets were bodies for the most part
        self._block_id = 0
        self._block_flags = 0
        self._block_size = 0

    @property
    def in_headers(self) -> bool:
        """Whether the peer owes us the rest of a header block, or its first SETTINGS."""
        return self._block is not None or not self.settings_received

    @property
    def in_headers_frame(self) -> bool:
        """Whether a frame has come in part that is of a header block, for all one can see of it.
        `completed` tells it from the next one."""
        if not self._have:
            return False
        start = b"".join(self._parts)[:4]
        return len(start) < 4 or start[3] in (HEADERS, CONTINUATION)

    # ---- bytes in

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Events of these bytes. `now` in seconds, for rates. After ConnectionEnded: nothing."""
        if self.ended:
            return []
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            if len(self._parts) > MANY_PARTS:
                self._parts = [b"".join(self._parts)]
            return []
        self.floods.tick(now)
        self.completed += 1
        size, due = len(data), self._recv_due
        try:
            data, at = self._joined(data)
            if self._cut is not None:
                at = self._go_on(self._cut, data)  # of which nothing was kept
            at = self._frames(data, at)
            self._tell_runs()
            if self._cut is not None:
                self._need = 1
            self.bulky = (self._recv_due - due) * 4 >= size * 3
            self._give_back()
        except ConnectionFaultError as fault:
            self._fail(fault)
            at = len(data)
        self._have = len(data) - at
        if self._have:
            self._parts.append(data[at:])
        events = self.events
        self.events = []
        return events

    def _joined(self, data: bytes) -> tuple[bytes, int]:
        """What is to be read, and from where. The frame that the last receive cut is completed
        by itself when much came after it, so that big bodies are not copied once more."""
        parts = self._parts
        if len(parts) == 1:
            parts.clear()
            return data, 0
        if len(data) < COPY_OCTETS:
            data = b"".join(parts)
            parts.clear()
            return data, 0
        missing = self._need - (self._have - len(data))
        parts[-1] = data[:missing]
        first = b"".join(parts)
        parts.clear()
        at = self._frames(first, 0)
        if at < len(first):  # it was only the header of a frame
            return first[at:] + data[missing:], 0
        return data, missing

    def _frames(self, data: bytes, at: int) -> int:
        """Handle every whole frame from `at`; returns where the first incomplete one begins."""
        end = len(data)
        while end - at >= 9:
            word, flags, stream_id = unpack_header(data, at)
            stop = at + 9 + (word >> 8)
            if stop > end:
                self._check_size(word >> 8)
                if not (word & 0xFF or flags) and self._takes_cut(stream_id, data, at + 9, stop):
                    return end
                self._need = stop - at
                return at
            taken = 0 if word & 0xFF or flags else self._bulk(stream_id, data, at + 9, stop)
            if not taken:
                self.frame(word, flags, stream_id & LARGEST_STREAM_ID, data, at + 9, stop)
            at = taken or stop
        self._need = 9
        return at

    def _check_size(self, size: int) -> None:
        if size > self.limits.max_frame:
            raise ConnectionFaultError(
                ErrorCode.FRAME_SIZE_ERROR,
                f"a frame of {size} octets is larger than {self.limits.max_frame}",
            )

    def frame(
        self, word: int, flags: int, stream_id: int, data: bytes, start: int, stop: int
    ) -> None:
        """One whole frame: its payload is data[start:stop]."""
        kind = word & 0xFF
        self._check_size(stop - start)
        self._check_shape(kind, stream_id, stop - start)
        try:
            if kind == DATA:
                self._data(flags, stream_id, data, start, stop)
            elif kind == HEADERS:
                self._headers(flags, stream_id, data, start, stop)
            elif kind == CONTINUATION:
                self._continuation(flags, stream_id, data[start:stop])
            elif kind == WINDOW_UPDATE:
                self._window_update(stream_id, data, start)
            elif kind == RST_STREAM:
                self._rst_stream(stream_id, int.from_bytes(data[start:stop], "big"))
            else:
                self.control(kind, flags, stream_id, data[start:stop])
        except StreamFaultError as fault:
            self._stream_fault(fault)

    def _check_shape(self, kind: int, stream_id: int, size: int) -> None:
        """RFC 9113, section 6: where each type may come, and how long it is."""
        if self._block is not None and (kind != CONTINUATION or stream_id != self._block_id):
            raise ConnectionFaultError(
                ErrorCode.PROTOCOL_ERROR, "a header block was not continued by CONTINUATION"
            )
        if not self.settings_received and kind != SETTINGS:
            raise ConnectionFaultError(
                ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS (RFC 9113, 3.4)"
            )
        if (stream_id and kind in ON_CONNECTION) or (not stream_id and kind in ON_STREAM):
            raise ConnectionFaultError(
                ErrorCode.PROTOCOL_ERROR, f"frame type {kind} on stream {stream_id}"
            )
        if FIXED_SIZES.get(kind, size) != size and kind != PRIORITY:
            raise ConnectionFaultError(
                ErrorCode.FRAME_SIZE_ERROR, f"frame type {kind} of {size} octets"
            )

    # ---- frames of streams

    def _data(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        size = stop - start
        self._recv_credit -= size
        self._recv_due += size
        if flags & PADDED:
            start, stop = _unpad(data, start, stop)
        tiny = stop - start < TINY_OCTETS and not flags & END_STREAM
        stream = self.streams.get(stream_id)
        if stream is None or stream.half_closed:
            if tiny:
                self.floods.count_tiny()
            self._closed_stream(stream_id, "DATA")
            return
        stream.recv_credit -= size
        if stream.recv_credit < 0:
            raise StreamFaultError(
                stream_id, ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the stream's window"
            )
        stream.body_octets += stop - start
        stream.recv_due += size
        if not self._body(stream, memoryview(data)[start:stop]) and tiny:
            self.floods.count_tiny()
        if flags & END_STREAM and not stream.closed:
            stream.half_closed = True
            if not stream.ignored:
                self._peer_ended(stream)

    def _headers(self, flags: int, stream_id: int, data: bytes, start: int, stop: int) -> None:
        if flags & PADDED:
            start, stop = _unpad(data, start, stop)
        if flags & PRIORITY_FLAG:
            start += 5
            if start > stop:
                raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS is too short")
        if flags & END_HEADERS:
            self._on_headers(stream_id, flags, data[start:stop])
            return
        self._block = [data[start:stop]]
        self._block_id, self._block_flags, self._block_size = stream_id, flags, stop - start

    def _continuation(self, flags: int, stream_id: int, part: bytes) -> None:
        if self._block is None:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._block.append(part)
        self._block_size += len(part)
        if (
            len(self._block) > self.limits.max_continuations
            or self._block_size > self.limits.largest_header_list
        ):
            raise ConnectionFaultError(
                ErrorCode.ENHANCE_YOUR_CALM,
                "a header block without end (CONTINUATION flood)",
                "max_continuations",
            )
        if flags & END_HEADERS:
            block = b"".join(self._block)
            self._block = None
            self._on_headers(stream_id, self._block_flags, block)

    def _window_update(self, stream_id: int, data: bytes, start: int) -> None:
        increment = int.from_bytes(data[start : start + 4], "big") & LARGEST_WINDOW
        if stream_id == 0:
            if not increment:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self._count_update()
            self.sender.window += increment
            if self.sender.window > LARGEST_WINDOW:
                raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, "window above 2^31-1")
            return
        stream = self._find(stream_id, "WINDOW_UPDATE")
        if not increment:
            raise StreamFaultError(stream_id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        if stream is None:
            self._count_update()
            return
        if increment < TINY_OCTETS and (
            stream.queued or stream.send_window == stream.updated_window
        ):
            self.floods.count_control()  # but not what gives back a small message: grpc-core does
        else:
            self._count_update()
        stream.send_window += increment
        stream.updated_window = stream.send_window
        if stream.send_window > LARGEST_WINDOW:
            raise StreamFaultError(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "window above 2^31-1")
        if stream.queued:
            self.sender.ready[stream] = None

    def _count_update(self) -> None:
        self.floods.count_update((self.last_peer_id + 1) >> 1, self.sender.frames)

    def _rst_stream(self, stream_id: int, code: int) -> None:
        stream = self._find(stream_id, "RST_STREAM")
        self._count_peer_reset()
        if stream is not None:
            self._close(stream)
            self._on_reset(stream, code)

    def _find(self, stream_id: int, what: str) -> Stream | None:
        """An open stream, or None when it is closed. Raises for an idle one (RFC 9113, 5.1)."""
        stream = self.streams.get(stream_id)
        if stream is None and self._is_idle(stream_id):
            raise ConnectionFaultError(
                ErrorCode.PROTOCOL_ERROR, f"{what} on the idle stream {stream_id}"
            )
        return stream

    def _closed_stream(self, stream_id: int, what: str) -> None:
        """A frame that needs an open stream came for one that is not (RFC 9113, 5.1).

        It may have been on its way when we reset that stream, or said GOAWAY; else it is a fault.
        """
        self._find(stream_id, what)
        if stream_id not in self._reset_ids and not self._is_unheard(stream_id):
            raise StreamFaultError(
                stream_id, ErrorCode.STREAM_CLOSED, f"{what} after the end of the stream"
            )

    # ---- bytes out

    def take(self, budget: int) -> list[Buffer]:
        """What should be written now: everything urgent, and DATA up to about `budget` octets."""
        sender = self.sender
        out = sender.take(budget)
        if sender.finished:
            for stream in sender.finished:
                self._sent_end(stream)
            sender.finished.clear()
            out += sender.out
            sender.out.clear()
        return out

    def send_message(self, stream: Stream, message: Buffer | Sequence[Buffer]) -> bool:
        """Queue one message. Returns whether more may follow; else wait for `sender.writable`."""
        if stream.closed or stream.ending:
            return True
        self.sender.enqueue(stream, message)
        stream.waiting = stream.queued > self.limits.send_queue
        return not stream.waiting

    def reset(self, stream: Stream, code: int) -> None:
        """End the stream at once, if it is still open."""
        if not stream.closed:
            self._send_reset(stream.id, code)
            self._close(stream)

    def _send_reset(self, stream_id: int, code: int) -> None:
        self.sender.out.append(frames.rst_stream(stream_id, code))
        if len(self._reset_ids) >= REMEMBERED_RESETS:
            del self._reset_ids[next(iter(self._reset_ids))]
        self._reset_ids[stream_id] = None

    # ---- ends

    def _close(self, stream: Stream) -> None:
        stream.closed = True
        self.sender.drop(stream)
        stream.drop()
        self.streams.pop(stream.id, None)
        if stream.goes_on:
            stream.goes_on = False
            self._windows.leave()

    def close(self) -> None:
        """Nothing more comes, or goes."""
        for stream in list(self.streams.values()):
            self._close(stream)

    def _sent_end(self, stream: Stream) -> None:
        if stream.half_closed:
            self._close(stream)

    def _fail(self, fault: ConnectionFaultError) -> None:
        self.ended = True
        self.goaway(fault.code, fault.text.encode()[:200])
        if fault.limit:
            self.limits_hit.append(fault.limit)
        self.events.append(ConnectionEnded(fault.code, fault.text))

    def _stream_fault(self, fault: StreamFaultError) -> None:
        self.floods.count_reset()
        self._send_reset(fault.stream_id, fault.code)
        stream = self.streams.get(fault.stream_id)
        if stream is not None:
            self._close(stream)
            self.events.append(StreamReset(stream, fault.code, str(fault)))

    def _count_peer_reset(self) -> None:
        self.floods.count_reset()

    # ---- what a side decides

    def _is_idle(self, stream_id: int) -> bool:
        raise NotImplementedError

    def _is_unheard(self, stream_id: int) -> bool:
        """Whether a GOAWAY of ours said that this stream is not processed."""
        return self.goaway_sent and stream_id > self.last_peer_id

    def _on_headers(self, stream_id: int, flags: int, block: bytes) -> None:
        raise NotImplementedError

    def _on_reset(self, stream: Stream, code: int) -> None:
        raise NotImplementedError

    def _peer_ended(self, stream: Stream) -> None:
        raise NotImplementedError


def _unpad(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """Where the payload without padding is (RFC 9113, 6.1)."""
    if start >= stop:
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without pad length")
    padding = data[start]
    if start + 1 + padding > stop:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame")
    return start + 1, stop - padding
