"""Actions that run until a test lets them go, however slow the machine is.

An action stops itself by SIGSTOP; the test finds it among the processes of the host by a mark in
its command line, and sends SIGCONT. So a test can look at a service that works, without a guess of
how long it takes to get there.
"""

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Held:
    """Scripts wait until `let_go`, which leaving this as a context does; later ones go on."""

    def __init__(self) -> None:
        self._mark = f"held-{uuid.uuid4().hex}"
        self._going = threading.Event()
        self._closed = threading.Event()

    def script(self, then: str) -> str:
        """For `sh -c`."""
        return f"kill -STOP $$; {then} # {self._mark}"

    def let_go(self) -> None:
        self._going.set()

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def close(self) -> None:
        self._closed.set()
        self._going.set()

    def run(self) -> None:
        self._going.wait()
        while not self._closed.wait(0.05):  # that a process stops is told to its parent only
            for pid in self._stopped():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _stopped(self) -> Iterator[int]:
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                if self._mark.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                    state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
                    if state == "T":
                        yield int(name)


@contextmanager
def holding() -> Iterator[Held]:
    """For as long as its actions may run; enter it again within, to let go when a test fails."""
    held = Held()
    thread = threading.Thread(target=held.run)
    thread.start()
    try:
        yield held
    finally:
        held.close()
        thread.join()
