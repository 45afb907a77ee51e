"""The init of a sandbox: what its machine code says, read back, and how it ends in vain."""

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from builder.sandbox.kernel import init
from builder.sandbox.kernel.syscalls import MACHINE

BASE = 0x400000
X86_ARGUMENTS = {b"\xbf": 0, b"\xbe": 1, b"\xba": 2, b"\x41\xba": 3, b"\x41\xb8": 4}
ANYBODY = 60998
SETUP: list[init.Step] = [
    ("mask /proc/keys", "mount", (b"/dev/null", b"/proc/keys", None, 4096, None)),
    ("hostname box", "sethostname", (b"box", 3)),
]
REFUSED = """
import os
from builder.sandbox.kernel import identity, init, mounts
from builder.sandbox.kernel.perform import steps_of
from builder.sandbox.namespace import Namespace
uid, gid = os.getuid(), os.getgid()
new = identity.CLONE_NEWNS | identity.CLONE_NEWPID
identity.unshare(new | (identity.CLONE_NEWUSER if uid else 0))
if uid:
    identity.map_ids("self", 1000, uid, gid)
    identity.hand_down(identity.CAP_SYS_ADMIN)
mounts.make_private()
if os.fork():  # a runner is itself the first of a PID namespace
    os.wait()
    os._exit(0)
program = init.Program(steps_of(("mask", "/proc/absent")))
try:
    Namespace(program, program.fd, -1, os.open("/proc/self/ns/pid", os.O_RDONLY))
except OSError as error:
    print(error.filename, error.errno, flush=True)
"""


def x86_calls(code: bytes) -> list[tuple[int, dict[int, int]]]:
    """(number, arguments) of each syscall instruction, by the moves before it."""
    found, moved, at = [], {}, 0
    while at < len(code):
        for opcode in (b"\xb8", *X86_ARGUMENTS):
            if code.startswith(opcode, at):
                (value,) = struct.unpack_from("<I", code, at + len(opcode))
                moved[X86_ARGUMENTS.get(opcode, -1)] = value
                at += len(opcode) + 4
                break
        else:
            if code.startswith(b"\x0f\x05", at):
                found.append((moved.pop(-1), moved))
                moved = {}
                at += 2
            elif code.startswith(b"\x85\xc0\x79", at):
                at += 4  # test, jns
            elif code.startswith(b"\xf7\xd8\x41\x89\xc4", at):
                at += 5  # neg, mov to where calls keep it
            elif code.startswith(b"\x44\x89\xe7", at):
                at += 3  # mov from there
            else:
                assert code[at] == 0xEB, f"no instruction of ours at {at}"
                at += 2
    return found


def arm_calls(code: bytes) -> list[tuple[int, dict[int, int]]]:
    found, moved = [], {}
    for (word,) in struct.iter_unpack("<I", code):
        register, value = word & 31, word >> 5 & 0xFFFF
        if word & 0xFFE00000 == 0xD2800000:  # movz
            moved[register] = value
        elif word & 0xFFE00000 == 0xF2A00000:  # movk, lsl 16
            moved[register] |= value << 16
        elif word == 0xD4000001:  # svc 0
            found.append((moved.pop(8), moved))
            moved = {}
        else:  # tbz x0, 63; neg x19, x0; mov x0, x19; b
            ours = (0xCB0003F3, 0xAA1303E0)
            assert word & 0xFFF8001F == 0xB6F80000 or word in ours or word >> 26 == 5
    return found


CALLS = {"x86_64": x86_calls, "aarch64": arm_calls}


@pytest.mark.parametrize("machine", CALLS)
def test_the_file_is_an_executable_of_one_segment(machine: str) -> None:
    program = init.program(machine)
    assert program[:7] == b"\x7fELF\x02\x01\x01"
    kind, cpu, _, entry, headers = struct.unpack_from("<HHIQQ", program, 16)
    assert (kind, cpu, entry, headers) == (2, init.ELF_MACHINE[machine], BASE + 120, 64)
    assert struct.unpack_from("<HHH", program, 52) == (64, 56, 1)
    segment = struct.unpack_from("<IIQQQQQQ", program, 64)
    assert segment == (1, 5, 0, BASE, BASE, len(program), len(program), 0x1000)


@pytest.mark.parametrize("machine", CALLS)
def test_the_code_makes_the_calls_of_the_list_with_their_arguments(machine: str) -> None:
    """Read back by another reader; addresses point at the data that is meant."""
    program = init.program(machine, SETUP)
    must = init.calls(SETUP)
    assert [name for name, _ in must[:3]] == ["mount", "mount", "sethostname"]
    assert must[1][1] == (b"/dev/null\0", b"/proc/keys\0", 0, 4096, 0)
    end = program.index(init.SHOW[1][0], 120)  # the first of its data
    found = CALLS[machine](program[120:end])
    failed = [("write", (1, init.FAILED[n : n + 1], 1)) for n in range(len(must))]
    expected = [
        one for pair in zip(must, failed, strict=True) for one in (*pair, ("exit_group", ()))
    ]
    for (number, arguments), call in zip(found, [*expected, init.REAP, init.REST], strict=True):
        name, wanted = call
        assert number == init.NUMBERS[machine][name]
        assert wanted or not any(arguments.values())  # the error is not written down
        for place, value in enumerate(wanted):
            if isinstance(value, bytes):
                at = arguments[place] - BASE
                assert program[at : at + len(value)] == value
            else:
                assert arguments[place] == value


def test_it_ends_with_the_error_of_the_call_that_failed() -> None:
    """Who may not mount gets nothing done: it is run here by an ordinary user, in no namespace."""
    if MACHINE not in CALLS:
        pytest.skip(f"there is no init for {MACHINE}")
    program = init.Program(SETUP)
    try:
        done = subprocess.run(
            [f"/proc/self/fd/{program.fd}"],
            pass_fds=(program.fd,),
            stdout=subprocess.PIPE,
            check=False,
            **({"user": ANYBODY, "group": ANYBODY} if os.getuid() == 0 else {}),
        )
    finally:
        os.close(program.fd)
    assert (done.returncode, program.purpose(done.stdout)) == (errno.EPERM, "showing /proc")
    words = (init.FAILED[1:2], init.FAILED[2:3], init.FAILED[3:4], init.FAILED[-1:], b"")
    told = [program.purpose(word) for word in words]
    assert told == ["mask /proc/keys", "hostname box", *["the sandbox's init"] * 3]


def test_what_the_kernel_refuses_is_told_by_its_purpose() -> None:
    """A mount that fails in a sandbox is told as one that this process does itself."""
    home = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-c", REFUSED]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if "showing /proc" in done.stdout:
        pytest.skip("nobody may show another /proc here")
    assert done.stdout == f"mask /proc/absent {errno.ENOENT}\n", done.stderr
