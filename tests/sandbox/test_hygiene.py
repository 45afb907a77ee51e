"""Nothing is left behind: no process, mount, control group or descriptor."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from builder.sandbox.interface import Sandbox
from builder.sandbox.kernel.leaf import COUNTERS
from builder.sandbox.native import open_sandbox
from tests.bench import hygiene
from tests.sandbox.leftovers import descendants, groups, mounts
from tests.sandbox.support import READ_ONLY, act, new_inputs, spec

COUNT, WITH_KILLS = 40, 200
LEAF_FDS = 3 + len(COUNTERS)  # where one tree has all controllers, as version 2 does


async def test_many_actions_leave_nothing(tmp_path: Path) -> None:
    """After many actions everything that they took is there again, in service and broker."""
    before = mounts(), descendants(os.getpid())
    inputs = new_inputs(tmp_path, {"a": "1"})
    async with open_sandbox(read_only=READ_ONLY, ready=2) as sandbox:
        broker = sandbox.broker_pid  # type: ignore[attr-defined]  # native's own

        async def one(number: int) -> None:
            base = tmp_path / f"{number}"
            base.mkdir()
            (base / "inputs").symlink_to(inputs)
            done = await act(sandbox, base, "/bin/sh", "-c", "cat a; (sleep 60 &); echo 2 > b")
            assert (done.out, done.tree) == ("1", {"a": b"1", "b": b"2\n"})

        await one(0)
        own = len(os.listdir("/proc/self/fd"))
        its = held(broker)
        for first in range(1, COUNT, 4):
            async with trio.open_nursery() as nursery:
                for number in range(first, first + 4):
                    nursery.start_soon(one, number)
        assert len(os.listdir("/proc/self/fd")) == own
        until(lambda: held(broker) <= its + 12)  # some are being made
        assert mounts() == before[0]
    assert mounts() == before[0]
    assert descendants(os.getpid()) <= before[1]
    assert groups(broker) == set()


def held(broker: int) -> int:
    """How many descriptors a broker has, without those of control groups, which serve one sandbox
    after the other: of these it has at most so many for each group."""
    paths: list[str] = []
    for name in os.listdir(f"/proc/{broker}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            paths.append(os.readlink(f"/proc/{broker}/fd/{name}"))
    own = tuple(groups(broker))
    of_groups = [path for path in paths if path.startswith(own)] if own else []
    assert len(of_groups) <= LEAF_FDS * len({os.path.dirname(path) for path in of_groups})
    return len(paths) - len(of_groups)


@pytest.mark.slow
async def test_random_kills_leave_nothing(open_place: Path) -> None:
    """200 actions that are cancelled, time out, leave daemons, and lose their init, zygote or
    broker at random moments leave no mount, process, descriptor, directory or control group."""
    with trio.fail_after(600):
        found = await hygiene.measure(open_place, WITH_KILLS)
    left = {name: count for name, count in found.items() if name.startswith("left_")}
    assert len(left) == 5
    assert set(left.values()) == {0}, found


async def test_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    """An action that is cancelled while its broker is being started takes that along."""
    before = descendants(os.getpid()), len(os.listdir("/proc/self/fd"))
    wanted = spec(tmp_path, "true")
    async with open_sandbox(read_only=READ_ONLY, ready=1) as sandbox:
        await act(sandbox, tmp_path, "true")
        os.kill(sandbox.broker_pid, signal.SIGKILL)  # type: ignore[attr-defined]  # native's own
        with trio.fail_after(60):  # its keeper has the link a moment longer than it lives
            while sandbox.broker_pid or descendants(os.getpid()) != before[0]:  # type: ignore[attr-defined]  # noqa: ASYNC110
                await trio.sleep(0.001)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sandbox.run, wanted)
            with trio.fail_after(60):
                while descendants(os.getpid()) == before[0]:  # noqa: ASYNC110 - nobody tells
                    await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        assert (await act(sandbox, tmp_path, "true")).exit.exit_code == 0
    assert (descendants(os.getpid()), len(os.listdir("/proc/self/fd"))) == before


SERVICE = """
import sys, trio
from builder.sandbox.native import open_sandbox
from builder.sandbox.interface import SandboxSpec

async def main():
    async with open_sandbox() as sandbox:
        script = "echo up; sleep 600 & sleep 600"
        await sandbox.run(SandboxSpec(("/bin/sh", "-c", script), sys.argv[1], sys.argv[2]))

trio.run(main)
"""


def test_service_killed_leaves_nothing(tmp_path: Path) -> None:
    """kill -9 of the whole service in mid-action ends every process and removes every group."""
    wanted = spec(tmp_path, "true")
    service = subprocess.Popen([sys.executable, "-c", SERVICE, wanted.input_root, wanted.scratch])
    stdout = Path(wanted.scratch) / "stdout"
    until(lambda: stdout.exists() and stdout.stat().st_size > 0)
    below = descendants(service.pid)
    assert len(below) >= 5  # broker, keeper, zygote, init, sleep
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
    until(lambda: groups(*below) == set())


def until(condition: object, seconds: float = 60) -> None:
    """Poll: a foreign process's doings are told by nobody."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]  # a plain callable
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


async def test_killed_brokers_groups_go(tmp_path: Path) -> None:
    """What a broker that was killed could not remove is removed when its death is noticed."""
    async with open_sandbox(read_only=READ_ONLY) as sandbox:
        await act(sandbox, tmp_path, "true")
        broker = sandbox.broker_pid  # type: ignore[attr-defined]  # native's own
        assert bool(groups(broker)) == ("memory-cgroup" in sandbox.guarantees)
        os.kill(broker, signal.SIGKILL)
    assert groups(broker) == set()


async def test_hostile_tree_is_released(sandbox: Sandbox, tmp_path: Path) -> None:
    """Directories without permissions, deep ones and odd names do not hold anything up."""
    script = (
        "mkdir -p a/b && chmod 0 a; n=0; while [ $n -lt 200 ]; do mkdir d && cd d; n=$((n+1)); done"
    )
    wanted = spec(tmp_path, "/bin/sh", "-c", script, environment={"PATH": "/bin"})
    async with await sandbox.run(wanted) as finished:
        assert finished.exit.exit_code == 0
        root = finished.root_fd
    try:
        os.fstat(root)
    except OSError:
        return
    raise AssertionError("the work tree is still open")
