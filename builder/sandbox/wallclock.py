"""A wall clock that stands still: a library in machine code, which an action's programs load first.

Linux has namespaces for the clocks that count from the start, which nobody may stop, and none for
the wall clock, which programs read without a system call. So an action that asks for it gets a
shared object of its own, named in LD_PRELOAD. That answers `time`, `gettimeofday`, `timespec_get`
and, for the clocks of the wall, `clock_gettime` with the moment, a number behind its code; all
other clocks are asked of the kernel, by the C library's `syscall`. It needs nothing else, so any
root has it, whatever C library is there (glibc and musl load it).

Who does not ask the C library never meets it: static programs, those that call the kernel
themselves (as Go's do), those for another processor. The kernel's own wall clock goes on: it is the
one in the times of files, and in deadlines that are told to it.

Formats: System V ABI, chapters 4 and 5 (ELF), Intel's manual volume 2, Arm's manual for A-profile,
section C6.
"""

import struct
from collections.abc import Mapping

from builder.sandbox.interface import SandboxRefusedError

PLACE = "/dev/shm/wall-clock.so"  # noqa: S108 - the sandbox's own
PRELOAD, EPOCH = "LD_PRELOAD", "SOURCE_DATE_EPOCH"

ASKED = b"syscall"  # of the C library; the first symbol
CODE, DATA, APART = 0x280, 0x480, 0x10000  # in the file; the data is loaded so much farther
ELF_MACHINE = {"x86_64": 62, "aarch64": 183}
FILL = {"x86_64": 6, "aarch64": 1025}  # R_X86_64_GLOB_DAT, R_AARCH64_GLOB_DAT
X86 = {
    b"time": "488b0589000000 4885ff 7403 488907 c3",
    #  mov rax, [moment]; test rdi, rdi; jz +3; mov [rdi], rax; ret
    b"gettimeofday": "4885ff 740f 488b0574000000 488907 4883670800 31c0 c3 cccccccccccccccccc",
    #  test rdi, rdi; jz +15; mov rax, [moment]; mov [rdi], rax; and qword [rdi+8], 0; xor eax, eax
    b"clock_gettime": "b821080000 0fa3f8 7317 83ff1f 7712"
    #  mov eax, 1 << 0 | 1 << 5 | 1 << 11; bt eax, edi; jnc +23; cmp edi, 31; ja +18
    "488b054a000000 488906 4883660800 31c0 c3"
    #  mov rax, [moment]; mov [rsi], rax; and qword [rsi+8], 0; xor eax, eax; ret
    "4889f2 89fe bfe4000000 31c0 ff259d010100 cccccccccccccccccccccccccc",
    #  mov rdx, rsi; mov esi, edi; mov edi, 228; xor eax, eax; jmp [syscall]
    b"timespec_get": "31c0 83fe01 7511 488b0512000000 488907 4883670800 89f0 c3 cccccccccccccc",
    #  xor eax, eax; cmp esi, 1; jne +17; mov rax, [moment]; mov [rdi], rax; ...; mov eax, esi; ret
}
ARM = {
    b"time": "58000408 b4000040 f9000008 aa0803e0 d65f03c0",
    #  ldr x8, moment; cbz x0, +8; str x8, [x0]; mov x0, x8; ret
    b"gettimeofday": "b4000060 58000348 a9007c08 2a1f03e0 d65f03c0",
    #  cbz x0, +12; ldr x8, moment; stp x8, xzr, [x0]; mov w0, wzr; ret
    b"clock_gettime": "7100001f 7a451804 7a4b1804 540000a1 58000248 a9007c28 2a1f03e0 d65f03c0"
    #  cmp w0, 0; ccmp w0, 5, 4, ne; ccmp w0, 11, 4, ne; b.ne +20; ldr x8, moment; stp; mov; ret
    "aa0103e2 2a0003e1 52800e20 58080d70 d61f0200",
    #  mov x2, x1; mov w1, w0; mov w0, 113; ldr x16, syscall; br x16
    b"timespec_get": "7100043f 540000a1 580000e8 a9007c08 2a0103e0 d65f03c0 2a1f03e0 d65f03c0"
    #  cmp w1, 1; b.ne +20; ldr x8, moment; stp x8, xzr, [x0]; mov w0, w1; ret; mov w0, wzr; ret
    "d503201f",  # nop, so that the moment is aligned
}


def functions(machine: str) -> dict[bytes, bytes]:
    """Their instructions, in order. Raises SandboxRefusedError."""
    if machine == "x86_64":
        return {name: bytes.fromhex(code) for name, code in X86.items()}
    if machine != "aarch64":
        raise SandboxRefusedError(
            f"the wall clock can be fixed on x86_64 and aarch64 only, and this is {machine}"
        )
    words = {name: [int(word, 16) for word in _words(code)] for name, code in ARM.items()}
    return {name: struct.pack(f"<{len(code)}I", *code) for name, code in words.items()}


def _words(code: str) -> list[str]:
    digits = code.replace(" ", "")
    return [digits[at : at + 8] for at in range(0, len(digits), 8)]


def library(machine: str, moment: int) -> bytes:
    """The whole file, for a moment in seconds since 1970. Raises SandboxRefusedError.

    Symbols, names and code are one segment to be read and run; what the loader fills in is
    another: first the place of `syscall`, then the table of what is where.
    """
    code = functions(machine)
    names = [ASKED, *code]
    strings, named = b"\0", []
    for name in names:
        named.append(len(strings))
        strings += name + b"\0"
    symbols, at = bytes(24), CODE
    for name, where in zip(names, named, strict=True):  # (name, a global function, section, ...)
        size = len(code.get(name, b""))
        symbols += struct.pack("<IBBHQQ", where, 0x12, 0, int(size > 0), at if size else 0, size)
        at += size
    chain = [0, *range(2, len(names) + 1), 0]  # one bucket, which holds them all
    table = struct.pack(f"<{4 + len(names)}I", 1, len(names) + 1, 1, *chain)
    filled = struct.pack("<QQq", DATA + APART, 1 << 32 | FILL[machine], 0)
    heads = 64 + 4 * 56
    parts, places = b"", []
    for part in (symbols, strings, table, filled):
        parts += bytes(-len(parts) % 8)
        places.append(heads + len(parts))
        parts += part
    tags = {
        6: places[0], 11: 24, 5: places[1], 10: len(strings), 4: places[2],  # SYMTAB to HASH
        7: places[3], 8: len(filled), 9: 24,  # RELA
    }  # fmt: skip
    data = bytes(8) + b"".join(struct.pack("<QQ", *pair) for pair in (*tags.items(), (0, 0)))
    text = b"".join(code.values()) + struct.pack("<q", moment)
    body = _headers(ELF_MACHINE[machine], CODE + len(text), len(data)) + parts
    assert len(body) <= CODE
    body = body.ljust(CODE, b"\0") + text
    assert len(body) <= DATA
    return body.ljust(DATA, b"\0") + data


def _headers(machine: int, size: int, data: int) -> bytes:
    """Of a shared object (3) whose two segments are loaded (1) to be read and run (5), and to be
    read and written (6); the table (2) is in the latter, and the stack (0x6474E551) is no code."""
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64 bit, little-endian, version 1
    head = ident + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 4, 64, 0, 0)
    rows = (
        (1, 5, 0, 0, size, APART),
        (1, 6, DATA, DATA + APART, data, APART),
        (2, 6, DATA + 8, DATA + 8 + APART, data - 8, 8),
        (0x6474E551, 6, 0, 0, 0, 16),
    )
    for kind, flags, offset, address, length, align in rows:
        head += struct.pack(
            "<IIQQQQQQ", kind, flags, offset, address, address, length, length, align
        )
    return head


def preloaded(environment: Mapping[str, str]) -> str:
    """LD_PRELOAD with it. What the action preloads itself stays first, as some of that must be."""
    own = environment.get(PRELOAD)
    return f"{own}:{PLACE}" if own else PLACE
