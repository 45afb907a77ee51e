"""A runner makes one sandbox after the other: what stays, what does not, and when it goes."""

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from builder.sandbox.interface import Limits, Network, Outcome, Sandbox, SandboxError
from builder.sandbox.kernel.worktree import LAYER
from builder.sandbox.native import open_sandbox
from tests.sandbox.leftovers import descendants
from tests.sandbox.support import READ_ONLY, act, python, shell, spec

PATIENCE_S = 60
OF_THE_C_LIBRARY = 1 << 31 | 1 << 32  # the two that it keeps for its threads
TRACES = """
import ctypes, os, socket
open('/tmp/left', 'w').close()
open('/dev/shm/left', 'w').close()
os.symlink('/nowhere', '/builder/work/left')
s = socket.socket(socket.AF_UNIX); s.bind('\\0left'); s.listen()
t = socket.socket(); t.bind(('127.0.0.1', 7777)); t.listen()
if os.fork() == 0:
    os.setsid()
    import time; time.sleep(1000)
os.umask(0o077); os.chdir('/tmp'); os.nice(5)
print(ctypes.CDLL(None).msgget(77, 0o1600) >= 0, os.getpid())
"""
LOOK = """
import ctypes, os, socket
print(os.listdir('/tmp'), os.listdir('/dev/shm'), os.listdir('/builder/work'))
s = socket.socket(socket.AF_UNIX); s.bind('\\0left')
t = socket.socket(); t.bind(('127.0.0.1', 7777))
print([n for n in os.listdir('/proc') if n.isdigit()] == ['1', str(os.getpid())])
print(os.umask(0o022) == 0o022, os.getcwd(), os.nice(0), open('/proc/loadavg').read().split()[4])
print(ctypes.CDLL(None).msgget(77, 0) >= 0, os.getpid())
"""


def runners(sandbox: Sandbox) -> set[int]:
    return named(sandbox, "bldr-runner")


def named(sandbox: Sandbox, wanted: str) -> set[int]:
    found = set()
    for pid in descendants(sandbox.broker_pid):  # type: ignore[attr-defined]  # native's own
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        found |= {pid} if name == wanted else set()
    return found


async def until(true: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - other processes tell nobody of their state
            await trio.sleep(0.01)


async def settled(sandbox: Sandbox, least: int) -> set[int]:
    """Its runners, when there are as many."""
    await until(lambda: len(runners(sandbox)) >= least)
    return runners(sandbox)


async def test_nothing_of_one_sandbox_is_in_the_next_of_its_runner(tmp_path: Path) -> None:
    """Files, sockets, ports, processes, namespaces, and what a process has of its own."""
    async with open_sandbox(read_only=READ_ONLY, ready=1) as sandbox:
        first = await python(sandbox, tmp_path, TRACES)
        before = runners(sandbox)
        second = await python(sandbox, tmp_path, LOOK)
        after = runners(sandbox)
    assert first.exit.outcome is Outcome.EXITED, first.err
    assert second.err == ""
    *seen, queue = second.out.splitlines()
    assert seen[:2] == ["[] [] []", "True"]
    assert seen[2].split()[:3] == ["True", "/builder/work", str(os.nice(0))]
    (made, ours), (found, theirs) = first.out.split(), queue.split()
    assert (made, found) == ("True", "False")
    assert ours == theirs  # the same number in a namespace of its own
    assert before & after


async def test_limits_of_one_action_are_none_of_the_next(tmp_path: Path) -> None:
    """Whoever needs other limits gets another runner, also when those of before were lower."""
    wanted = [None, 50, None, 500, 50, None]
    async with open_sandbox(read_only=READ_ONLY, ready=1) as sandbox:
        for files in wanted:
            limits = Limits(open_files=files)
            done = await shell(sandbox, tmp_path, "ulimit -n; ulimit -Hn", limits=limits)
            soft, hard = map(int, done.out.split())
            assert soft == hard
            assert soft == files if files else soft > 500


async def test_runners_are_as_many_as_are_needed(tmp_path: Path) -> None:
    """A crowd of actions leaves no more than thrice what is kept ready, and what is unusual no
    more than that either."""
    keep = 2
    async with open_sandbox(read_only=READ_ONLY, ready=keep) as sandbox:
        for number in range(3):
            async with trio.open_nursery() as nursery:
                for one in range(8):
                    (base := tmp_path / f"{number}-{one}").mkdir()
                    nursery.start_soon(act, sandbox, base, "/bin/true")
            (base := tmp_path / f"{number}").mkdir()
            await shell(sandbox, base, "kill -9 $$", limits=Limits(open_files=100 + number))
            await shell(sandbox, base, "true", network=Network.FULL)
        await until(lambda: len(runners(sandbox)) <= 3 * keep)


async def test_a_runner_that_is_killed_takes_its_action_along(tmp_path: Path) -> None:
    """The action fails with a reason, its processes are gone, and the next one runs."""
    async with open_sandbox(read_only=READ_ONLY, ready=1) as sandbox:
        await settled(sandbox, 1)
        found: list[Outcome] = []

        async def run() -> None:
            done = await shell(sandbox, tmp_path, "sleep 1000 & echo x > begun; sleep 1000")
            found.append(done.exit.outcome)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await until(lambda: list(tmp_path.glob(f"scratch-*/{LAYER}/begun")))
            for pid in runners(sandbox):
                os.kill(pid, signal.SIGKILL)
        assert found == [Outcome.SIGNALLED]
        below = descendants(sandbox.broker_pid)  # type: ignore[attr-defined]  # native's own
        names = [Path(f"/proc/{pid}/comm") for pid in below]
        assert not [name for name in names if name.exists() and name.read_text() == "sleep\n"]
        (tmp_path / "next").mkdir()
        assert (await shell(sandbox, tmp_path / "next", "echo fine")).out == "fine\n"


async def test_an_action_ignores_no_signal(tmp_path: Path) -> None:
    """Nor has it any blocked, also when the worker's starter had some ignored, as nohup does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with open_sandbox(read_only=READ_ONLY, ready=1) as sandbox:
            done = await shell(sandbox, tmp_path, "grep -E 'Sig(Blk|Ign)' /proc/self/status")
    finally:
        signal.signal(signal.SIGHUP, before)
    _, blocked, _, ignored = done.out.split()
    assert int(blocked, 16) == 0
    assert int(ignored, 16) & ~OF_THE_C_LIBRARY == 0


async def fine_in_the_end(sandbox: Sandbox, base: Path) -> None:
    """One that was just being killed may have been given the action, which is then said."""
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                done = await shell(sandbox, base, "echo fine")
            except SandboxError:
                continue
            if done.exit.outcome is Outcome.EXITED:
                assert done.out == "fine\n"
                return
            assert "killed from outside" in done.exit.message


@pytest.mark.parametrize("victim", ["bldr-runner", "bldr-init"])
async def test_what_is_killed_when_idle_is_replaced(victim: str, tmp_path: Path) -> None:
    """Sandboxes that were ready, and those that were just being made."""
    async with open_sandbox(read_only=READ_ONLY, ready=2) as sandbox:
        for number in range(3):
            (base := tmp_path / f"{number}").mkdir()
            await until(lambda: len(named(sandbox, victim)) >= 2)
            for pid in named(sandbox, victim):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await fine_in_the_end(sandbox, base)


async def test_init_can_be_neither_changed_nor_signalled(tmp_path: Path) -> None:
    """It is PID 1, of the action's own user."""
    script = """
import os, resource
for what in (
    lambda: open('/proc/1/mem', 'r+b'), lambda: os.readlink('/proc/1/exe'),
    lambda: os.listdir('/proc/1/fd'), lambda: os.listdir('/proc/1/map_files'),
    lambda: resource.prlimit(1, resource.RLIMIT_CPU, (1, 1)),
    lambda: open('/proc/1/oom_score_adj', 'w').write('1000'),
):
    try:
        print('could', what())
    except OSError as error:
        print(type(error).__name__)
for number in range(1, 64):
    try:
        os.kill(1, number)
    except OSError:
        pass
print('here')
"""
    async with open_sandbox(read_only=READ_ONLY, ready=1) as sandbox:
        done = await python(sandbox, tmp_path, script)
    assert done.out.split() == ["PermissionError"] * 6 + ["here"], done.err


async def test_a_sandbox_that_cannot_be_set_up_ends_with_its_runner(tmp_path: Path) -> None:
    """The inputs of more actions than there are sandboxes are not there: each gets the reason, no
    runner is left, and the next action gets a new one."""
    async with open_sandbox(read_only=READ_ONLY, ready=1) as sandbox:
        before = await settled(sandbox, 1)

        async def fail(base: Path) -> None:
            base.mkdir()
            wanted = replace(spec(base, "/bin/true"), input_root=str(base / "nowhere"))
            with trio.fail_after(PATIENCE_S), pytest.raises(SandboxError, match=r"nowhere|No such"):
                await sandbox.run(wanted)

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(fail, tmp_path / f"{number}")
        await until(lambda: not before & runners(sandbox))
        assert (await shell(sandbox, tmp_path, "echo fine")).out == "fine\n"
