"""What actions of one host have in common is their user's: none can use it up for the others."""

import os
import subprocess
import sys
from pathlib import Path
from resource import RLIMIT_SIGPENDING, getrlimit

import pytest
import trio

from builder.sandbox.interface import Limits, Outcome, Sandbox
from builder.sandbox.native import open_sandbox
from tests.sandbox.support import READ_ONLY, python, shell

FLOOD = """
import os, socket, sys, time
held, fd = [], os.open("/dev/null", os.O_RDONLY).to_bytes(4, "little")
try:
    while True:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        one.setblocking(False)
        held += [one, other]
        try:
            while True:
                one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fd * 250)])
        except BlockingIOError:
            pass
except OSError as error:
    print(error.errno, flush=True)
time.sleep(300)
"""
CROWD = 3


@pytest.mark.usefixtures("all_descriptors")
async def test_descriptors_on_their_way(tmp_path: Path) -> None:
    """The kernel bounds a user's descriptors that are in messages. An action that sends as many as
    it may to itself hinders none of the others: not those that are ready, not new ones, not those
    of runners that have the same limit."""
    async with (
        open_sandbox(read_only=READ_ONLY, ready=CROWD) as sandbox,
        trio.open_nursery() as nursery,
    ):
        await crowd(sandbox, tmp_path / "before")
        (tmp_path / "flood").mkdir()
        nursery.start_soon(flood, sandbox, tmp_path / "flood")
        with trio.fail_after(120):
            # its output is the one sign of it
            while not any(path.read_text() for path in (tmp_path / "flood").glob("*/stdout")):  # noqa: ASYNC110
                await trio.sleep(0.05)
        for number in range(4):
            base = tmp_path / str(number)
            base.mkdir()
            with trio.fail_after(120):
                done = await shell(sandbox, base, "echo out > result; echo said")
            assert done.exit.outcome is Outcome.EXITED, done.exit
            assert (done.out, done.tree) == ("said\n", {"result": b"out\n"})
        await crowd(sandbox, tmp_path / "after")
        await crowd(sandbox, tmp_path / "in the end")
        nursery.cancel_scope.cancel()


async def crowd(sandbox: Sandbox, base: Path) -> None:
    """Twice as many actions at once as there are sandboxes ready."""
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            for number in range(2 * CROWD):
                (base / str(number)).mkdir(parents=True)
                nursery.start_soon(shell, sandbox, base / str(number), "true")


async def flood(sandbox: Sandbox, base: Path) -> None:
    await python(sandbox, base, FLOOD)


TAKE = """
import ctypes, os, resource, signal, socket
libc, number = ctypes.CDLL(None, use_errno=True), ctypes.c_void_p()
def done(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result
def many(most, make):
    held = []
    try:
        while len(held) < most:
            held.append(make())
    except OSError:
        pass
    return len(held)
"""
HOST_S = "/proc/sys/fs/inotify/max_user_"


@pytest.mark.parametrize(
    ("take", "limit"),
    [
        ("many(most, lambda: done(libc.inotify_init()))", f"{HOST_S}instances"),
        ("many(most, lambda: done(libc.timer_create(1, None, ctypes.byref(number))))", ""),
        ("many(most, lambda: os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY))",
         "/proc/sys/kernel/pty/max"),
    ],
    ids=["watchers", "timers", "terminals"],
)  # fmt: skip
async def test_what_is_the_users_is_shared_out(
    sandbox: Sandbox, tmp_path: Path, take: str, limit: str
) -> None:
    """One action gets no more than a part of what all of its user's have."""
    host = int(Path(limit).read_text()) if limit else getrlimit(RLIMIT_SIGPENDING)[0]
    done = await python(sandbox, tmp_path, f"{TAKE}most = {host}\nprint({take})")
    assert done.exit.outcome is Outcome.EXITED, done
    assert 0 < int(done.out) <= host // 4


SEND = """
total, held = 0, []
for _ in range(400):
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    held += [server, client, server.accept()]
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    try:
        while True:
            total += client.send(bytes(65536))
    except BlockingIOError:
        pass
print(total)
"""


async def test_buffers_of_connections_are_bounded(sandbox: Sandbox, tmp_path: Path) -> None:
    """The host has one bound for all of TCP, beyond which nobody can send any more."""
    if "memory-cgroup" not in sandbox.guarantees:
        pytest.skip("needs control groups: nothing else counts them")
    limits = Limits(memory_bytes=256 << 20)
    done = await python(sandbox, tmp_path, TAKE + SEND, limits=limits)
    assert done.exit.outcome is Outcome.OUT_OF_MEMORY or int(done.out) < 512 << 20


GREEDY = """
import select, time
many = [select.epoll() for _ in range(100)]
for one in many:
    for other in many:
        try: one.register(other, select.EPOLLIN)
        except OSError: pass
print("held", flush=True)
time.sleep(600)
"""
# In a process of its own, which is refused every new watch from its first action on.
REFUSED = """
import os, sys, trio
from pathlib import Path
from builder.sandbox.kernel import identity
from builder.sandbox.kernel.seccomp import ALLOW, ARG1, EQUAL, LOAD, NR, RETURN, Filter, refuse
from builder.sandbox.native import open_sandbox
from tests.sandbox.support import READ_ONLY, act, python
ENOSPC, ADD = 28, 1
number = {"x86_64": 233, "aarch64": 21}[os.uname().machine]
none_left = [(LOAD, 0, 0, NR), (EQUAL, 0, 3, number), (LOAD, 0, 0, ARG1), (EQUAL, 0, 1, ADD),
             (RETURN, 0, 0, refuse(ENOSPC)), (RETURN, 0, 0, ALLOW)]
base = Path(sys.argv[1])
def place(name):
    (base / name).mkdir()
    return base / name
async def main():
    async with open_sandbox(read_only=READ_ONLY, ready=1) as sandbox, trio.open_nursery() as n:
        await act(sandbox, place("first"), "true")
        identity.prctl(identity.PR_SET_NO_NEW_PRIVS, 1)
        Filter(none_left).install()
        async def greedy():
            done = await python(sandbox, place("greedy"), GREEDY)
            print(done.exit.outcome.value, done.exit.message, flush=True)
        n.start_soon(greedy)
        while not any(p.read_text() for p in (base / "greedy").glob("*/stdout")):
            await trio.sleep(0.02)
        for number in range(3):
            print((await act(sandbox, place(str(number)), "echo", "on")).out.strip(), flush=True)
trio.run(main)
""".replace("GREEDY)", f"{GREEDY!r})")


def test_who_takes_all_watches_of_epoll_is_ended(tmp_path: Path) -> None:
    """A worker that is refused one ends the action that has them, says so, and goes on."""
    home = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said.count("on") == 3
    assert [line for line in said if line.startswith("too-many-watches it used up the watches")]
