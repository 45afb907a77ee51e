"""The init of a sandbox: what its machine code says, read back, and how it ends in vain."""

import errno
import os
import struct
import subprocess

import pytest

from builder.sandbox.kernel import init
from builder.sandbox.kernel.syscalls import MACHINE

BASE = 0x400000
X86_ARGUMENTS = {b"\xbf": 0, b"\xbe": 1, b"\xba": 2, b"\x41\xba": 3, b"\x41\xb8": 4}
ANYBODY = 60998


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
            elif code.startswith((b"\x85\xc0\x79", b"\xf7\xd8\x89\xc7"), at):
                at += 4  # test, jns; neg, mov
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
        else:  # tbz x0, 63; neg x0, x0; b
            assert word & 0xFFF8001F == 0xB6F80000 or word == 0xCB0003E0 or word >> 26 == 5
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
    program = init.program(machine)
    data = sum(map(len, init.DATA.values()))
    found = CALLS[machine](program[120 : len(program) - data])
    give_up = (init.NUMBERS[machine]["exit_group"], {})
    expected = [one for call in init.FIRST for one in (call, None)]
    assert len(found) == len(expected) + 2
    for (number, arguments), call in zip(found, [*expected, init.REAP, init.REST], strict=True):
        if call is None:
            assert (number, {k: v for k, v in arguments.items() if k}) == give_up
            continue
        name, wanted = call
        assert number == init.NUMBERS[machine][name]
        for place, value in enumerate(wanted):
            if isinstance(value, str):
                at, text = arguments[place] - BASE, init.DATA[value]
                assert program[at : at + len(text)] == text
            else:
                assert arguments[place] == value


def test_it_ends_with_the_error_of_the_call_that_failed() -> None:
    """Who may not mount gets nothing done: it is run here by an ordinary user, in no namespace."""
    if MACHINE not in CALLS:
        pytest.skip(f"there is no init for {MACHINE}")
    fd = init.in_memory()
    try:
        done = subprocess.run(
            [f"/proc/self/fd/{fd}"],
            pass_fds=(fd,),
            stdout=subprocess.PIPE,
            check=False,
            **({"user": ANYBODY, "group": ANYBODY} if os.getuid() == 0 else {}),
        )
    finally:
        os.close(fd)
    assert (done.returncode, done.stdout) == (errno.EPERM, b"")
