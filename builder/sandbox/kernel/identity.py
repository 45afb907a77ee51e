"""Who a process is: user namespaces and their maps, capabilities, and ways not to gain any.

See user_namespaces(7), capabilities(7), prctl(2).
"""

import ctypes
import os

from builder.host.cgroups import read_text
from builder.sandbox.kernel.syscalls import Steps, call

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Iterable

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME = 1, 4, 15
PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 24, 36, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
CAP_SYS_ADMIN = 21
CAPABILITY_VERSION_3 = 0x20080522
MAX_CAPABILITIES = 64
EINVAL = 22
CLOSE_RANGE_CLOEXEC = 4
ARGUMENTS = 45  # arg_start in /proc/<pid>/stat, behind the name
ALL_FDS = 0x7FFFFFFF


def unshare(flags: int) -> None:
    """unshare(2)."""
    call("unshare", flags)


def set_namespace(fd: int, kind: int) -> None:
    """setns(2)."""
    call("setns", fd, kind)


def prctl(option: int, value: int = 0, third: int = 0) -> int:
    """prctl(2)."""
    return call("prctl", option, value, third, 0, 0)


def write_file(path: str, text: str) -> None:
    """One write(2), whose error is seen: files of /proc and cgroups answer at the write."""
    write_all([(path.encode(), text.encode())])


def id_map(process: str, inside: int, uid: int, gid: int) -> "tuple[tuple[bytes, bytes], ...]":
    """The files, and what to write to them, that map one user and one group into the user
    namespace of `/proc/<process>`."""
    place = b"/proc/" + process.encode()
    return (
        (place + b"/setgroups", b"deny"),
        (place + b"/uid_map", b"%d %d 1" % (inside, uid)),
        (place + b"/gid_map", b"%d %d 1" % (inside, gid)),
    )


def write_all(files: "Iterable[tuple[bytes, bytes]]") -> None:
    """One write(2) for each file, whose error is seen."""
    for path, data in files:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)


def map_ids(process: str, inside: int, uid: int, gid: int) -> None:
    """Map one user and one group into the user namespace of `/proc/<process>`."""
    write_all(id_map(process, inside, uid, gid))


def drop_bounding_set() -> None:
    """Take every capability out of the bounding set."""
    for number in range(MAX_CAPABILITIES):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno != EINVAL:  # past the last one
                raise
            return


def hand_down(capability: int) -> None:
    """Let programs that this process executes have one of its capabilities: it becomes inheritable
    and ambient."""
    header = CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4)
    sets = ctypes.create_string_buffer(24)  # twice effective, permitted, inheritable, 32 each
    call("capget", header, sets)
    inheritable = 8 + capability // 32 * 12 + capability % 32 // 8
    new = bytearray(sets.raw)
    new[inheritable] |= 1 << capability % 8
    call("capset", header, bytes(new))
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def powerless() -> Steps:
    """No capability in any set of this thread; the bounding set has none already."""
    header = CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4)
    what = "dropping capabilities"
    return Steps(
        [
            (what, "prctl", (PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)),
            (what, "capset", (header, bytes(24))),
        ]
    )


def close_on_exec_from(first: int) -> None:
    """Mark every descriptor from `first` on, so that no program inherits it."""
    call("close_range", first, ALL_FDS, CLOSE_RANGE_CLOEXEC)


def die_with_parent(signal: int = 9) -> None:
    """This signal when the parent dies. Cleared by a change of credentials: call it after those."""
    prctl(PR_SET_PDEATHSIG, signal)


def hide_command_line() -> None:
    """The arguments that ps shows, which tell of the host's paths, become none: those of this
    process and of all that it forks."""
    fields = read_text("/proc/self/stat").rpartition(")")[2].split()
    start, end = int(fields[ARGUMENTS]), int(fields[ARGUMENTS + 1])
    if 0 < start < end:
        ctypes.memset(start, 0, end - start)


def set_name(name: str) -> None:
    """The name that ps shows, at most 15 bytes."""
    call("prctl", PR_SET_NAME, name.encode()[:15] + b"\0", 0, 0, 0)
