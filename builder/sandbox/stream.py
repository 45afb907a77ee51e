"""One output of an action, carried by the kernel from its pipe into a file."""

import errno
import os
import select

from builder.sandbox.kernel.syscalls import call

CHUNK = 65536
SPLICE_NONBLOCK = 2


class Stream:
    """One output of the action: a pipe drained into a file, up to a number of bytes."""

    def __init__(self, discard: int) -> None:
        self.read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.read_end, False)
        self._file, self._left, self._discard = discard, 0, discard
        self.total = 0
        self.failed = 0
        self.ended = False

    def close_write_end(self) -> None:
        """At most once is it closed."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def keep_in(self, file: int, limit: int) -> None:
        """Where the first bytes go, and how many of them."""
        self._file, self._left = file, limit

    def drain(self) -> None:
        """Carry all that is there."""
        while not self.ended and self.move():
            pass

    def heard(self, events: int) -> None:
        """What poll(2) says of its read end: that there is something, or that nobody writes."""
        moved = self.move() if events & select.POLLIN else 0
        self.ended = not moved and bool(events & select.POLLHUP)

    def move(self) -> int:
        """Carry one chunk. 0 when nothing is there, or at the end."""
        keep = self._left > 0 and not self.failed
        target, size = (self._file, min(CHUNK, self._left)) if keep else (self._discard, CHUNK)
        try:
            moved = call("splice", self.read_end, None, target, None, size, SPLICE_NONBLOCK)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return 0
            if not keep:
                raise
            self.failed = error.errno or errno.EIO  # such as a full disk: drop the rest, say so
            return 1
        self.total += moved
        self._left -= moved if keep else 0
        return moved
