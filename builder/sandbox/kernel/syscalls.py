"""Raw system calls by number, because Python 3.11 wraps few of those that make a sandbox.

Everything under `kernel/`, and the programs that use it, runs in helper processes that import
nothing beyond the interpreter's core: no dataclasses, no typing, no re. Their forks are cheaper
by a factor of three for it.

Numbers are from the kernel's `arch/x86/entry/syscalls/syscall_64.tbl` and
`include/uapi/asm-generic/unistd.h` (aarch64).
"""

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Iterable

X86_64 = {
    "mount": 165,
    "umount2": 166,
    "pivot_root": 155,
    "unshare": 272,
    "setns": 308,
    "fanotify_init": 300,
    "fanotify_mark": 301,
    "statfs": 137,
    "prctl": 157,
    "personality": 135,
    "capget": 125,
    "capset": 126,
    "sethostname": 170,
    "seccomp": 317,
    "signalfd4": 289,
    "splice": 275,
    "getdents64": 217,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "close_range": 436,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
AARCH64 = {
    "mount": 40,
    "umount2": 39,
    "pivot_root": 41,
    "unshare": 97,
    "setns": 268,
    "fanotify_init": 262,
    "fanotify_mark": 263,
    "statfs": 43,
    "prctl": 167,
    "personality": 92,
    "capget": 90,
    "capset": 91,
    "sethostname": 161,
    "seccomp": 277,
    "signalfd4": 74,
    "splice": 76,
    "getdents64": 61,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "close_range": 436,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
TABLES = {"x86_64": X86_64, "aarch64": AARCH64}
MACHINE = os.uname().machine
NUMBERS = TABLES.get(MACHINE, {})

EINTR = 4  # asm-generic; every Linux

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def prepared(
    name: str, *arguments: int | bytes | None
) -> "tuple[ctypes.c_long | bytes | None, ...]":
    """The arguments of `perform_prepared`, converted beforehand. Raises OSError as `call` does."""
    number = NUMBERS.get(name)
    if number is None:
        raise OSError(38, f"system call {name} is not known for {MACHINE}")
    return tuple(ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments))


def perform_prepared(arguments: "tuple[ctypes.c_long | bytes | None, ...]") -> int:
    """Perform what `prepared` has made: the error's number, 0 for none. Signals do not end it."""
    while _syscall(*arguments) == -1:
        if (code := ctypes.get_errno()) != EINTR:
            return code
    return 0


class Steps:
    """System calls that are performed alike again and again, prepared once.

    Each step is what it is for, in words, then the call's name and arguments.
    """

    def __init__(self, steps: "Iterable[tuple[str, str, tuple[int | bytes | None, ...]]]") -> None:
        self._steps = [(what, prepared(name, *arguments)) for what, name, arguments in steps]

    def perform(self) -> None:
        """In order. Raises OSError whose `filename` is what the first that failed was for."""
        for what, arguments in self._steps:
            if code := perform_prepared(arguments):
                raise OSError(code, os.strerror(code), what)


def call(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Perform one system call; integers travel as longs, bytes as pointers.

    A signal does not end it, as PEP 475 says of Python's own calls. Raises OSError whose
    `filename` is the call's name and its first textual argument, so that a failed set-up says
    what failed.
    """
    number = NUMBERS.get(name)
    if number is None:
        raise OSError(38, f"system call {name} is not known for {MACHINE}")
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    while (result := int(_syscall(ctypes.c_long(number), *converted))) == -1:
        if (code := ctypes.get_errno()) == EINTR:
            continue
        told = [a.decode(errors="replace") for a in arguments if isinstance(a, bytes) and a]
        raise OSError(code, os.strerror(code), " ".join([name, *told[:2]]))
    return result
