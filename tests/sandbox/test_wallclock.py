"""A wall clock that stands still, for real programs; and all other clocks, that go on."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.sandbox import container, macos, wasm
from builder.sandbox.interface import AuditLevel, Sandbox, SandboxRefusedError, SandboxSpec
from builder.sandbox.kernel.syscalls import MACHINE
from builder.sandbox.options import Options
from builder.sandbox.wallclock import APART, CODE, DATA, PLACE, functions, library
from builder.sandbox.weak import WeakSandbox
from builder.sandbox.windows import runner as windows
from tests.sandbox.support import ENVIRONMENT, new_inputs, python, shell, spec
from tests.sandbox.test_image import system_layer

MOMENT = 1714564800  # 2024-05-01T12:00:00Z
THERE = "wall-clock=2024-05-01T12:00:00Z (preload)"
SAY = """
date -u +%s.%N; perl -e 'print time, "\\n"'; echo $SOURCE_DATE_EPOCH
unset SOURCE_DATE_EPOCH; echo 'const char *at = __DATE__ " " __TIME__;' > a.c
gcc -c a.c && grep -ao 'May  1 2024 12:00:00' a.o
test $(stat -c %Y a.o) -gt 1714564800 && echo files go on
"""
CLOCKS = """
import ctypes, os, queue, sysconfig, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.time.restype = ctypes.c_long
two = (ctypes.c_long * 2)(5, 5)
print(time.time(), libc.time(None), libc.time(two), two[0])
for asked in (lambda: libc.gettimeofday(two, None), lambda: libc.timespec_get(two, 1)):
    print(asked(), *two)
print([time.clock_gettime_ns(one) // 10**9 for one in (time.CLOCK_REALTIME, 5, time.CLOCK_TAI)])
print(libc.timespec_get(two, 77), libc.clock_gettime(77, two), os.strerror(ctypes.get_errno()))
def passed(wait):
    began = time.monotonic()
    wait()
    return time.monotonic() - began
def empty():
    try:
        queue.Queue().get(timeout=0.05)
    except queue.Empty:
        pass
held = threading.Lock()
held.acquire()
waits = [lambda: time.sleep(0.05)]
if sysconfig.get_config_var("HAVE_SEM_CLOCKWAIT"):  # else they end at a time of the wall clock
    waits += [lambda: threading.Event().wait(0.05), empty, lambda: held.acquire(timeout=0.05)]
least = []
def wait_all():
    least.extend(map(passed, waits))
threads = [threading.Thread(target=wait_all) for _ in range(3)]
[one.start() for one in threads]
[one.join() for one in threads]
print(len(least) == 3 * len(waits), min(least) > 0.049)
time.process_time_ns() and time.thread_time_ns()
print(*[time.clock_gettime_ns(one) for one in ELSE])
"""
ELSE = (1, 4, 6, 7)  # CLOCK_MONOTONIC, _RAW, _COARSE, CLOCK_BOOTTIME


async def test_programs_see_one_moment(sandbox: Sandbox, tmp_path: Path) -> None:
    """date, perl, the compiler's own clock, and SOURCE_DATE_EPOCH; the result says so."""
    done = await shell(sandbox, tmp_path, SAY, clock=MOMENT)
    moment = str(MOMENT)
    compiled = "May  1 2024 12:00:00"
    told = [f"{moment}.000000000", moment, moment, compiled, "files go on"]
    assert done.out.splitlines() == told, done
    assert THERE in done.exit.limits


async def test_other_clocks_go_on(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each way to ask for the wall clock gives the moment; what counts from the start is the
    host's, and sleeps and timeouts of threads last as long as they should."""
    import time

    before = [time.clock_gettime_ns(one) for one in ELSE]
    done = await python(sandbox, tmp_path, f"ELSE = {ELSE}" + CLOCKS, clock=MOMENT)
    after = [time.clock_gettime_ns(one) for one in ELSE]
    lines = done.out.splitlines()
    assert lines[:-1] == [
        f"{MOMENT}.0 {MOMENT} {MOMENT} {MOMENT}",
        f"0 {MOMENT} 0",
        f"1 {MOMENT} 0",
        f"[{MOMENT}, {MOMENT}, {MOMENT}]",
        "0 -1 Invalid argument",
        "True True",
    ], done
    told = [int(word) for word in lines[-1].split()]
    assert all(b <= t <= a for b, t, a in zip(before, told, after, strict=True))


async def test_its_own_preload_stays_first(sandbox: Sandbox, tmp_path: Path) -> None:
    """What the action loads before its programs wins; its own SOURCE_DATE_EPOCH stays, too."""
    (new_inputs(tmp_path) / "own.so").write_bytes(library(MACHINE, 7))
    own = {"LD_PRELOAD": "/builder/work/own.so", "SOURCE_DATE_EPOCH": "9"}
    script = "date +%s; echo $LD_PRELOAD $SOURCE_DATE_EPOCH"
    done = await shell(sandbox, tmp_path, script, clock=0, environment=ENVIRONMENT | own)
    assert done.out == f"7\n/builder/work/own.so:{PLACE} 9\n"


async def test_with_all_other_options(sandbox: Sandbox, tmp_path: Path) -> None:
    """The library is no surprise for an audit, and no program that would have to be listed."""
    done = await shell(
        sandbox, tmp_path, "date +%s", clock=5, deterministic=True, audit=AuditLevel.FULL
    )
    assert done.out == "5\n", done
    assert done.exit.audit is not None
    assert done.exit.audit.outside == ()


async def test_without_it_time_goes_on(sandbox: Sandbox, tmp_path: Path) -> None:
    done = await shell(sandbox, tmp_path, "date +%s; ls /dev/shm; echo $LD_PRELOAD")
    seconds, *rest = done.out.split()
    assert int(seconds) > MOMENT
    assert rest == []


async def test_any_root_has_it(sandbox: Sandbox, tmp_path: Path) -> None:
    """An image, and inputs that are the whole root: nothing needs to be installed there."""
    system = system_layer(tmp_path / "inputs")
    shutil.copy("/bin/date", system / "bin/date")
    for more in ({"layers": (str(system),)}, {"inputs_as_root": True}):
        done = await shell(sandbox, tmp_path, "/bin/date +%s", clock=MOMENT, **more)
        assert done.out == f"{MOMENT}\n", (more, done)


@pytest.mark.parametrize("refuse", [macos.refuse, wasm.refuse, windows.refuse, container.refuse])
def test_what_cannot_do_it_refuses(refuse: Callable[[SandboxSpec], None]) -> None:
    with pytest.raises(SandboxRefusedError, match="fixed wall clock"):
        refuse(SandboxSpec(("x",), "/in", "/scratch", clock=0))


async def test_without_a_sandbox_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxRefusedError, match="stand still in a sandbox"):
        await WeakSandbox(Options(), "so").run(spec(tmp_path, "/bin/true", clock=0))


def test_other_machines_are_refused() -> None:
    """What is written in machine code is for those that it is written for."""
    with pytest.raises(SandboxRefusedError, match="and this is riscv64"):
        library("riscv64", 0)


def test_the_instructions_mean_these_places() -> None:
    """On both machines each function loads the number behind the code, and `syscall` is asked at
    the place that the loader fills in."""
    x86, arm = (b"".join(functions(machine).values()) for machine in ("x86_64", "aarch64"))
    found = []
    for at in range(len(x86)):
        for opcode in (b"\x48\x8b\x05", b"\xff\x25"):  # mov rax, [rip + n]; jmp [rip + n]
            if x86.startswith(opcode, at):
                behind = at + len(opcode) + 4
                found.append(behind + struct.unpack_from("<i", x86, behind - 4)[0])
    asked = DATA + APART - CODE
    assert found == [len(x86), len(x86), len(x86), asked, len(x86)]
    loads = [(n * 4, word) for n, (word,) in enumerate(struct.iter_unpack("<I", arm))]
    found = [at + (word >> 5 & 0x7FFFF) * 4 for at, word in loads if word >> 24 == 0x58]
    assert found == [len(arm), len(arm), len(arm), asked, len(arm)]
    for machine, code in (("x86_64", x86), ("aarch64", arm)):
        assert len(code) % 8 == 0
        assert library(machine, MOMENT)[CODE:].startswith(code + struct.pack("<q", MOMENT))
