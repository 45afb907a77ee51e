"""One stream: its two half-closes, its two windows, the message coming in, the bytes going out.

         peer ends                      we end
  OPEN ------------> half-closed remote --------> CLOSED
    `-----we end---> half-closed local  --peer ends--^      (a reset closes from anywhere)

A closed stream is not in the connection's table; its owner may still hold the object.
"""

from collections import deque
from typing import TYPE_CHECKING, Protocol

from builder.base.errors import Code
from builder.wire import inflating
from builder.wire.pieces import MANY_PIECES, PREFIX_OCTETS, Buffer, unpinned
from builder.wire.runs import Run

if TYPE_CHECKING:
    from builder.wire.heads import RequestHead

Message = bytes | list[Buffer]  # a list: its pieces, as they came


class Owner(Protocol):
    """The call that a stream belongs to, outside of this room."""

    def wake(self) -> None:
        """The stream became writable, or closed."""
        ...

    def cancel(self) -> None:
        """Nobody is at the other end any more."""
        ...


def whole(message: Message) -> bytes:
    """It in one piece."""
    return message if isinstance(message, bytes) else b"".join(message)


class MessageFaultError(Exception):
    """A message of the peer that ends its call with this status."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Stream:
    """State of one stream. The connection changes it; `owner` belongs to the caller."""

    __slots__ = (
        "body_octets",
        "closed",
        "compressed",
        "encoding",
        "ended",
        "ending",
        "final_block",
        "first_message",
        "goes_on",
        "half_closed",
        "head",
        "headers_done",
        "id",
        "ignored",
        "in_pieces",
        "max_message",
        "need",
        "owner",
        "pieces",
        "queue",
        "queued",
        "received",
        "recv_credit",
        "recv_due",
        "run",
        "send_window",
        "updated_window",
        "waiting",
        "window",
        "wire_sizes",
    )

    def __init__(self, id_: int, send_window: int, recv_credit: int, max_message: int) -> None:
        self.id = id_
        self.head: RequestHead | None = None
        self.owner: Owner | None = None
        self.max_message = max_message
        self.half_closed = False  # the peer sends no more
        self.ended = False  # we sent our END_STREAM
        self.closed = False
        self.ignored = False  # a fault was answered; what still comes is thrown away
        self.headers_done = False  # server: response headers sent; client: received
        self.body_octets = 0
        self.first_message: bytes | None = None  # of a unary call that came in many frames
        # receiving
        self.window = recv_credit  # octets that may be on their way, or here and not taken
        self.recv_credit = recv_credit  # octets that the peer may still send
        self.recv_due = 0  # octets taken, not yet given back by WINDOW_UPDATE
        self.pieces: list[Buffer] = []
        self.goes_on = False  # beyond its first window, see `windows`
        self.in_pieces = False  # large messages are given so, not joined
        self.run: Run | None = None  # where messages of some form are told together
        self.need = -1  # size of the message that is coming in, -1 while its prefix is incomplete
        self.received = 0  # octets of it in pieces
        self.encoding = ""  # what messages may be compressed with
        self.compressed = False  # whether the message that is coming in is
        self.wire_sizes: deque[int] = deque()  # with an encoding or a run: what messages took
        # sending
        self.send_window = send_window
        self.updated_window = -1  # what it was after the peer's last WINDOW_UPDATE
        self.queue: deque[Buffer] = deque()
        self.queued = 0  # octets in queue
        self.ending = False  # after the queue: END_STREAM on the last DATA, or final_block
        self.final_block = b""
        self.waiting = False  # somebody wants to know when it is writable

    @property
    def unread(self) -> int:
        """Octets that are kept for it: of whole messages, and of the one that is coming in."""
        kept = self.received if self.run is None else self.received + self.run.octets
        return self.window - self.recv_credit - self.recv_due + kept

    @property
    def is_inside(self) -> bool:
        """Whether a message has begun that has not ended."""
        return self.need >= 0 or bool(self.pieces) or (self.run is not None and self.run.left > 0)

    def run_on(self, data: memoryview, at: int, stop: int) -> int:
        """Take what is of its run, if it has one; returns where something else begins."""
        if self.run is None or self.need >= 0 or self.pieces:
            return at
        return self.run.take(data, at, stop, self.max_message)

    def drop(self) -> None:
        """What is kept of its messages."""
        self.pieces.clear()
        self.run = None

    def take_messages(self, data: Buffer) -> list[Message]:
        """The whole messages that end in these octets of a body; keeps the rest.

        Raises MessageFaultError for a too large message, and one that cannot be decompressed.
        """
        messages: list[Message] = []
        while len(data):
            if self.need < 0:
                if self.pieces:  # a part of a prefix
                    data = b"".join((*self.pieces, data))
                    self.pieces.clear()
                if len(data) < PREFIX_OCTETS:
                    self.pieces.append(data)
                    break
                self.need = self._size(data)
                self.compressed = bool(data[0])
                data = data[PREFIX_OCTETS:]
            missing = self.need - self.received
            if len(data) < missing:
                self._keep(data)
                break
            messages.append(self.finish(data[:missing]))
            data = data[missing:]
        else:
            if self.need == 0:
                messages.append(self.finish(b""))
        return messages

    def announced(self, data: bytes, at: int) -> int:
        """The size of the message whose prefix stands there; -1 if there is something else, or
        something to be said about it."""
        if self.pieces or data[at]:
            return -1
        size = int.from_bytes(data[at + 1 : at + PREFIX_OCTETS], "big")
        return size if size <= self.max_message else -1

    def _size(self, data: Buffer) -> int:
        """The size in a message's prefix, checked."""
        if data[0] and (data[0] > 1 or not self.encoding):
            raise MessageFaultError(
                Code.INTERNAL, "a message is marked as compressed, but no grpc-encoding is in force"
            )
        size = int.from_bytes(data[1:PREFIX_OCTETS], "big")
        if size > self.max_message:
            raise MessageFaultError(
                Code.RESOURCE_EXHAUSTED,
                f"a message of {size} bytes is larger than the limit of {self.max_message}",
            )
        return size

    def _keep(self, data: Buffer) -> None:
        self.pieces.append(unpinned(data))
        self.received += len(data)
        if len(self.pieces) >= MANY_PIECES:  # tiny frames must not cost an object each
            self.pieces = [b"".join(self.pieces)]

    def finish(self, data: Buffer) -> Message:
        """The message whose last octets these are. Raises MessageFaultError."""
        message: Message
        if self.pieces:
            self.pieces.append(data)
            message = self.pieces if self.in_pieces else b"".join(self.pieces)
            self.pieces = []
        else:
            message = bytes(data)
        self.recv_due -= self.need + PREFIX_OCTETS  # until the application has taken it
        if self.encoding or self.run is not None:
            self.wire_sizes.append(self.need)
            if self.compressed:
                message = self._inflated(whole(message))
        self.need = -1
        self.received = 0
        return message

    def _inflated(self, message: bytes) -> bytes:
        try:
            plain = inflating.inflate(message, self.encoding, self.max_message)
        except ValueError as error:
            raise MessageFaultError(Code.INTERNAL, str(error)) from None
        if len(plain) > self.max_message:
            raise MessageFaultError(
                Code.RESOURCE_EXHAUSTED,
                f"a message is larger than the limit of {self.max_message} when decompressed",
            )
        return plain
