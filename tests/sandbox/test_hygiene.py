"""Nothing is left behind: no process, mount, control group or descriptor."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import trio

from builder.host.cgroups import own_places
from builder.sandbox.interface import Sandbox
from builder.sandbox.kernel.groups import prefix_of
from builder.sandbox.native import open_sandbox
from tests.sandbox.support import READ_ONLY, act, new_inputs, spec

COUNT = 200


def groups(*brokers: int) -> set[str]:
    """The control groups that these brokers have below ours; others may run here too."""
    found: set[str] = set()
    for place in own_places():
        for name in os.listdir(place.path):
            if any(name.startswith(prefix_of(pid)) for pid in brokers):
                found.add(os.path.join(place.path, name))
    return found


def mounts() -> int:
    return Path("/proc/self/mountinfo").read_text().count("\n")


def descendants(pid: int) -> set[int]:
    """All living processes below one, by their parents."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                after = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if after[0] != "Z":
                parents[int(name)] = int(after[1])
    found, more = set(), {pid}
    while more:
        more = {child for child, parent in parents.items() if parent in more}
        found |= more
    return found


async def test_many_actions_leave_nothing(tmp_path: Path) -> None:
    """After 200 actions everything that they took is there again, in service and broker."""
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
        its = len(os.listdir(f"/proc/{broker}/fd"))
        for first in range(1, COUNT, 4):
            async with trio.open_nursery() as nursery:
                for number in range(first, first + 4):
                    nursery.start_soon(one, number)
        assert len(os.listdir("/proc/self/fd")) == own
        assert len(os.listdir(f"/proc/{broker}/fd")) <= its + 12  # sandboxes being made ready
        assert mounts() == before[0]
    assert mounts() == before[0]
    assert descendants(os.getpid()) <= before[1]
    assert groups(broker) == set()


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
