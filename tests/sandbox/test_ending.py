"""The end of an action: by time, by cancellation, by death of the machinery; nothing survives."""

import os
import signal
from pathlib import Path

import pytest
import trio

from builder.sandbox.interface import Limits, Outcome, Sandbox, SandboxError
from builder.sandbox.native import NativeSandbox, open_sandbox
from tests.sandbox.support import READ_ONLY, python, shell, spec, timed_out

SHORT = Limits(wall_s=0.3, grace_s=0.2)
MARK = "builder-test-survivor"


def survivors(mark: str) -> list[int]:
    """Processes of the host whose command line holds the mark."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in text:
                found.append(int(name))
    return found


async def grown(path: Path) -> None:
    """Until there is something in a file."""
    while not (path.exists() and path.stat().st_size):  # noqa: ASYNC110 - files tell nobody
        await trio.sleep(0.005)


async def test_wall_time_ends_it_and_keeps_its_output(sandbox: Sandbox, tmp_path: Path) -> None:
    """A program that is too slow is ended by TERM; what it wrote is kept."""
    script = "trap 'echo told; exit 5' TERM; echo begun; while :; do sleep 0.01; done"
    done, wall_s = await timed_out(sandbox, tmp_path, script, 60.0)
    assert done.exit.outcome is Outcome.TIMED_OUT
    assert (done.out, done.exit.exit_code) == ("begun\ntold\n", 5)
    assert done.exit.message == f"timed out after {wall_s:g} s"
    assert f"wall={wall_s:g}s (timer)" in done.exit.limits


async def test_deaf_program_is_killed_after_the_grace(sandbox: Sandbox, tmp_path: Path) -> None:
    """A program that ignores TERM is killed when its grace is over."""
    script = "trap '' TERM; echo deaf; while :; do sleep 0.01; done"
    done, wall_s = await timed_out(sandbox, tmp_path, script, 0.2)
    assert (done.exit.outcome, done.exit.signal) == (Outcome.TIMED_OUT, signal.SIGKILL)
    assert done.exit.usage.wall_s > wall_s + 0.15


ESCAPISTS = {
    "a daemon that forks twice and starts a session": (
        "import os, time, signal\n[signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)]\n"
        "if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(600)\n  os._exit(0)\n"
    ),
    "a stopped process": "import os, time\nif os.fork() == 0: os.kill(os.getpid(), 19)\n",
    "children that spin": (
        "import os\nfor _ in range(5):\n  if os.fork() == 0:\n    while True: pass\n"
    ),
    "children that write": (
        "import os\nif os.fork() == 0:\n  while True: os.write(1, bytes(4096))\n"
    ),
    "a fork bomb": "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass\n",
    "a process that stops its whole group": "import os\nos.kill(0, 19)\n",
}


@pytest.mark.parametrize("name", ESCAPISTS)
async def test_timeout_catches(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    """No process of a timed-out action survives, whatever it did to get away."""
    mark = f"{MARK}-{os.getpid()}-{abs(hash(name))}"
    script = f"{ESCAPISTS[name]}\nimport time\ntime.sleep(600)"
    limits = Limits(wall_s=0.5, grace_s=0.1, processes=60, output_bytes=100_000)
    with trio.fail_after(60):
        done = await python(sandbox, tmp_path, script, mark, limits=limits)
    assert done.exit.outcome is Outcome.TIMED_OUT
    assert survivors(mark) == []


async def test_daemons_end_with_the_action(sandbox: Sandbox, tmp_path: Path) -> None:
    """What a program leaves running when it exits is ended before its result is told."""
    mark = f"{MARK}-{os.getpid()}-daemon"
    script = ESCAPISTS["a daemon that forks twice and starts a session"]
    done = await python(sandbox, tmp_path, script, mark)
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.EXITED, 0)
    assert survivors(mark) == []


async def test_stopped_program_times_out(sandbox: Sandbox, tmp_path: Path) -> None:
    """A program that stops itself is ended by its time."""
    done = await shell(sandbox, tmp_path, "kill -STOP $$", limits=SHORT)
    assert done.exit.outcome is Outcome.TIMED_OUT


async def test_output_is_readable_while_it_runs(sandbox: Sandbox, tmp_path: Path) -> None:
    """stdout stands in the scratch directory from the start."""
    wanted = spec(
        tmp_path, "/bin/sh", "-c", "echo live; while [ ! -e /tmp/x ]; do sleep 0.01; done"
    )
    stdout = Path(wanted.scratch) / "stdout"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sandbox.run, wanted)
        with trio.fail_after(60):
            await grown(stdout)
        nursery.cancel_scope.cancel()


async def test_cancelling_kills(sandbox: Sandbox, tmp_path: Path) -> None:
    """When nobody waits any more the action is gone before `run` returns."""
    mark = f"{MARK}-{os.getpid()}-cancelled"
    wanted = spec(tmp_path, "/usr/bin/python3", "-c", "import time; time.sleep(600)", mark)
    with trio.move_on_after(0.5) as scope:
        await sandbox.run(wanted)
    assert scope.cancelled_caught
    assert survivors(mark) == []


async def test_broker_killed_means_error_and_a_new_one(tmp_path: Path) -> None:
    """kill -9 of the broker ends what ran with SandboxError; the next action just runs."""
    mark = f"{MARK}-{os.getpid()}-broker"
    async with open_sandbox(read_only=READ_ONLY, ready=1) as sandbox:
        assert isinstance(sandbox, NativeSandbox)
        wanted = spec(tmp_path, "/bin/sh", "-c", f"echo up; sleep 600 # {mark}")
        stdout = Path(wanted.scratch) / "stdout"

        async def kill_when_up() -> None:
            with trio.fail_after(60):
                await grown(stdout)
            os.kill(sandbox.broker_pid, signal.SIGKILL)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_when_up)
            with pytest.raises(SandboxError, match="broker died"):
                await sandbox.run(wanted)
        assert survivors(mark) == []
        (tmp_path / "second").mkdir()
        done = await shell(sandbox, tmp_path / "second", "echo again")
        assert done.out == "again\n"
