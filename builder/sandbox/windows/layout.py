"""What Windows is handed as bytes: structures of 64-bit Windows, a command line, an environment.

Sources: JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JOBOBJECT_CPU_RATE_CONTROL_INFORMATION,
JOBOBJECT_BASIC_ACCOUNTING_INFORMATION and CreateProcessAsUserW in the Windows API reference.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from subprocess import list2cmdline

from builder.base.errors import InvalidArgumentError
from builder.sandbox.interface import Limits

ACTIVE_PROCESS, JOB_MEMORY, KILL_ON_CLOSE = 0x8, 0x200, 0x2000
DIE_ON_UNHANDLED_EXCEPTION = 0x400  # and open no window that somebody has to close
CPU_ENABLE, CPU_HARD_CAP = 0x1, 0x4
CPU_WHOLE = 10_000  # all processors of the machine
EVERY_UI = 0xFF  # no clipboard, no desktops, no handles of other programs' windows
MOST_COMMAND = 32_767  # characters, with the NUL at the end

# two times; flags; two working set sizes; processes; affinity; two classes; six I/O counters;
# process and job memory, and their peaks
EXTENDED = struct.Struct("<qqIxxxxQQIxxxxQII6QQQQQ")
ACCOUNTING = struct.Struct("<qqqqIIII")
CPU_RATE = struct.Struct("<II")
TICK_S = 1e-7  # FILETIME's hundred nanoseconds


@dataclass(frozen=True, slots=True)
class Accounting:
    user_s: float
    system_s: float
    processes: int


def extended_limits(limits: Limits) -> bytes:
    """Everything ends with the job's handle; memory and processes of all of it together."""
    flags = KILL_ON_CLOSE | DIE_ON_UNHANDLED_EXCEPTION
    if limits.memory_bytes is not None:
        flags |= JOB_MEMORY
    if limits.processes is not None:
        flags |= ACTIVE_PROCESS
    nothing = (0,) * 6
    memory = limits.memory_bytes or 0
    return EXTENDED.pack(
        0, 0, flags, 0, 0, limits.processes or 0, 0, 0, 0, *nothing, 0, memory, 0, 0
    )


def cpu_rate(cores: float, machine: int) -> bytes:
    """A hard cap, in parts of all the machine's processors."""
    part = min(CPU_WHOLE, max(1, round(CPU_WHOLE * cores / machine)))
    return CPU_RATE.pack(CPU_ENABLE | CPU_HARD_CAP, part)


def accounting(data: bytes) -> Accounting:
    user, system, _, _, _, processes, _, _ = ACCOUNTING.unpack(data)
    return Accounting(user * TICK_S, system * TICK_S, processes)


def peak_memory(data: bytes) -> int:
    """Of the whole job, in bytes."""
    return int(EXTENDED.unpack(data)[-1])


def command_line(argv: Sequence[str]) -> str:
    """As the C runtime takes it apart again. Raises InvalidArgumentError for one too long."""
    line = list2cmdline(argv)
    if len(line) >= MOST_COMMAND:
        raise InvalidArgumentError(
            f"the command line has {len(line)} characters; Windows takes {MOST_COMMAND - 1}"
        )
    return line


def environment_block(environment: Mapping[str, str]) -> str:
    """`NAME=value` in the order that Windows wants, with a NUL behind each and one at the end.

    Raises InvalidArgumentError for two names that differ in case only: for Windows they are one.
    """
    names = sorted(environment, key=lambda name: (name.upper(), name))
    for one, other in pairwise(names):
        if one.upper() == other.upper():
            raise InvalidArgumentError(f"variables {one} and {other} are one on Windows")
    return "".join(f"{name}={environment[name]}\0" for name in names) + "\0"
