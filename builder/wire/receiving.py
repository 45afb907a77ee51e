"""Hot: bodies that come in, their messages and their windows. Blobs come in, are hashed with BLAKE3
and stored at 0.8 GB for a CPU second (`python -m tests.bench wire`,
figures.write_blake3_gb_per_cpu_s).

Clients cut large messages into frames of one size, so those are taken many at a time: a frame
costs a comparison and a view of what was received, and nothing is copied but the frame that a
receive has cut; of messages whose octets go on from one to the next (`runs`) not even that.

An octet is given back (WINDOW_UPDATE) when its message is consumed; those of a message that is
still coming in at once, or one larger than the window would never end.
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
from builder.wire.pieces import MANY_PIECES, PREFIX_OCTETS, Buffer, unpinned
from builder.wire.runs import WORTH_OCTETS, Run
from builder.wire.stream import Message, MessageFaultError, Stream
from builder.wire.windows import Windows

TINY_OCTETS = 64

unpack_header = FRAME_HEADER.unpack_from


class Receiving(Control):
    """The part of a connection that is about DATA; see `connection.Connection`."""

    def __init__(self, limits: Limits, windows: Windows) -> None:
        super().__init__(limits)
        self._windows = windows
        self._block: list[bytes] | None = None  # header block waiting for CONTINUATION
        self._recv_credit = frames.DEFAULT_WINDOW
        self._recv_due = 0
        self._runs: dict[Stream, Run] = {}  # that go on in this receive
        self._cut: Stream | None = None  # whose DATA frame has been taken in part
        self._cut_octets = 0  # of it that have not come
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
        if stream.run is not None:
            if size < TINY_OCTETS:
                return 0
            if taken := self._run_on(stream, stream.run, data, start, stop):
                return taken
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
        after = _alike(data, start, size, room, places * size) + HEADER_OCTETS
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
        if stream.encoding or stream.run is not None:
            stream.wire_sizes.append(size - PREFIX_OCTETS)
        try:
            self._message(stream, data[start + PREFIX_OCTETS : stop])
        except MessageFaultError as fault:
            stream.ignored = True
            self._message_fault(stream, fault)
        return stop

    # ---- runs

    def _run_on(self, stream: Stream, run: Run, data: bytes, start: int, stop: int) -> int:
        """As `_run`; one that does not go on from what there is may begin anew."""
        if taken := self._run(stream, run, data, start, stop):
            return taken
        return self._run(stream, run, data, start, stop) if self._tell_run(stream) else 0

    def _run(self, stream: Stream, run: Run, data: bytes, start: int, stop: int) -> int:
        """Take the DATA frame whose payload is there, and those after it, as far as they are of a
        run. Returns where the next frame begins; 0 if this one is something else."""
        view, end, taken, after = memoryview(data), len(data), 0, 0
        credit = stream.recv_credit
        size = stop - start
        while size <= credit - taken:
            if size <= run.left:
                stop = _alike(data, start, size, credit - taken, run.left)
                size = run.take_many(view, start, stop, size)
            elif (at := stream.run_on(view, start, stop)) == start:
                break
            elif at < stop:
                self._runs[stream] = run
                self._took(stream, taken + size)
                self._body(stream, view[at:stop])
                return stop
            after = stop
            taken += size
            if end - stop < HEADER_OCTETS:
                break
            word, flags, stream_id = unpack_header(data, stop)
            size = word >> 8
            start = stop + HEADER_OCTETS
            stop = start + size
            if word & 0xFF or flags or stream_id != stream.id or stop > end:
                break
            if not TINY_OCTETS <= size <= self.limits.max_frame and size != run.left:
                break
        if taken:
            self._runs[stream] = run
            self._took(stream, taken)
        return after

    def _takes_cut(self, stream_id: int, data: bytes, start: int, stop: int) -> bool:
        """Take what has come of a DATA frame that a receive has cut, if it is of a run."""
        stream = self.streams.get(stream_id)
        if (
            stream is None
            or stream.run is None
            or stream.ignored
            or stream.half_closed
            or self._block is not None
            or not TINY_OCTETS <= stop - start <= stream.recv_credit
            or start == len(data)
        ):
            return False
        self._cut, self._cut_octets = stream, stop - start
        self._go_on(stream, data, start)
        return True

    def _go_on(self, stream: Stream, data: bytes, start: int = 0) -> int:
        """More of the frame that was cut; returns where the next one begins."""
        size = min(self._cut_octets, len(data) - start)
        self._took(stream, size)
        if not stream.closed:
            self._body(stream, memoryview(data)[start : start + size])
        self._cut_octets -= size
        if not self._cut_octets:
            self._cut = None
        return start + size

    def _tell_runs(self) -> None:
        """Once per receive."""
        for stream, run in self._runs.items():
            if stream.run is None:
                continue
            if not run.left or run.octets >= WORTH_OCTETS:
                self._tell_run(stream)
            else:
                run.keep()
            self._give_back_stream(stream)
        self._runs.clear()

    def _tell_run(self, stream: Stream) -> bool:
        """Whether there was something of it to tell."""
        run = stream.run
        if run is None or not run.octets:
            return False
        stream.recv_due -= run.octets  # until the application has taken it
        stream.wire_sizes.append(run.octets - PREFIX_OCTETS)
        self._message(stream, run.told())
        return True

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
        run = stream.run
        while run is not None:
            if at := stream.run_on(payload, 0, len(payload)):
                self._runs[stream] = run
                payload = payload[at:]
                if not payload:
                    return not run.left
            if not self._tell_run(stream):
                break
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
        if stream.recv_due * 2 >= stream.window and not (stream.half_closed or stream.closed):
            if not stream.goes_on:
                stream.goes_on = True
                self._windows.join()
            window = self._windows.size
            increment = window - stream.window + stream.recv_due
            if increment * 2 >= window:
                self.sender.out.append(frames.window_update(stream.id, increment))
                stream.recv_credit += increment
                stream.window, stream.recv_due = window, 0

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


def _alike(data: bytes, start: int, size: int, *rooms: int) -> int:
    """Where the last of the frames ends that are like the one whose payload is there, as far as
    each of the rooms goes."""
    step = size + HEADER_OCTETS
    last = start + step * min(min(rooms) // size, (len(data) - start + HEADER_OCTETS) // step)
    header = data[start - HEADER_OCTETS : start]
    after = start + step
    while after < last and data[after - HEADER_OCTETS : after] == header:
        after += step
    return after - HEADER_OCTETS
