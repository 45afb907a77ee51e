"""Hot: octets that follow each other, from however many messages of a stream they come.

Large uploads are messages that hold a place and the octets that belong there. Where one of them
ends means nothing to who takes them; that it is not whole yet means as little. So what one receive
brings of them is told as one message, which is like those that came, but has all their octets:
`RunForm` knows how such messages look. A MiB costs one event instead of five, nothing of a message
that a receive has cut is kept, and a client that sends 16 KiB at a time costs no more than others.

Measured: most of what Python does between two megabytes that are hashed and written is to wait for
memory, as its own code and objects are no longer in the cache then (`python -m tests.bench wire`,
figures.write_gb_per_cpu_s and figures.write_small_frames_gb_per_cpu_s).
"""

from typing import NamedTuple, Protocol

from builder.wire.frames import HEADER_OCTETS
from builder.wire.pieces import MANY_PIECES, PREFIX_OCTETS, Buffer, unpinned

WORTH_OCTETS = 64 * 1024  # of a message that is not whole: told at once


class RunForm(Protocol):
    """How the messages of a method look that are nothing but octets for some place."""

    def read(self, data: memoryview, at: int, size: int) -> "Begin | None":
        """How a message of `size` octets begins that begins there, and of which perhaps not all has
        come. None for another message."""
        ...

    def write(self, position: int, size: int, about: bytes, is_last: bool) -> bytes:
        """How a message begins whose `size` octets belong there, and that says this besides."""
        ...


class Begin(NamedTuple):
    """Of a message that is octets for some place: which, and where they begin in what was read.

    `about` is said with the first of its octets, that they are the `last` ones with the last.
    """

    position: int
    at: int
    about: bytes = b""
    is_last: bool = False


class Run:
    """What has come of one stream and has not been told."""

    __slots__ = (
        "_about",
        "_is_last",
        "_kept",
        "form",
        "left",
        "octets",
        "pieces",
        "position",
        "size",
    )

    def __init__(self, form: RunForm) -> None:
        self.form = form
        self.left = 0  # octets of the message that is coming in, which have not come
        self.position = 0  # where the first of `pieces` belongs
        self.size = 0  # octets in them
        self.octets = 0  # the same with all that was around them in the messages
        self.pieces: list[Buffer] = []
        self._kept = 0  # so many of them are from receives before
        self._about = b""
        self._is_last = False  # what is coming in, when it is whole

    def take(self, view: memoryview, at: int, stop: int, max_message: int) -> int:
        """Take a body's octets from `at` on; returns where something else begins, or `stop`."""
        while at < stop:
            if not self.left:
                begin = self._opened(view, at, stop, max_message)
                if not begin:
                    return at
                self.octets += begin - at
                at = begin
            size = min(self.left, stop - at)
            self.pieces.append(view[at : at + size])
            self.left -= size
            self.size += size
            self.octets += size
            at += size
        return stop

    def take_many(self, view: memoryview, start: int, stop: int, size: int) -> int:
        """Take the payloads of that size of frames that follow each other, within a message;
        returns how many octets they are."""
        pieces = [view[at : at + size] for at in range(start, stop, size + HEADER_OCTETS)]
        octets = len(pieces) * size
        self.pieces += pieces
        self.left -= octets
        self.size += octets
        self.octets += octets
        return octets

    def _opened(self, view: memoryview, at: int, stop: int, max_message: int) -> int:
        """Where the octets of the message that begins there begin; 0 if it is another one."""
        start = at + PREFIX_OCTETS
        if stop <= start or view[at]:
            return 0
        size = int.from_bytes(view[at + 1 : start], "big")
        found = self.form.read(view[:stop], start, size) if size <= max_message else None
        if found is None:
            return 0
        position, begin, about, is_last = found
        if not self.octets:
            self.position, self._about, self._is_last = position, about, is_last
        elif position != self.position + self.size or about or is_last or self._is_last:
            return 0
        self.left = start + size - begin
        return begin

    def told(self) -> list[Buffer]:
        """All of it as a message, in pieces; from here on they are not kept."""
        is_last = self._is_last and not self.left
        head = self.form.write(self.position, self.size, self._about, is_last)
        self._about = b""
        if self.size < WORTH_OCTETS:
            self.pieces = [b"".join(self.pieces)]
        pieces, self.pieces = [head, *self.pieces], []
        self.position += self.size
        self.size = self.octets = self._kept = 0
        return pieces

    def keep(self) -> None:
        """It is little as yet: do not keep with it what came around it."""
        for number in range(self._kept, len(self.pieces)):
            self.pieces[number] = unpinned(self.pieces[number])
        if len(self.pieces) >= MANY_PIECES:
            self.pieces = [b"".join(self.pieces)]
        self._kept = len(self.pieces)
