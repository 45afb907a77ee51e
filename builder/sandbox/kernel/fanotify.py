"""Which files are opened, executed and written on the mounts of one sandbox, by fanotify(7).

Marks are set on the sandbox's own mounts, so an event can come from no other action. Needs
CAP_SYS_ADMIN in the first user namespace. Names that do not exist, and files that are only
looked at, give no event.
"""

import os

from builder.sandbox.auditor import Records
from builder.sandbox.kernel.notify import EXECUTE, READ, WRITE
from builder.sandbox.kernel.syscalls import call

CLOEXEC, NONBLOCK, UNLIMITED_QUEUE, UNLIMITED_MARKS = 1, 2, 0x10, 0x20
MARK_ADD, MARK_MOUNT = 1, 0x10
CLOSE_WRITE, OPEN, OVERFLOW, OPEN_EXEC = 0x8, 0x20, 0x4000, 0x1000
EVENT_BYTES, BATCH = 24, 24 * 256  # each event brings a descriptor
NO_FD = 0xFFFFFFFF
DELETED = b" (deleted)"
LOADERS = (b"ld-linux", b"ld.so", b"ld-2")


class Watch:
    """Events of one sandbox, written down as the auditor does it (`builder.sandbox.auditor`)."""

    def __init__(self, records: int, init: int) -> None:
        flags = CLOEXEC | NONBLOCK | UNLIMITED_QUEUE | UNLIMITED_MARKS
        # without O_NONBLOCK the event of a pipe would wait for its other end
        self.fd = call("fanotify_init", flags, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._records, self._init = Records(records), init
        self._programs: dict[int, bytes] = {}

    def mark(self, places: "list[str]") -> None:
        """Watch the mounts at these paths of the current mount namespace."""
        for place in places:
            mask = OPEN | OPEN_EXEC | CLOSE_WRITE
            call("fanotify_mark", self.fd, MARK_ADD | MARK_MOUNT, mask, -1, os.fsencode(place))

    def drain(self) -> None:
        """Write down what has happened since the last time."""
        while True:
            try:
                data = os.read(self.fd, BATCH)
            except BlockingIOError:
                return
            for at in range(0, len(data), EVENT_BYTES):
                self._event(data[at : at + EVENT_BYTES])

    def _event(self, event: bytes) -> None:
        mask = int.from_bytes(event[8:16], "little")
        fd, pid = (int.from_bytes(event[i : i + 4], "little") for i in (16, 20))
        if mask & OVERFLOW or fd == NO_FD:
            self._records.blind = True
            return
        try:
            name = os.readlink(b"/proc/self/fd/%d" % fd).removesuffix(DELETED)
        finally:
            os.close(fd)
        if pid == self._init:
            return
        if mask & OPEN_EXEC:
            self._executed(pid, name)
        elif mask & OPEN:
            self._write(READ, pid, name)
        if mask & CLOSE_WRITE:
            self._write(WRITE, pid, name)

    def _executed(self, pid: int, name: bytes) -> None:
        program = os.path.basename(name)
        if not program.startswith(LOADERS):
            self._programs[pid] = program
        self._write(EXECUTE, pid, name)

    def _program(self, pid: int) -> bytes:
        if pid not in self._programs:
            try:
                with open(f"/proc/{pid}/comm", "rb") as file:
                    self._programs[pid] = file.read().strip()
            except OSError:
                self._programs[pid] = b""  # it has gone
        return self._programs[pid]

    def _write(self, use: str, pid: int, name: bytes) -> None:
        found = (use, self._program(pid), name)
        if found not in self._records.known and not self._records.blind:
            self._records.add(found, there=True)

    def finish(self) -> None:
        """Write down the rest, and that it is all."""
        self.drain()
        self._records.finish()

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._records.file)
