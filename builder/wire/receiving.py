"""Hot: bodies that come in, their messages and their windows. Blobs come in, are hashed with BLAKE3
and stored at 0.8 GB for a CPU second (`python -m tests.bench wire`,
figures.write_blake3_gb_per_cpu_s).

Clients cut large messages into frames of one size, so those are taken many at a time: a frame
costs a comparison and a view of what was received, and nothing is copied but the frame that a
receive has cut. An octet is given back (WINDOW_UPDATE) when its message is consumed; those of a
message that is still coming in at once, or one larger than the window would never end.
"""

from builder.wire import frames
from builder.wire.control import Control
from builder.wire.events import MessageReceived
from builder.wire.frames import (
    FRAME_HEADER,
    HEADER_OCTETS,
    ConnectionFaultError,
    ErrorCode,
)
from builder.wire.limits import Limits
from builder.wire.stream import (
    MANY_PIECES,
    PREFIX_OCTETS,
    Buffer,
    Message,
    MessageFaultError,
    Stream,
    unpinned,
)

TINY_OCTETS = 64

unpack_header = FRAME_HEADER.unpack_from


class Receiving(Control):
    """The part of a connection that is about DATA; see `connection.Connection`."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._block: list[bytes] | None = None  # header block waiting for CONTINUATION
        self._recv_credit = frames.DEFAULT_WINDOW
        self._recv_due = 0
        self._grow_window()

    def _bulk(self, stream_id: int, data: bytes, start: int, stop: int) -> int:
        """Take a DATA frame that is a whole message. Or one of a large message, and those after it
        that have the same header: clients cut messages into frames of one size; then the message's
        last frame, if it is there. Returns where the next frame begins; 0 if this is something
        else."""
        stream = self.streams.get(stream_id)
        size = stop - start
        if (
            stream is None
            or stream.ignored
            or stream.half_closed
            or self._block is not None
            or not PREFIX_OCTETS < size <= self.limits.max_frame
        ):
            return 0
        begins = stream.need < 0
        need = stream.announced(data, start) if begins else stream.need
        if begins and need == size - PREFIX_OCTETS and size <= stream.recv_credit:
            return self._small(stream, data, start, stop)
        if size < TINY_OCTETS:
            return 0
        received = -PREFIX_OCTETS if begins else stream.received
        room = min(need - received - 1, stream.recv_credit)
        places = MANY_PIECES - 1 - len(stream.pieces)
        if room < size or places <= 0:
            return 0
        step = size + HEADER_OCTETS
        last = start + step * min(room // size, places, (len(data) - start + 9) // step)
        header = data[start - HEADER_OCTETS : start]
        after = start + step
        while after < last and data[after - HEADER_OCTETS : after] == header:
            after += step
        view = memoryview(data)
        pieces: list[Buffer] = [view[at : at + size] for at in range(start, after, step)]
        if len(pieces) == 1:
            pieces = [unpinned(pieces[0])]
        if begins:
            stream.need, stream.compressed = need, False
            pieces[0] = pieces[0][PREFIX_OCTETS:]
        taken = (after - start) // step * size
        stream.pieces += pieces
        stream.received = received + taken
        return self._last(stream, view, after, taken)

    def _small(self, stream: Stream, data: bytes, start: int, stop: int) -> int:
        """A message that is a frame, the only one in it; returns where the next frame begins."""
        size = stop - start
        stream.body_octets += size
        stream.recv_credit -= size
        self._recv_credit -= size
        self._recv_due += size
        if stream.encoding:
            stream.wire_sizes.append(size - PREFIX_OCTETS)
        try:
            self._message(stream, data[start + PREFIX_OCTETS : stop])
        except MessageFaultError as fault:
            stream.ignored = True
            self._message_fault(stream, fault)
        return stop

    def _last(self, stream: Stream, view: memoryview, start: int, taken: int) -> int:
        """Take the frame whose payload is at `start`, too, if it brings the rest of the message
        and nothing else; returns where the next one begins. `taken` are the octets before it."""
        size = stream.need - stream.received
        stop = start + size
        if (
            stop <= len(view)
            and size <= min(stream.recv_credit - taken, self.limits.max_frame)
            and unpack_header(view, start - HEADER_OCTETS) == (size << 8, 0, stream.id)
        ):
            self._took(stream, taken + size)
            self._finished(stream, view[start:stop])
            return stop
        self._took(stream, taken)
        if stream.recv_due * 2 >= self.limits.stream_window:
            self._give_back_stream(stream)
        return start - HEADER_OCTETS

    def _finished(self, stream: Stream, rest: memoryview) -> None:
        """The last octets of a message came."""
        try:
            self._message(stream, stream.finish(rest))
        except MessageFaultError as fault:
            stream.ignored = True
            self._message_fault(stream, fault)
        else:
            self._give_back_stream(stream)

    def _took(self, stream: Stream, octets: int) -> None:
        """So many octets of DATA came."""
        stream.body_octets += octets
        stream.recv_credit -= octets
        stream.recv_due += octets
        self._recv_credit -= octets
        self._recv_due += octets

    def _body(self, stream: Stream, payload: memoryview) -> bool:
        """Cut messages from a body; what is not yet a whole message is given back at once.

        Returns whether a message came to its end.
        """
        if stream.ignored:
            return False
        messages: list[Message] = []
        try:
            messages = stream.take_messages(payload)
            for message in messages:
                self._message(stream, message)
        except MessageFaultError as fault:
            stream.ignored = True
            self._message_fault(stream, fault)
        else:
            self._give_back_stream(stream)
        return bool(messages)

    def _message(self, stream: Stream, message: Message) -> None:
        self.events.append(MessageReceived(stream, message))

    def consumed(self, stream: Stream, size: int) -> None:
        """The application took a message of `size` octets: the peer may send as many more."""
        if stream.wire_sizes:
            size = stream.wire_sizes.popleft()
        stream.recv_due += size + PREFIX_OCTETS
        self._give_back_stream(stream)

    def _give_back_stream(self, stream: Stream) -> None:
        due = stream.recv_due
        if due * 2 >= self.limits.stream_window and not stream.half_closed and not stream.closed:
            self.sender.out.append(frames.window_update(stream.id, due))
            stream.recv_credit += due
            stream.recv_due = 0

    def _give_back(self) -> None:
        """Once per receive: check the connection's window and open it again."""
        if self._recv_credit < 0:
            raise ConnectionFaultError(
                ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the connection's window"
            )
        if self._recv_due * 2 >= self.limits.connection_window:
            self._relieve()
            self._grow_window()

    def _relieve(self) -> None:
        """Before the peer may send as much again."""

    def _grow_window(self) -> None:
        increment = self.limits.connection_window - self._recv_credit
        if increment > 0:
            self.sender.out.append(frames.window_update(0, increment))
            self._recv_credit += increment
        self._recv_due = 0

    def _message_fault(self, stream: Stream, fault: MessageFaultError) -> None:
        raise NotImplementedError
