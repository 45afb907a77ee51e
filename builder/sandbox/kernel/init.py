"""The init of each sandbox: a program of some forty system calls, written down as machine code.

A PID namespace needs a PID 1 of its own for as long as anything lives in it, and that one has next
to nothing to do: show the namespace in /proc, mount what each sandbox has for itself, let go of
every privilege, say that it is there, and reap orphans. A fork of the interpreter for it would copy
250 pages and cost as much as all the rest of a sandbox's life; this costs a hundredth of that.
Nobody can talk to it, nor change its memory.

It is a list of calls that must succeed, and a loop of two. When one fails, one byte tells which,
and the exit code is its error. Both machines take a call's number and arguments in registers; only
the spelling differs. Formats: System V ABI chapter 4 (ELF), Intel's manual volume 2, Arm's manual
for A-profile, section C6.
"""

import os

from builder.sandbox.kernel.syscalls import MACHINE

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Iterable, Sequence

READY = b"R"  # on its stdout when all is done
FAILED = bytes(range(0x80, 0x100))  # or one of these, by the place of the call in the list
LOADED_AT = 0x400000
ELF_HEADER, PROGRAM_HEADER = 64, 56
ELF_MACHINE = {"x86_64": 62, "aarch64": 183}
NUMBERS = {
    "x86_64": {"write": 1, "wait4": 61, "capset": 126, "rt_sigtimedwait": 128, "prctl": 157,
               "mount": 165, "sethostname": 170, "exit_group": 231},
    "aarch64": {"mount": 40, "write": 64, "capset": 91, "exit_group": 94, "rt_sigtimedwait": 137,
                "sethostname": 161, "prctl": 167, "wait4": 260},
}  # fmt: skip
PR_SET_DUMPABLE, PR_SET_NAME = 4, 15
SIGCHLD, MASK_BYTES = 17, 8
NO_SUID_DEVICES_PROGRAMS = 2 | 4 | 8
CAPABILITY_VERSION_3 = 0x20080522
ANY_CHILD = 0xFFFFFFFF
MFD_CLOEXEC, MFD_EXEC = 1, 0x10
CHILDREN = (1 << (SIGCHLD - 1)).to_bytes(MASK_BYTES, "little")
VERSION, NONE = CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4), bytes(24)
Call = tuple[str, tuple[int | bytes, ...]]  # its name, and what it is given, or where that stands
Step = tuple[str, str, tuple[int | bytes | None, ...]]  # what a call is for, in words, and itself
SHOW: "Call" = ("mount", (b"proc\0", b"/proc\0", b"proc\0", NO_SUID_DEVICES_PROGRAMS, 0))
LAST: "list[Call]" = [
    ("prctl", (PR_SET_NAME, b"bldr-init\0")),
    ("capset", (VERSION, NONE)),
    ("prctl", (PR_SET_DUMPABLE, 0)),
    ("write", (1, READY, len(READY))),
]
REAP: "Call" = ("wait4", (ANY_CHILD, 0, 0, 0))  # again as long as there is a child
REST: "Call" = ("rt_sigtimedwait", (CHILDREN, 0, 0, MASK_BYTES))  # SIGCHLD is blocked


def given(argument: int | bytes | None) -> int | bytes:
    """As the kernel takes it: text ends with a zero, and nothing is nowhere."""
    return argument + b"\0" if isinstance(argument, bytes) else argument or 0


def calls(setup: "Iterable[Step]") -> "list[Call]":
    """All that must succeed, in order; `setup` is what the sandbox has for itself."""
    own = [(name, tuple(map(given, arguments))) for _, name, arguments in setup]
    return [SHOW, *own, *LAST]


class X86:
    """eax is the number and the result; the arguments are zero-extended 32-bit constants."""

    REGISTERS = (b"\xbf", b"\xbe", b"\xba", b"\x41\xba", b"\x41\xb8")  # edi esi edx r10d r8d

    def call(self, number: int, arguments: "list[int]") -> bytes:
        """mov register, constant; ...; mov eax, number; syscall"""
        moves = [(r, a) for r, a in zip(self.REGISTERS, arguments, strict=False)]
        moves.append((b"\xb8", number))
        return b"".join(r + a.to_bytes(4, "little") for r, a in moves) + b"\x0f\x05"

    def give_up(self, number: int, tell: bytes) -> bytes:
        """test eax, eax; jns over; neg eax; mov r12d, eax; ...; mov edi, r12d; mov eax, number;
        syscall; over:"""
        end = b"\xf7\xd8\x41\x89\xc4" + tell
        end += b"\x44\x89\xe7\xb8" + number.to_bytes(4, "little") + b"\x0f\x05"
        return b"\x85\xc0\x79" + bytes((len(end),)) + end

    def again(self, back: int) -> bytes:
        """test eax, eax; jns to `back` bytes before"""
        return b"\x85\xc0\x79" + (-back - 4 & 0xFF).to_bytes(1, "little")

    def jump(self, back: int) -> bytes:
        """jmp to `back` bytes before"""
        return b"\xeb" + (-back - 2 & 0xFF).to_bytes(1, "little")


class Arm:
    """x8 is the number, x0 the result; a constant takes two halves."""

    def _move(self, register: int, value: int) -> bytes:
        low, high = value & 0xFFFF, value >> 16
        words = (0xD2800000 | low << 5 | register, 0xF2A00000 | high << 5 | register)
        return b"".join(word.to_bytes(4, "little") for word in words)

    def call(self, number: int, arguments: "list[int]") -> bytes:
        """movz, movk; ...; movz x8, number; movk; svc 0"""
        moves = b"".join(self._move(n, value) for n, value in enumerate(arguments))
        return moves + self._move(8, number) + 0xD4000001.to_bytes(4, "little")

    def give_up(self, number: int, tell: bytes) -> bytes:
        """tbz x0, 63, over; neg x19, x0; ...; mov x0, x19; movz x8, number; movk; svc 0; over:"""
        end = 0xCB0003F3.to_bytes(4, "little") + tell
        end += 0xAA1303E0.to_bytes(4, "little") + self.call(number, [])
        return (0xB6F80000 | (len(end) // 4 + 1) << 5).to_bytes(4, "little") + end

    def again(self, back: int) -> bytes:
        """tbz x0, 63, to `back` bytes before"""
        return (0xB6F80000 | (-back // 4 & 0x3FFF) << 5).to_bytes(4, "little")

    def jump(self, back: int) -> bytes:
        """b to `back` bytes before"""
        return (0x14000000 | (-back // 4 & 0x3FFFFFF)).to_bytes(4, "little")


MACHINES: "dict[str, X86 | Arm]" = {"x86_64": X86(), "aarch64": Arm()}


def code(machine: str, must: "Sequence[Call]", places: "dict[bytes, int]") -> bytes:
    """The instructions, with their data at these addresses."""
    spell, numbers = MACHINES[machine], NUMBERS[machine]

    def call(name: str, arguments: "tuple[int | bytes, ...]") -> bytes:
        values = [places[a] if isinstance(a, bytes) else a for a in arguments]
        return spell.call(numbers[name], values)

    out = b""
    for place, one in enumerate(must):
        tell = spell.call(numbers["write"], [1, places[FAILED] + place, 1])
        out += call(*one) + spell.give_up(numbers["exit_group"], tell)
    reap = call(*REAP)
    loop = reap + spell.again(len(reap))
    loop += call(*REST)
    return out + loop + spell.jump(len(loop))


def program(machine: str, setup: "Iterable[Step]" = ()) -> bytes:
    """The whole file: an ELF executable of one segment. Raises KeyError for other machines."""
    must = calls(setup)
    texts = [a for _, given in (*must, REAP, REST) for a in given if isinstance(a, bytes)]
    data = list(dict.fromkeys([*texts, FAILED]))
    start = LOADED_AT + ELF_HEADER + PROGRAM_HEADER
    size = len(code(machine, must, dict.fromkeys(data, 0)))
    places, at = {}, start + size
    for value in data:
        places[value] = at
        at += len(value)
    body = code(machine, must, places) + b"".join(data)
    return headers(ELF_MACHINE[machine], start, ELF_HEADER + PROGRAM_HEADER + len(body)) + body


def headers(machine: int, start: int, size: int) -> bytes:
    """For an executable (2) that is loaded (1) whole, to be read and run (5)."""

    def number(value: int, width: int) -> bytes:
        return value.to_bytes(width, "little")

    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64 bit, little-endian, version 1
    head = ident + number(2, 2) + number(machine, 2) + number(1, 4) + number(start, 8)
    head += number(ELF_HEADER, 8) + bytes(12) + number(ELF_HEADER, 2)
    head += number(PROGRAM_HEADER, 2) + number(1, 2) + bytes(6)
    segment = number(1, 4) + number(5, 4) + bytes(8) + number(LOADED_AT, 8) * 2
    return head + segment + number(size, 8) * 2 + number(0x1000, 8)


class Program:
    """That of this machine, as a memory file to be executed by its descriptor. Raises OSError."""

    def __init__(self, setup: "Iterable[Step]") -> None:
        steps = list(setup)
        self._purposes = ["showing /proc", *(what for what, _, _ in steps)]
        try:
            self.fd = os.memfd_create("init", MFD_CLOEXEC | MFD_EXEC)
        except OSError:  # before Linux 6.3 every memory file could be executed
            self.fd = os.memfd_create("init", MFD_CLOEXEC)
        os.write(self.fd, program(MACHINE, steps))

    def purpose(self, word: bytes) -> str:
        """What the call was for that made it say this at its end."""
        place = FAILED.find(word) if word else len(self._purposes)
        return self._purposes[place] if place < len(self._purposes) else "the sandbox's init"
