"""The weakest tier: only on demand, never silently, and still no way to change inputs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from builder.sandbox.interface import (
    Limits,
    Network,
    Outcome,
    Sandbox,
    SandboxError,
    SandboxRefusedError,
)
from builder.sandbox.kernel import landlock
from builder.sandbox.options import Options
from builder.sandbox.weak import WeakSandbox
from tests.sandbox.support import READ_ONLY, act, python, shell, spec
from tests.sandbox.test_ending import ESCAPISTS, MARK, survivors

WITHOUT_NAMESPACES = """
import json, os, sys
from builder.sandbox.kernel import identity
uid, gid = os.getuid(), os.getgid()
if open("/proc/sys/user/max_user_namespaces").read() != "0\\n":
    identity.unshare(identity.CLONE_NEWUSER)
    identity.map_ids("self", 1000, uid, gid)
    identity.write_file("/proc/sys/user/max_user_namespaces", "0")
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], *sys.argv[2:]])
"""
TRY_BOTH = """
import json, sys, trio
from builder.sandbox.interface import SandboxError, SandboxSpec
from builder.sandbox.native import open_sandbox

async def main():
    try:
        async with open_sandbox():
            print("started", file=sys.stderr)
    except SandboxError as error:
        refusal = str(error)
    async with open_sandbox(best_effort=True) as sandbox:
        spec = SandboxSpec(("/bin/sh", "-c", "cat in; echo out"), sys.argv[1], sys.argv[2])
        async with await sandbox.run(spec) as finished:
            done = finished.exit
    print(json.dumps([refusal, done.backend, done.exit_code, open(done.stdout).read()]))

trio.run(main)
"""


@pytest.fixture
def weak() -> Sandbox:
    return WeakSandbox(Options(READ_ONLY), "this test wants it")


async def test_it_runs_and_says_what_it_is(weak: Sandbox, tmp_path: Path) -> None:
    """Exit code, output and outputs arrive; backend and guarantees promise little."""
    script = "cat a; mkdir d; echo 2 > d/b; echo no >&2; exit 3"
    done = await shell(weak, tmp_path, script, files={"a": "1"})
    assert (done.exit.exit_code, done.out, done.err) == (3, "1", "no\n")
    assert done.tree == {"a": b"1", "d/b": b"2\n"}
    assert done.exit.backend == "rlimits-only"
    assert "mount-namespace" not in done.exit.guarantees


async def test_it_never_runs_as_root(weak: Sandbox, tmp_path: Path) -> None:
    """The action's user is not root, cannot become it, and has no capability."""
    done = await shell(weak, tmp_path, "id -u; grep -E 'CapEff|NoNew|Seccomp:' /proc/self/status")
    words = done.out.split()
    assert words[0] != "0"
    assert words[1:] == ["CapEff:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2"]


async def test_inputs_are_copies(weak: Sandbox, tmp_path: Path) -> None:
    """Changing an input that is hard-linked to the store changes no byte there."""
    blob = tmp_path / "blob"
    blob.write_text("precious")
    (tmp_path / "inputs").mkdir()
    os.link(blob, tmp_path / "inputs" / "input")
    done = await shell(weak, tmp_path, "echo x > input")
    assert (done.tree, blob.read_text()) == ({"input": b"x\n"}, "precious")


async def test_required_isolation_is_a_refusal(weak: Sandbox, tmp_path: Path) -> None:
    """An action that requires a namespace does not run, and hears the reason."""
    wanted = spec(tmp_path, "true", required=frozenset({"network-namespace"}))
    with pytest.raises(SandboxRefusedError, match=r"network-namespace.*this test wants it"):
        await weak.run(wanted)


async def test_hosts_cannot_be_kept_to(weak: Sandbox, tmp_path: Path) -> None:
    """An action that may reach some hosts only does not run where it could reach all."""
    wanted = spec(tmp_path, "true", network=Network.HOSTS, hosts=("example.org",))
    with pytest.raises(SandboxRefusedError, match=r"kept to some hosts.*this test wants it"):
        await weak.run(wanted)


async def test_memory_is_bounded(weak: Sandbox, tmp_path: Path) -> None:
    """By rlimit, for each process, and said so."""
    limits = Limits(memory_bytes=64 << 20, processes=30)
    done = await python(weak, tmp_path, "bytearray(200 << 20)", limits=limits)
    assert "MemoryError" in done.err
    assert "memory=64MiB (rlimit for each process)" in done.exit.limits


TOUCH_OTHERS = """
import os, resource, sys
victim = int(sys.argv[1])

def tried(what, *arguments):
    try:
        what(*arguments)
        return "done"
    except OSError as error:
        return type(error).__name__

def written(name):
    os.close(os.open(f"/proc/{victim}/{name}", os.O_WRONLY))

print(tried(resource.prlimit, victim, resource.RLIMIT_NOFILE, (9, 9)))
print(tried(os.sched_setaffinity, victim, os.sched_getaffinity(0)))
print(tried(os.setpriority, os.PRIO_PROCESS, victim, 19))
print(tried(os.kill, victim, 9))
for name in ("oom_score_adj", "comm", "coredump_filter", "autogroup"):
    print(tried(written, name))
os.nice(1), os.sched_setaffinity(0, os.sched_getaffinity(0))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
os.write(os.open("/dev/stdout", os.O_WRONLY), b"itself\\n")
"""


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user's as actions are, but none of theirs."""
    uid = Options().action_uid if os.getuid() == 0 else None
    with subprocess.Popen(["/bin/sleep", "600"], user=uid, group=uid) as process:
        yield process
        process.kill()


@pytest.mark.skipif(landlock.version() < landlock.WITH_SCOPES, reason="needs Landlock's scopes")
async def test_it_changes_nothing_of_its_user_s_other_processes(
    weak: Sandbox, tmp_path: Path, neighbour: subprocess.Popen[bytes]
) -> None:
    """Though it sees them, and they are its user's; of itself it changes what it likes."""
    done = await python(weak, tmp_path, TOUCH_OTHERS, str(neighbour.pid))
    assert neighbour.poll() is None
    assert sorted(done.out.split()) == [*["PermissionError"] * 8, "itself"], (done.out, done.err)


@pytest.mark.parametrize("name", [n for n in ESCAPISTS if "bomb" not in n])
async def test_timeout_catches(weak: Sandbox, tmp_path: Path, name: str) -> None:
    """Daemons, stopped and busy children end with their action here too."""
    mark = f"{MARK}-weak-{os.getpid()}-{abs(hash(name))}"
    script = f"{ESCAPISTS[name]}\nimport time\ntime.sleep(600)"
    limits = Limits(wall_s=0.5, grace_s=0.1, output_bytes=1000)
    with trio.fail_after(60):
        done = await python(weak, tmp_path, script, mark, limits=limits)
    assert done.exit.outcome is Outcome.TIMED_OUT
    assert survivors(mark) == []


async def test_cancelling_kills(weak: Sandbox, tmp_path: Path) -> None:
    """When nobody waits any more the action is gone before `run` returns."""
    mark = f"{MARK}-weak-{os.getpid()}-cancelled"
    wanted = spec(tmp_path, "/usr/bin/python3", "-c", "import time; time.sleep(600)", mark)
    with trio.move_on_after(0.5) as scope:
        await weak.run(wanted)
    assert scope.cancelled_caught
    assert survivors(mark) == []


async def test_missing_program(weak: Sandbox, tmp_path: Path) -> None:
    """A program that is not there is told as in every tier."""
    done = await act(weak, tmp_path, "no-such-program")
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.NOT_STARTED, 127)


def test_no_namespaces_no_sandbox_unless_accepted(open_place: Path) -> None:
    """Without user namespaces it refuses, with the command that helps; by best effort it runs."""
    wanted = spec(open_place, "true", files={"in": "in "})
    home = Path(__file__).parents[2]
    for path in (Path(wanted.input_root), Path(wanted.scratch)):
        os.chown(path, 60998, 60998) if os.getuid() == 0 else None
    who = {"user": 60998, "group": 60998, "extra_groups": []} if os.getuid() == 0 else {}
    argv = [sys.executable, "-B", "-c", WITHOUT_NAMESPACES, TRY_BOTH]
    done = subprocess.run(
        [*argv, wanted.input_root, wanted.scratch],
        cwd=home,
        env={"PYTHONPATH": str(home), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        **who,
    )
    assert done.returncode == 0, done.stderr
    refusal, backend, code, out = json.loads(done.stdout)
    assert "sysctl -w user.max_user_namespaces" in refusal
    assert (backend, code, out) == ("rlimits-only", 0, "in out\n")


def test_errors_are_ours() -> None:
    """A sandbox that cannot start is no fault of the action: UNAVAILABLE."""
    assert SandboxError.code.name == "UNAVAILABLE"
