"""Attacks that take more than one call: each ends in time, harms nobody, and leaves nothing."""

import os
from pathlib import Path

import pytest
import trio

from builder.host.removal import remove_tree
from builder.sandbox.auditor import MAX_BYTES
from builder.sandbox.interface import AuditLevel, Limits, Outcome, Sandbox
from tests.sandbox.support import python, spec

DEADLINE_S = 120
SYSTEM = """
import ctypes, os, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    return libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
"""
CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
CLONE_PARENT, SIGCHLD = 0x8000, 17
SIBLING = f"""{SYSTEM}
for _ in range(3):
    if call({CLONE}, {CLONE_PARENT | SIGCHLD}, 0, 0, 0, 0) == 0:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        time.sleep(600)
print("left")
"""
OTHERS = """
found = [int(n) for n in os.listdir("/proc") if n.isdigit() and int(n) not in (1, os.getpid())]
"""
PACKETS = """
import fcntl
fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_DIRECT | os.O_NONBLOCK)
fcntl.fcntl(1, 1031, 4096)
for n in range(100):
    while True:
        try:
            os.write(1, b"%4d" % n * 100)
            break
        except BlockingIOError:
            time.sleep(0.001)
held = os.open("/proc/self/fd/1", os.O_RDWR)
if os.fork() == 0:
    os.setsid()
    os.close(2)
    time.sleep(600)
"""
TREE = """
import os, socket
for name in ("n" * 255, "\\n", "-rf", "\\x7f\\x1b[2J"):
    os.mkdir(name)
    os.mkfifo(name + "/" + "f" * 255)
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind("s")
    os.rename("s", name + "/s")
    os.symlink("/proc/self/fd/0", name + "/l")
    os.chmod(name, 0)
with open("sparse", "wb") as file:
    file.truncate(1 << 40)
for _ in range(300):
    os.mkdir("d" * 16)
    os.chdir("d" * 16)
os.chmod(".", 0)
"""
MAKE = "libc.shmget(0x5EED, 1 << 20, 0o1666), libc.msgget(0x5EED, 0o1666), "
MAKE += "libc.semget(0x5EED, 1, 0o1666)"
FIND = "libc.shmget(0x5EED, 0, 0), libc.msgget(0x5EED, 0), libc.semget(0x5EED, 0, 0)"


async def test_a_sibling_of_the_program_goes_with_it(sandbox: Sandbox, tmp_path: Path) -> None:
    """Who makes itself the child of the program's parent, which is outside, ends with the rest."""
    with trio.fail_after(DEADLINE_S):
        done = await python(sandbox, tmp_path, SIBLING, limits=Limits(wall_s=100))
    assert (done.exit.outcome, done.out) == (Outcome.EXITED, "left\n"), done


async def test_output_in_packets_that_a_daemon_holds(sandbox: Sandbox, tmp_path: Path) -> None:
    """Whatever an action does to its end of the pipe, all of its output is kept, and nobody waits
    for who has it open still."""
    with trio.fail_after(DEADLINE_S):
        done = await python(sandbox, tmp_path, SYSTEM + PACKETS, limits=Limits(wall_s=100))
    assert done.exit.outcome is Outcome.EXITED, done
    assert done.out == "".join(f"{n:4d}" * 100 for n in range(100))


@pytest.mark.parametrize("number", ["STOP", "KILL"])
async def test_a_supervisor_that_its_action_attacks(
    sandbox: Sandbox, tmp_path: Path, number: str
) -> None:
    """The action cannot look into it; without it, it ends all the same, as not wholly audited."""
    script = (
        f"{SYSTEM}{OTHERS}\nfor pid in found:\n  for name in ('mem', 'environ', 'maps', 'fd/3'):\n"
        "    try: os.open(f'/proc/{pid}/{name}', os.O_RDONLY); print('open', name)\n"
        f"    except OSError: pass\n  os.kill(pid, signal.SIG{number})\n"
        "print(len(found), flush=True)\nos._exit(0)"
    )
    limits = Limits(wall_s=100)
    with trio.fail_after(DEADLINE_S):
        done = await python(sandbox, tmp_path, script, audit=AuditLevel.FULL, limits=limits)
    assert done.out == "1\n"
    assert done.exit.audit is not None
    assert not done.exit.audit.complete


async def test_an_audit_is_bounded(sandbox: Sandbox, tmp_path: Path) -> None:
    """Long names without end fill neither the worker's memory nor its disk: the audit is then
    told as not complete."""
    script = (
        "import os\nhead = '/' + '/'.join(['n' * 250] * 15) + '/'\n"
        f"for n in range({MAX_BYTES // 3700}): os.access(head + str(n), os.F_OK)"
    )
    done = await python(sandbox, tmp_path, script, audit=AuditLevel.FULL)
    assert done.exit.exit_code == 0, done
    assert done.exit.audit is not None
    assert not done.exit.audit.complete
    scratch = Path(done.exit.stdout).parent
    assert (scratch / "audit").stat().st_size <= MAX_BYTES


async def test_trees_that_are_hard_to_remove(sandbox: Sandbox, tmp_path: Path) -> None:
    """Names of every kind, special files, directories without rights, hundreds of levels: the
    worker's directory can be emptied."""
    wanted = spec(tmp_path, "/usr/bin/env", "python3", "-c", TREE)
    async with await sandbox.run(wanted) as finished:
        assert finished.exit.exit_code == 0, Path(finished.exit.stderr).read_text()
    await trio.to_thread.run_sync(remove_tree, wanted.scratch)
    assert not os.path.exists(wanted.scratch)


async def test_what_processes_share_ends_with_them(sandbox: Sandbox, tmp_path: Path) -> None:
    """Segments, queues and semaphores of one action are not there for the next one."""
    for name, tried, there in (("a", MAKE, "True"), ("b", FIND, "False")):
        (tmp_path / name).mkdir()
        script = f"{SYSTEM}print(*[number >= 0 for number in ({tried})])"
        done = await python(sandbox, tmp_path / name, script)
        assert done.out.split() == [there] * 3, done
