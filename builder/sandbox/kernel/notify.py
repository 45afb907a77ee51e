"""System calls that are told to a supervisor before they happen, or instead of happening.

A second seccomp filter, beside the one that denies: the calls below stop until the supervisor
has answered. To "continue" it only watches: between its look and the call the memory may change
(seccomp_unotify(2), "not for security"), but it learns of names that do not exist too. It may
also give the result itself, and put a descriptor in another's place.

readlink is left out: a compiler makes a thousand of them to learn where it is installed, which
costs more than all the rest; and sendmsg, by which the supervisor gets the descriptor that tells it
of calls.
"""

import ctypes
import fcntl
import os
from struct import Struct

from builder.sandbox.kernel.seccomp import AUDIT_ARCH, SET_MODE_FILTER, encoded
from builder.sandbox.kernel.syscalls import MACHINE, call

READ, WRITE, EXECUTE, LOOK, CONNECT = "read", "write", "execute", "look", "connect"
SEND_TO, BIND = "send", "bind"
OF_SOCKETS = (CONNECT, BIND)
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
NR, ARCH, ARG0 = 0, 4, 16
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000
NEW_LISTENER, WAIT_KILLABLE = 1 << 3, 1 << 5
AT_EMPTY_PATH = 0x1000
RECEIVE, SEND, SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082104  # struct sizes 80, 24, 8
ADD_DESCRIPTOR, IN_PLACE = 0x40182103, 1
SYNC_WAKE_UP, CONTINUE = 1, 1
NOTE = Struct("<8sIIIIQ6Q")  # id, process, flags, call, architecture, place, arguments
BLANK = bytes(NOTE.size)
GO_ON = bytes(12) + CONTINUE.to_bytes(4, "little")
EINVAL = 22
HERE = None  # no directory argument: relative to the working directory

# name: (argument with the directory, argument with the path, what it is, argument with its flags)
SHAPES: "dict[str, tuple[int | None, int, str, int | None]]" = {
    "open": (HERE, 0, READ, 1), "openat": (0, 1, READ, 2), "openat2": (0, 1, READ, 2),
    "creat": (HERE, 0, WRITE, None), "truncate": (HERE, 0, WRITE, None),
    "execve": (HERE, 0, EXECUTE, None), "execveat": (0, 1, EXECUTE, None),
    "stat": (HERE, 0, LOOK, None), "lstat": (HERE, 0, LOOK, None),
    "newfstatat": (0, 1, LOOK, 3), "statx": (0, 1, LOOK, 2), "access": (HERE, 0, LOOK, None),
    "faccessat": (0, 1, LOOK, None), "faccessat2": (0, 1, LOOK, None),
    "mkdir": (HERE, 0, WRITE, None), "mkdirat": (0, 1, WRITE, None),
    "unlink": (HERE, 0, WRITE, None), "unlinkat": (0, 1, WRITE, None),
    "rename": (HERE, 1, WRITE, None), "renameat": (2, 3, WRITE, None),
    "renameat2": (2, 3, WRITE, None), "link": (HERE, 1, WRITE, None),
    "linkat": (2, 3, WRITE, None), "symlink": (HERE, 1, WRITE, None),
    "symlinkat": (1, 2, WRITE, None), "connect": (HERE, 1, CONNECT, 2),
    "bind": (HERE, 1, BIND, 2),
    "mknod": (HERE, 0, WRITE, None), "mknodat": (0, 1, WRITE, None),
    "chmod": (HERE, 0, WRITE, None), "fchmodat": (0, 1, WRITE, None),
    "fchmodat2": (0, 1, WRITE, None), "utime": (HERE, 0, WRITE, None),
    "utimes": (HERE, 0, WRITE, None), "utimensat": (0, 1, WRITE, None),
    "rmdir": (HERE, 0, WRITE, None), "chdir": (HERE, 0, LOOK, None),
    "chown": (HERE, 0, WRITE, None), "lchown": (HERE, 0, WRITE, None),
    "fchownat": (0, 1, WRITE, None), "futimesat": (0, 1, WRITE, None),
    "setxattr": (HERE, 0, WRITE, None), "lsetxattr": (HERE, 0, WRITE, None),
    "removexattr": (HERE, 0, WRITE, None), "lremovexattr": (HERE, 0, WRITE, None),
    "getxattr": (HERE, 0, LOOK, None), "lgetxattr": (HERE, 0, LOOK, None),
    "listxattr": (HERE, 0, LOOK, None), "llistxattr": (HERE, 0, LOOK, None),
    "inotify_add_watch": (HERE, 1, LOOK, None),
    "sendto": (HERE, 1, SEND_TO, None), "sendmmsg": (HERE, 1, SEND_TO, None),
}  # fmt: skip
# of calls with two names the first: argument with its directory, with the path, what it is
MOVING: "dict[str, tuple[int | None, int, str]]" = {
    "rename": (HERE, 0, WRITE), "renameat": (0, 1, WRITE), "renameat2": (0, 1, WRITE),
    "link": (HERE, 0, READ), "linkat": (0, 1, READ),
}  # fmt: skip
NUMBERS = {
    "x86_64": {
        "open": 2, "stat": 4, "lstat": 6, "access": 21, "connect": 42, "sendto": 44, "bind": 49,
        "execve": 59,
        "truncate": 76, "chdir": 80, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85,
        "link": 86, "unlink": 87, "symlink": 88, "chmod": 90, "chown": 92, "lchown": 94,
        "utime": 132, "mknod": 133, "setxattr": 188, "lsetxattr": 189,
        "getxattr": 191, "lgetxattr": 192, "listxattr": 194, "llistxattr": 195,
        "removexattr": 197, "lremovexattr": 198, "inotify_add_watch": 254,
        "fchownat": 260, "futimesat": 261,
        "utimes": 235, "mknodat": 259, "fchmodat": 268, "utimensat": 280,
        "fchmodat2": 452, "openat": 257, "mkdirat": 258, "newfstatat": 262, "unlinkat": 263,
        "renameat": 264, "linkat": 265, "symlinkat": 266, "faccessat": 269, "sendmmsg": 307,
        "renameat2": 316, "execveat": 322, "statx": 332, "openat2": 437, "faccessat2": 439,
    },
    "aarch64": {
        "setxattr": 5, "lsetxattr": 6, "getxattr": 8, "lgetxattr": 9, "listxattr": 11,
        "llistxattr": 12, "removexattr": 14, "lremovexattr": 15, "inotify_add_watch": 27,
        "fchownat": 54,
        "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37,
        "renameat": 38, "truncate": 45, "faccessat": 48, "chdir": 49, "fchmodat": 53,
        "openat": 56, "newfstatat": 79, "utimensat": 88, "bind": 200, "connect": 203, "sendto": 206,
        "execve": 221, "sendmmsg": 269, "renameat2": 276, "execveat": 281, "statx": 291,
        "openat2": 437, "faccessat2": 439, "fchmodat2": 452,
    },
}  # fmt: skip
LISTING = {"x86_64": 217, "aarch64": 61}  # getdents64
EXECUTING = ("execve", "execveat")
OF_DESCRIPTORS = ("newfstatat", "statx")  # with AT_EMPTY_PATH they are fstat, and of no interest


def wanted(machine: str, *, names: bool, listings: bool, programs: bool) -> "dict[str, int]":
    """The calls that are told: those on names, those that list directories, and those that
    execute programs. Raises KeyError."""
    found = dict(NUMBERS[machine]) if names else {}
    if listings:
        found["getdents64"] = LISTING[machine]
    if programs:
        found |= {name: NUMBERS[machine][name] for name in EXECUTING}
    return found


def program(machine: str, numbers: "dict[str, int]") -> list[tuple[int, int, int, int]]:
    """The filter as (code, jump if true, jump if false, operand). Raises KeyError."""
    out = [
        (LOAD, 0, 0, ARCH),
        (EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (RETURN, 0, 0, ALLOW),  # the other filter kills it
        (LOAD, 0, 0, NR),
    ]
    for name in (one for one in OF_DESCRIPTORS if one in numbers):
        flags = SHAPES[name][3] or 0
        out += [
            (EQUAL, 0, 4, numbers[name]),
            (LOAD, 0, 0, ARG0 + 8 * flags),
            (ANY_BIT, 1, 0, AT_EMPTY_PATH),
            (RETURN, 0, 0, NOTIFY),
            (RETURN, 0, 0, ALLOW),
        ]
    rest = sorted(number for name, number in numbers.items() if name not in OF_DESCRIPTORS)
    for index, number in enumerate(rest):
        out.append((EQUAL, len(rest) - index, 0, number))
    return [*out, (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, NOTIFY)]


def listen(numbers: "dict[str, int]") -> int:
    """Install the filter on this process and its children: the descriptor that tells of calls.
    Raises OSError."""
    code = encoded(program(MACHINE, numbers))
    buffer = ctypes.create_string_buffer(code, len(code))
    head = (len(code) // 8).to_bytes(8, "little") + ctypes.addressof(buffer).to_bytes(8, "little")
    try:
        return call("seccomp", SET_MODE_FILTER, NEW_LISTENER | WAIT_KILLABLE, head)
    except OSError as error:
        if error.errno != EINVAL:  # before Linux 5.19
            raise
        return call("seccomp", SET_MODE_FILTER, NEW_LISTENER, head)


class Note:
    """One call that waits: who makes it, which, with which arguments."""

    __slots__ = ("arguments", "id", "number", "pid")

    def __init__(self, raw: bytes) -> None:
        self.id, self.pid, _, self.number, _, _, *self.arguments = NOTE.unpack(raw)


def receive(listener: int) -> Note:
    """The next call. Raises OSError (ENOENT when its process has died meanwhile)."""
    return Note(fcntl.ioctl(listener, RECEIVE, BLANK))


def proceed(listener: int, note: Note) -> None:
    """Let the call happen; a process that has died meanwhile is no error."""
    try:
        fcntl.ioctl(listener, SEND, note.id + GO_ON)
    except FileNotFoundError:
        return


def answer(listener: int, note: Note, value: int, error: int = 0) -> None:
    """The call's result instead of the call; a process that has died meanwhile is no error."""
    words = value.to_bytes(8, "little", signed=True) + (-error).to_bytes(4, "little", signed=True)
    try:
        fcntl.ioctl(listener, SEND, note.id + words + bytes(4))
    except FileNotFoundError:
        return


def replace_descriptor(listener: int, note: Note, ours: int, theirs: int, flags: int) -> None:
    """Put a copy of our descriptor in the place of one of the process that waits; flags may be
    O_CLOEXEC. Raises OSError."""
    words = b"".join(word.to_bytes(4, "little") for word in (IN_PLACE, ours, theirs, flags))
    fcntl.ioctl(listener, ADD_DESCRIPTOR, note.id + words)


def wake_in_turn(listener: int) -> None:
    """Have the two sides wake each other on one processor, where the kernel can (6.6)."""
    try:
        fcntl.ioctl(listener, SET_FLAGS, SYNC_WAKE_UP)
    except OSError:
        return


def memory_of(pid: int, address: int, size: int) -> bytes:
    """Of another process. Raises OSError."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, size, address)
    finally:
        os.close(fd)


def write_memory(pid: int, address: int, data: bytes) -> None:
    """Of another process. Raises OSError."""
    fd = os.open(f"/proc/{pid}/mem", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(fd, data, address)
    finally:
        os.close(fd)
