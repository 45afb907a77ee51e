"""Hot: what goes out. Blobs leave the disk store at 1.5 GB for a CPU second, in frames of 16 KiB
(`python -m tests.bench wire`, figures.read_gb_per_cpu_s).

Control frames and small answers go into `out` at once and keep their order. Message octets of
streams wait in their queues; `take` turns them into DATA frames round robin, a quantum for each
stream, as far as the windows and the caller's budget allow. The budget is what keeps a big blob
from delaying small answers: nothing is framed long before the socket can take it. Buffers are
never copied: DATA payloads are memoryviews of what the application gave.
"""

from collections.abc import Sequence
from struct import Struct

from builder.wire import frames
from builder.wire.frames import DATA, pack_header
from builder.wire.pieces import PREFIX_OCTETS, Buffer
from builder.wire.stream import Stream

QUANTUM = 64 * 1024
SMALL_PIECE = 64  # octets that are joined to the prefix of their message
SMALL_MESSAGE = 4096  # octets that may go into `out` at once,
FEW = 256  # while no more buffers than these wait there
_DATA = Struct(">IBIBI")  # header of a DATA frame, and the prefix of the message in it

pack_data = _DATA.pack


class Sender:
    """The outgoing half of a connection."""

    __slots__ = (
        "backlog",
        "finished",
        "frames",
        "initial_window",
        "max_frame",
        "moved",
        "out",
        "queue_limit",
        "ready",
        "window",
        "writable",
    )

    def __init__(self, queue_limit: int) -> None:
        self.out: list[Buffer] = []
        self.window = frames.DEFAULT_WINDOW
        self.initial_window = frames.DEFAULT_WINDOW
        self.max_frame = frames.DEFAULT_MAX_FRAME
        self.queue_limit = queue_limit
        self.backlog = 0  # octets in the queues of all streams
        self.moved = 0  # octets that have left the queues,
        self.frames = 0  # in so many DATA frames; short answers of unary calls are in neither
        self.ready: dict[Stream, None] = {}  # streams with something queued, in turn
        self.writable: list[Stream] = []  # somebody waited for these, and may now send more
        self.finished: list[Stream] = []  # our END_STREAM of these is on its way

    def enqueue(self, stream: Stream, message: Buffer | Sequence[Buffer]) -> None:
        """Queue one gRPC message, given whole or in pieces."""
        pieces = (message,) if isinstance(message, bytes | bytearray | memoryview) else message
        size = sum(map(len, pieces))
        prefix = b"\0" + size.to_bytes(4, "big")
        if pieces and len(pieces[0]) <= SMALL_PIECE:
            prefix += pieces[0]
            pieces = pieces[1:]
        stream.queue.append(prefix)
        for piece in pieces:
            if len(piece):
                stream.queue.append(piece)
        stream.queued += size + PREFIX_OCTETS
        self.backlog += size + PREFIX_OCTETS
        self.ready[stream] = None

    def pass_by(self, stream: Stream, message: Buffer | Sequence[Buffer]) -> bool:
        """Whether the message is so small that it went past the queue, into `out` at once."""
        if stream.queued or len(self.out) >= FEW:
            return False
        pieces = (message,) if isinstance(message, bytes | bytearray | memoryview) else message
        size = sum(map(len, pieces))
        framed = size + PREFIX_OCTETS
        if framed > SMALL_MESSAGE or framed > self.window or framed > stream.send_window:
            return False
        self.window -= framed
        stream.send_window -= framed
        self.moved += framed
        self.frames += 1
        self.out.append(pack_data(framed << 8 | DATA, 0, stream.id, 0, size))
        self.out += pieces
        return True

    def finish(self, stream: Stream, final_block: bytes = b"") -> None:
        """After what is queued, end the stream: by this header block, or by an empty DATA flag."""
        stream.ending = True
        if final_block and not stream.queued:
            self.out.append(frames.headers(stream.id, final_block, True, self.max_frame))
            self._end(stream)
            return
        stream.final_block = final_block
        self.ready[stream] = None

    def drop(self, stream: Stream) -> None:
        """Forget what is queued: the stream was reset."""
        self.backlog -= stream.queued
        stream.queue.clear()
        stream.queued = 0
        self.ready.pop(stream, None)
        self._wake(stream)
        self._wake(stream)

    def _wake(self, stream: Stream) -> None:
        if stream.waiting:
            stream.waiting = False
            self.writable.append(stream)

    def take(self, budget: int) -> list[Buffer]:
        """What should be written now: everything urgent, and DATA up to about `budget` octets."""
        out = self.out
        self.out = []
        if self.ready:
            blocked: list[Stream] = []
            while self.ready and budget > 0:
                stream = next(iter(self.ready))
                del self.ready[stream]
                sent = self._frame(stream, out, min(QUANTUM, budget) if self.ready else budget)
                budget -= sent
                if stream.queued <= self.queue_limit:
                    self._wake(stream)
                if stream.ended or not (stream.queued or stream.ending):
                    continue
                if sent:
                    self.ready[stream] = None
                else:
                    blocked.append(stream)
            if blocked and self.window <= 0:
                for stream in blocked:
                    self.ready[stream] = None
        return out

    def has_more(self) -> bool:
        """Whether `take` has something to give that no window holds back."""
        return bool(self.out) or (bool(self.ready) and self.window > 0)

    def _frame(self, stream: Stream, out: list[Buffer], budget: int) -> int:
        """Frame up to `budget` octets of this stream's queue; returns what was framed.

        0 means that it is blocked by a window; a lone end of stream counts as 1.
        """
        total = 0
        while stream.queued:
            if total >= budget:
                return total
            most = min(self.window, stream.send_window, budget - total, stream.queued - 1)
            if most >= 2 * self.max_frame and (
                size := _full_frames(stream, out, most, self.max_frame)
            ):
                self._count(stream, size)
                total += size
                continue
            size = min(stream.queued, self.window, stream.send_window, self.max_frame)
            if size <= 0:
                return total
            self._count(stream, size)
            total += size
            last = stream.ending and not stream.queued and not stream.final_block
            out.append(pack_header(size << 8 | DATA, 1 if last else 0, stream.id))
            _move(stream, out, size)
            if last:
                self._end(stream)
        if stream.ending and not stream.ended:
            self._end(stream)
            block = stream.final_block
            if block:
                out.append(frames.headers(stream.id, block, True, self.max_frame))
            else:
                out.append(pack_header(DATA, frames.END_STREAM, stream.id))
            total += 1
        return total

    def _count(self, stream: Stream, size: int) -> None:
        stream.queued -= size
        stream.send_window -= size
        self.window -= size
        self.backlog -= size
        self.moved += size
        self.frames += -(-size // self.max_frame)

    def _end(self, stream: Stream) -> None:
        stream.ended = True
        self.finished.append(stream)


def _full_frames(stream: Stream, out: list[Buffer], most: int, max_frame: int) -> int:
    """Frame up to `most` octets of the first buffer, as far as they fill whole frames; these
    share one header. Returns how many octets that were."""
    piece = stream.queue[0]
    size = min(most, len(piece)) // max_frame * max_frame
    if size:
        view = memoryview(piece)
        header = pack_header(max_frame << 8 | DATA, 0, stream.id)
        for at in range(0, size, max_frame):
            out += (header, view[at : at + max_frame])
        if size == len(piece):
            stream.queue.popleft()
        else:
            stream.queue[0] = view[size:]
    return size


def _move(stream: Stream, out: list[Buffer], size: int) -> None:
    """Move `size` octets from the stream's queue to `out`, slicing the last buffer."""
    queue = stream.queue
    while size:
        piece = queue[0]
        if len(piece) <= size:
            out.append(piece)
            size -= len(piece)
            queue.popleft()
        else:
            view = memoryview(piece)
            out.append(view[:size])
            queue[0] = view[size:]
            return
