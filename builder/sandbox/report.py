"""What a sandbox's init reports at the end: packed integers and one text.

It comes from beside the action, so it is read as nothing but numbers of fixed size.
"""

import struct
from _operator import attrgetter

EXITED, SIGNALLED, NOT_STARTED = 0, 1, 2
NOT_FOUND, NOT_EXECUTABLE = 127, 126
ENOENT, ENOTDIR = 2, 20
FIELDS = (
    "status", "code", "timed_out", "ended_early", "wall_us", "user_us", "system_us",
    "max_rss_kib", "sweep_us", "stdout_bytes", "stderr_bytes", "output_errno",
    "setup_us", "inputs_us", "overlay", "oom_kills", "peak_memory_bytes", "processes",
    "refused_processes", "cpu_over", "read_bytes", "written_bytes", "reused",
)  # fmt: skip
LAYOUT = struct.Struct(f"<{len(FIELDS)}q")
NUMBERS = attrgetter(*FIELDS)
MESSAGE_BYTES = 4096


class Report:
    """How the action ended. `code` is an exit code or a signal number by `status`."""

    def __init__(self) -> None:
        self.status = EXITED
        self.code = 0
        self.timed_out = 0
        self.ended_early = 0
        self.wall_us = 0
        self.user_us = 0
        self.system_us = 0
        self.max_rss_kib = 0
        self.sweep_us = 0
        self.stdout_bytes = 0
        self.stderr_bytes = 0
        self.output_errno = 0
        self.setup_us = 0  # this and the next two are what the broker has told
        self.inputs_us = 0
        self.overlay = 0
        self.oom_kills = 0  # this and the next three are what the control groups have counted
        self.peak_memory_bytes = 0
        self.processes = 0
        self.refused_processes = 0
        self.cpu_over = 0
        self.read_bytes = 0  # from and to disks
        self.written_bytes = 0
        self.reused = 0  # how many actions were in the sandbox before
        self.message = ""

    def not_started(self, error: OSError) -> None:
        """The program could not be started, for this reason."""
        self.status = NOT_STARTED
        self.code = NOT_FOUND if error.errno in (ENOENT, ENOTDIR) else NOT_EXECUTABLE
        what = error.filename
        name = what.decode(errors="replace") if isinstance(what, bytes) else str(what or "")
        self.message = f"{name}: {error.strerror}" if name else str(error.strerror)

    def pack(self) -> bytes:
        return LAYOUT.pack(*NUMBERS(self)) + self.message.encode(errors="replace")[:MESSAGE_BYTES]


def fits(packet: bytes) -> bool:
    """Whether it is long enough to be a report."""
    return len(packet) >= LAYOUT.size


def unpack(packet: bytes) -> Report:
    """Raises struct.error for what is too short to be a report."""
    report = Report.__new__(Report)  # all that it has is given
    vars(report).update(zip(FIELDS, LAYOUT.unpack_from(packet), strict=True))
    report.message = packet[LAYOUT.size :].decode(errors="replace")[:MESSAGE_BYTES]
    return report
