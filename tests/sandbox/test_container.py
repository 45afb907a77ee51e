"""Actions in containers of a runtime: what it is told, and real ones where it is installed."""

import os
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trio

from builder.base.errors import UsageError
from builder.sandbox import bundle, container, plan, podman
from builder.sandbox.container import ContainerSandbox, open_containers
from builder.sandbox.interface import (
    AuditLevel,
    Dialogue,
    Limits,
    Network,
    Outcome,
    SandboxError,
    SandboxRefusedError,
    SandboxSpec,
)
from builder.sandbox.opening import open_sandbox
from builder.sandbox.options import Options
from tests.sandbox.support import READ_ONLY, act, shell, spec

ONLY_V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
# crun refuses hosts that have version 2's tree of control groups beside version 1's
WRAPPED = """#!/bin/sh
exec unshare --mount sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec {program} "$@"' sh "$@"
"""
ROOT = plan.template()
GIVEN = {
    "argv": ("/bin/cc", "-c"), "environment": {"A": "b c"}, "directory": "/builder/work/d",
    "root": ROOT, "work_tree": "/s/tree", "uid": 60999, "outside_uid": None, "own_network": True,
    "rlimits": {"NOFILE": 100}, "limits": bundle.resources(1 << 20, 9, 1.5), "machine": "x86_64",
}  # fmt: skip


def config(**changed: object) -> dict[str, object]:
    return bundle.config(**GIVEN | changed)  # type: ignore[arg-type]  # as it takes them


def test_what_a_runtime_is_told() -> None:
    """Nothing can be written but the work tree and /tmp; no capability in any set; the same calls
    are denied as natively."""
    told = config()
    process, linux = told["process"], told["linux"]
    assert process["noNewPrivileges"] is True
    assert set(map(len, process["capabilities"].values())) == {0}
    assert (process["user"]["uid"], process["env"]) == (60999, ["A=b c"])
    written = [one["destination"] for one in told["mounts"] if "ro" not in one["options"]]
    assert set(written) == {"/proc", "/dev", "/dev/pts", "/dev/shm", "/tmp", plan.WORK_TREE}
    assert all("nosuid" in one["options"] for one in told["mounts"])
    assert {space["type"] for space in linux["namespaces"]} == {*bundle.SPACES, "network"}
    assert linux["resources"] == {
        "memory": {"limit": 1 << 20, "swap": 1 << 20},
        "pids": {"limit": 9},
        "cpu": {"quota": 150_000, "period": 100_000},
    }
    denied = linux["seccomp"]["syscalls"][0]["names"]
    assert {"mount", "bpf", "io_uring_setup", "ptrace", "keyctl"} <= set(denied)
    assert "/proc/kcore" in linux["maskedPaths"]


def test_an_ordinary_user_has_a_user_namespace() -> None:
    linux = config(outside_uid=5, uid=0, own_network=False)["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 5, "size": 1}]
    kinds = [space["type"] for space in linux["namespaces"]]
    assert "user" in kinds
    assert "network" not in kinds


def test_podman_is_told_the_same() -> None:
    """In options; what it mounts itself is left to it."""
    said = podman.options(config(), "/b/rootfs", "/b/seccomp.json", groups=True)
    assert said[-4:] == ["--rootfs", "/b/rootfs", "/bin/cc", "-c"]
    for wanted in (
        "--network=none", "--read-only", "--cap-drop=all", "--user=60999:60999", "--env=A=b c",
        "--security-opt=no-new-privileges", "--security-opt=seccomp=/b/seccomp.json",
        "--ulimit=nofile=100:100", "--memory=1048576b", "--pids-limit=9", "--cpu-quota=150000",
        "--volume=/s/tree:/builder/work:rw,nosuid,nodev", "--workdir=/builder/work/d",
    ):  # fmt: skip
        assert wanted in said
    assert not [one for one in said if one.startswith(("--volume=/proc", "--tmpfs=/dev"))]
    unlimited = podman.options(config(own_network=False), "/b/rootfs", "/s", groups=False)
    assert "--cgroups=disabled" in unlimited
    assert "--network=host" in unlimited


def test_the_bundles_own_files(tmp_path: Path) -> None:
    """Accounts name the user that the action is; nothing of /dev, which is the runtime's."""
    bundle.lay_out(ROOT, str(tmp_path), 60999)
    assert "builder:x:60999:60999:" in (tmp_path / "etc/passwd").read_text()
    assert os.readlink(tmp_path / "var/tmp") == "/tmp"
    assert [path for path in (tmp_path / "dev").rglob("*") if path.is_symlink()] == []


def test_limits_are_no_more_than_the_users() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert container.at_most("NOFILE", 1) == 1
    assert container.at_most("NOFILE", most + 1) == most
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    assert (container.at_most("FSIZE", 1 << 60) == 1 << 60) == unlimited


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("", "it said nothing"),
        ('a\ntime="2026" level=error msg="runc run failed: no"\n', "runc run failed: no"),
        ("crun: no", "crun: no"),
    ],
)
def test_what_a_runtime_says(stderr: str, said: str) -> None:
    assert container.reason_in(stderr) == said


async def test_one_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match=r"sandbox\.runtime: runc is not installed"):
        async with open_sandbox(runtime="runc"):
            pass
    with pytest.raises(UsageError, match="for Linux"):
        async with open_sandbox(runtime="runc", system="darwin"):
            pass


async def test_one_that_cannot_make_any_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own words, at the start and not at the first action."""
    program = tmp_path / "crun"
    program.write_text("#!/bin/sh\necho 'no such luck' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SandboxError, match="cannot start: crun: no such luck"):
        async with open_containers(Options(), "crun"):
            pass


@pytest.fixture(params=["runc", "crun", "podman"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One that is installed, and can make a container on this host."""
    name: str = request.param
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip(f"{name} is not installed")
    (place := tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{place}:/usr/sbin:{os.environ['PATH']}")
    if name == "crun" and os.getuid() == 0:
        (place / name).write_text(WRAPPED.format(program=program))
        (place / name).chmod(0o755)
    if name == "podman":
        runc = None if ONLY_V2 else shutil.which("runc")  # crun is its own choice
        flags = "--cgroup-manager cgroupfs" + (f" --runtime {runc}" if runc else "")
        (place / name).write_text(f'#!/bin/sh\nexec {program} {flags} "$@"\n')
        (place / name).chmod(0o755)

    async def start() -> None:
        async with open_containers(Options(READ_ONLY), name):
            pass

    try:
        trio.run(start)
    except SandboxError as error:
        pytest.skip(f"no container starts on this host: {error}")
    return name


@pytest.fixture
async def made(runtime: str) -> AsyncIterator[ContainerSandbox]:
    async with open_containers(Options(READ_ONLY), runtime) as opened:
        yield opened


async def test_real_containers(made: ContainerSandbox, tmp_path: Path) -> None:
    """One after the other: what an action sees and may, how it ends, and that nothing stays."""
    script = """
    pwd; id -un; cat in; echo new > out/made; echo late > in; ls /; echo x > /usr/x; ls /root /home
    grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; ls /proc | grep -c '^[0-9]'
    cat /proc/net/dev | grep -c : ; cat /proc/kcore | wc -c; exit 3
    """
    base = tmp_path / "base"
    base.mkdir()
    done = await shell(made, base, script, files={"in": "in\n"}, output_parents=("out",))
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.EXITED, 3), done
    lines = done.out.splitlines()
    assert lines[0] == "/builder/work"
    assert lines[1] in ("builder", "root")
    assert lines[2] == "in"
    assert "CapEff:\t0000000000000000" in lines
    assert "CapBnd:\t0000000000000000" in lines
    assert "NoNewPrivs:\t1" in lines
    assert "Seccomp:\t2" in lines
    assert int(lines[-3]) <= 4  # its processes
    assert lines[-2:] == ["1", "0"]  # the loopback; and nothing of the memory
    assert "/usr/x" in done.err
    assert done.tree == {"in": b"late\n", "out/made": b"new\n"}
    assert (base / "inputs/in").read_text() == "in\n"
    assert done.exit.backend == made.backend
    assert done.exit.guarantees == made.guarantees

    late = await shell(
        made, base, "trap '' TERM; sleep 600 & sleep 600", limits=Limits(wall_s=0.3, grace_s=0.1)
    )
    assert late.exit.outcome is Outcome.TIMED_OUT
    none = await act(made, base, "no-such-program")
    assert (none.exit.outcome, none.exit.exit_code) == (Outcome.NOT_STARTED, 127)
    with trio.move_on_after(0.5) as scope:
        await shell(made, base, "sleep 600")
    assert scope.cancelled_caught
    whole = await shell(
        made, base, "ls /sys/class/net 2>/dev/null; cat /proc/net/dev", network=Network.FULL
    )
    assert whole.exit.exit_code == 0
    assert "network-namespace" not in whole.exit.guarantees
    await all_gone(made)


async def test_memory_is_limited(made: ContainerSandbox, tmp_path: Path) -> None:
    """By control groups where there are any, and told; else by what each process may have."""
    script = "dd if=/dev/zero of=/dev/null bs=300M count=1"
    done = await shell(made, tmp_path, script, limits=Limits(memory_bytes=64 << 20))
    assert done.exit.exit_code != 0, done
    (said,) = [one for one in done.exit.limits if one.startswith("memory=64MiB")]
    grouped = "memory-cgroup" in made.guarantees
    assert said.endswith("(cgroup)" if grouped else "(rlimit for each process)")
    if grouped and made.backend == "runc":
        assert done.exit.outcome is Outcome.OUT_OF_MEMORY
        assert done.exit.usage.peak_memory_bytes > 32 << 20


async def all_gone(sandbox: ContainerSandbox) -> None:
    listed = (
        sandbox.command("ps", "--all") if sandbox.backend == "podman" else sandbox.command("list")
    )
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(listed, capture_output=True, text=True, check=True)
    )
    assert f"builder-{os.getpid()}-" not in done.stdout


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"audit": AuditLevel.FULL}, "be audited"),
        ({"layers": ("/l",)}, "see an image"),
        ({"inputs_as_root": True}, "see its inputs as its root"),
        ({"programs": ("sh",)}, "be kept to some programs"),
        ({"network": Network.HOSTS, "hosts": ("a.org",)}, "be kept to some hosts"),
        ({"deterministic": True}, "be made deterministic"),
        ({"dialogue": Dialogue("in", "out", print)}, "stay and be spoken to"),
        ({"limits": Limits(disk_bytes=1)}, "be kept from filling the disk"),
        ({"limits": Limits(cpu_s=1.0)}, "be kept from using the processors"),
    ],
)
def test_what_a_container_cannot_have_is_refused(asked: dict[str, object], what: str) -> None:
    wanted = SandboxSpec(("/bin/true",), "/in", "/scratch", **asked)  # type: ignore[arg-type]
    with pytest.raises(SandboxRefusedError, match=f"cannot {what}; `native` can"):
        container.refuse(wanted)


async def test_a_guarantee_that_it_lacks_is_refused(made: ContainerSandbox, tmp_path: Path) -> None:
    with pytest.raises(SandboxRefusedError, match="does not give landlock"):
        await made.run(spec(tmp_path, "/bin/true", required=frozenset({"landlock"})))


SLOW = """#!/bin/sh
case $1 in
run)
    for word; do case $word in */rootfs) place=${word%/rootfs};; esac; done
    case $place in */builder-containers-*) exit 0;; esac
    setsid sh -c 'touch $0/begun; sleep 1; echo $$ > $0/made; exec sleep 600' $place &
    wait ;;
rm) kill $(cat @PLACE@/*/bundle/made 2>/dev/null) ;;
esac
"""


@pytest.mark.parametrize("wall_s", [None, 0.1])
async def test_one_that_is_being_made_is_ended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wall_s: float | None
) -> None:
    """Cancelled, or out of time, before there is a container, an action still leaves none."""
    program = tmp_path / "podman"
    program.write_text(SLOW.replace("@PLACE@", str(tmp_path / "base")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (base := tmp_path / "base").mkdir()
    async with open_containers(Options(), "podman") as opened:
        async with trio.open_nursery() as nursery:
            limits = Limits(wall_s=wall_s, grace_s=0.1)
            nursery.start_soon(partial(shell, opened, base, "true", limits=limits))
            with trio.fail_after(60):
                while not list(base.glob("*/bundle/begun")):  # noqa: ASYNC110 - the one sign of it
                    await trio.sleep(0.02)
            if wall_s is None:
                nursery.cancel_scope.cancel()
    (made,) = base.glob("*/bundle/made")
    assert not os.path.exists(f"/proc/{made.read_text().strip()}/exe")


async def test_limits_that_are_ignored_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime that warns, and runs it all the same, has no control groups to give."""
    program = tmp_path / "podman"
    program.write_text(
        "#!/bin/sh\nfor one; do case $one in --memory=*) echo 'limits are ignored' >&2;; esac; done"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with open_containers(Options(), "podman") as opened:
        assert "memory-cgroup" not in opened.guarantees
        assert opened.problem == "it gives no control groups (limits are ignored)"
