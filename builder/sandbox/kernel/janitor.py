"""Lets go of things on a thread of its own: the end of a mount and of a control group waits for
all processors (1-4 ms on a loaded machine), and the broker's loop has no time for that.

The thread does nothing but system calls that release the interpreter. It has its own working
directory and root in the kernel's sense, because a process that shares those among threads may
not enter a mount namespace (setns(2)).
"""

import _thread
import os

from builder.sandbox.kernel import identity

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Callable

BATCH = 4096
BEHIND = 64


class Janitor:
    """One per broker, started when it has forked all that it ever forks."""

    def __init__(self) -> None:
        self._work: list[Callable[[], None]] = []
        self._read, self._wake = os.pipe2(os.O_CLOEXEC)
        self.failed: OSError | None = None
        started = _thread.allocate_lock()
        started.acquire()
        _thread.start_new_thread(self._run, (started,))
        started.acquire()  # until it has its own root, nobody here may enter a namespace

    @property
    def behind(self) -> bool:
        """Whether so much waits that whoever adds to it should hold as little as can be."""
        return len(self._work) > BEHIND

    def do(self, work: "Callable[[], None]") -> None:
        """Soon, in order. What it raises is found in `failed`."""
        self._work.append(work)
        os.write(self._wake, b"x")

    def let_go(self, fds: "list[int]", then: "Callable[[], None] | None" = None) -> None:
        """Close the descriptors, then do the rest."""

        def work() -> None:
            for fd in fds:
                os.close(fd)
            if then is not None:
                then()

        self.do(work)

    def end(self) -> None:
        """Take no more; what was given is still done."""
        os.close(self._wake)

    def _run(self, started: "_thread.LockType") -> None:
        try:
            identity.unshare(identity.CLONE_FS)
        except OSError as error:
            self.failed = error
        finally:
            started.release()
        while os.read(self._read, BATCH):
            while self._work:
                try:
                    self._work.pop(0)()
                except OSError as error:
                    self.failed = error
        os.close(self._read)
