"""What a person types, in the order in which they type it, and what they see."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.held import holding
from tests.e2e.service import (
    CONFIG,
    FLAGS,
    FROM_SOURCE,
    PATIENCE_S,
    ROOT,
    Service,
    environment,
    running,
    stop,
)

pytestmark = pytest.mark.slow
EXAMPLE = ROOT / "examples" / "remote-execution"


def project(folder: Path) -> Path:
    """A copy of the example."""
    return Path(shutil.copytree(EXAMPLE, folder / "example", symlinks=True))


def bldr(where: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    home = where.parent / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [*FROM_SOURCE, *arguments],
        cwd=where,
        env=environment(home, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def files(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """Every file of the project with its bytes and executable bit, without bldr's own notes."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), os.access(path, os.X_OK))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".")
    }


def matches(pattern: str, lines: list[str]) -> bool:
    return any(re.fullmatch(pattern, line) for line in lines)


ADDRESS = r"127\.0\.0\.1:\d+"
STARTED = [
    r"\[INFO\] Remote execution service starting\.\.\.",
    rf"\[INFO\]   Coordinator: {ADDRESS}",
    rf"\[INFO\]   REAPI endpoint: {ADDRESS}",
    rf"\[INFO\]   Metrics: http://{ADDRESS}",
    rf"\[INFO\]   Artifact storage: http://{ADDRESS}",
    r"\[INFO\] Worker pool: 2 workers \(autoscale enabled\)",
    r"\[INFO\] Remote execution service ready",
]  # the two in the middle are there where their ports were left to the system


@contextlib.contextmanager
def serving(folder: Path, **streams: object) -> Iterator["subprocess.Popen[bytes]"]:
    """As somebody starts it who has set nothing."""
    config = folder / "builder.yaml"
    config.write_text(CONFIG.format(folder=folder))
    argv = [*FROM_SOURCE, "--config", str(config), "serve", *FLAGS.split()]
    variables = environment(folder)
    del variables["BUILDER_LOG_FORMAT"]
    with subprocess.Popen(argv, env=variables, stdin=subprocess.DEVNULL, **streams) as process:
        try:
            yield process
        finally:
            stop(process)


def test_the_lines_in_a_pipe_and_the_log_beside_them(tmp_path: Path) -> None:
    """Standard output has these words and nothing else; the log is JSON where nobody watches."""
    log = tmp_path / "log"
    with log.open("wb") as errors, serving(tmp_path, stdout=subprocess.PIPE, stderr=errors) as one:
        assert one.stdout
        said = [one.stdout.readline().decode().rstrip("\n") for _ in STARTED]
    assert all(re.fullmatch(*pair) for pair in zip(STARTED, said, strict=True)), said
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"level", "message", "timestamp"} <= set.intersection(*(set(line) for line in lines))
    assert "Remote execution service ready" in [line["message"] for line in lines]


def test_the_lines_on_a_terminal(tmp_path: Path) -> None:
    """Each once, among what else is said in words."""
    ours, theirs = pty.openpty()
    said = b""
    with serving(tmp_path, stdout=theirs, stderr=theirs):
        os.close(theirs)
        while b"service ready" not in said:
            said += os.read(ours, 4096)
    os.close(ours)
    lines = said.decode().splitlines()
    assert [sum(bool(re.fullmatch(one, line)) for line in lines) for one in STARTED] == [1] * 7
    assert '"message"' not in said.decode()


def test_build_twice_then_status(service: Service, tmp_path: Path) -> None:
    """The first build runs on a worker, the second is a hit, and the status counts them."""
    where = project(tmp_path)
    first = bldr(where, "build", "cpp_project", "--remote", "--coordinator", service.coordinator)
    assert first.returncode == 0, first.stdout + first.stderr
    lines = first.stdout.splitlines()
    told = rf"\[INFO\] Using remote execution \(coordinator: {re.escape(service.coordinator)}\)"
    assert matches(told, lines), first.stdout
    assert matches(r"\[INFO\] Uploading inputs\.\.\. \([\d.]+ [KM]?B\)", lines), first.stdout
    worker = r"\[INFO\] Executing on worker-\d+ \(hermetic: namespaces[+\w]*\)"
    assert matches(worker, lines), first.stdout
    assert matches(r"\[INFO\] Build completed in [\d.]+m?s", lines), first.stdout
    assert matches(r"\[INFO\] Cache miss → stored for reuse", lines), first.stdout

    shutil.rmtree(where / ".builder")
    shutil.rmtree(where / "build")
    shutil.rmtree(tmp_path / "home")  # no memory of the first build: the service must know it
    second = bldr(where, "build", "cpp_project", "--remote", "--coordinator", service.coordinator)
    assert second.returncode == 0, second.stdout + second.stderr
    lines = second.stdout.splitlines()
    assert matches(r"\[INFO\] Cache hit: cpp_project \(stored \S+( \S+)? ago\)", lines), lines
    assert matches(r"\[INFO\] Build completed in [\d.]+m?s", lines), lines

    status = bldr(where, "remote", "status", "--coordinator", service.coordinator)
    assert status.returncode == 0, status.stderr
    assert "workers" in status.stdout.lower()
    assert "queue" in status.stdout.lower()
    as_json = bldr(where, "remote", "status", "--json", "--coordinator", service.coordinator)
    counted = json.loads(as_json.stdout)
    assert counted["workers"]["total"] == 2
    assert int(counted["executions"]["succeeded"]) >= 1


def test_three_ways_to_build_give_the_same_bytes(service: Service, tmp_path: Path) -> None:
    """Here, through a service inside the process, and on a running service."""
    ways = {
        "here": [],
        "local": ["--remote=local"],
        "remote": ["--remote", "--coordinator", service.coordinator],
    }
    made = {}
    for name, options in ways.items():
        where = project(tmp_path / name)
        before = files(where)
        done = bldr(where, "build", "cpp_project", *options)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        made[name] = files(where)
        assert made[name].keys() > before.keys(), f"{name}: nothing was built"
    assert made["here"] == made["local"]
    assert made["here"] == made["remote"]


def test_the_coordinator_may_come_from_the_environment(service: Service, tmp_path: Path) -> None:
    """BUILDER_COORDINATOR stands for --coordinator."""
    where = project(tmp_path)
    with (where / "src" / "main.cpp").open("a") as source:
        source.write("// not built before\n")
    done = bldr(where, "build", "cpp_project", "--remote", BUILDER_COORDINATOR=service.coordinator)
    assert done.returncode == 0, done.stdout + done.stderr
    assert service.coordinator in done.stdout


def test_no_service_is_one_line_that_says_so(tmp_path: Path) -> None:
    """A coordinator that is not there: exit code 1, its address, no traceback."""
    where = project(tmp_path)
    done = bldr(where, "build", "cpp_project", "--remote", "--coordinator", "127.0.0.1:1")
    assert done.returncode == 1, done.stdout
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def control_groups(processes: list[psutil.Process]) -> set[Path]:
    """Folders of the control groups that these processes are in, wherever they are mounted."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    roots = [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]
    found = set()
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
        except OSError:
            continue  # it ended meanwhile
        paths = {line.split(":", 2)[2].lstrip("/") for line in lines}
        found |= {root / path for root in roots for path in paths if (root / path).is_dir()}
    return found


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_end_leaves_nothing_behind(tmp_path: Path, how: signal.Signals) -> None:
    """After SIGTERM or Ctrl-C no child, mount or control group of the service is left."""
    before = control_groups([psutil.Process()])
    with running(tmp_path / "service") as service:
        where = project(tmp_path)
        options = ["--remote", "--coordinator", service.coordinator]
        assert bldr(where, "build", "cpp_project", *options).returncode == 0
        family = [*psutil.Process(service.process.pid).children(recursive=True)]
        assert len(family) >= 2, "the workers are processes of their own"
        groups = control_groups(family) - before
        service.process.send_signal(how)
        code = service.process.wait(PATIENCE_S)
    assert code in (0, 130) if how == signal.SIGINT else code == 0, service.lines
    assert [process for process in family if process.is_running()] == []
    assert [group for group in groups if group.exists()] == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_sigterm_lets_a_running_action_finish(tmp_path: Path) -> None:
    """A drain waits for what runs; its client gets the result."""
    where = tmp_path / "project"
    where.mkdir()
    home = tmp_path / "home"
    home.mkdir()
    with running(tmp_path / "service") as service, holding() as held:
        (where / "Builderfile").write_text(
            "target slow:\n  outputs: [slow.txt]\n"
            f'  command: "{held.script("echo done > slow.txt")}"\n'
        )
        argv = [*FROM_SOURCE, "build", "slow", "--remote", "--coordinator", service.coordinator]
        with (
            subprocess.Popen(
                argv, cwd=where, env=environment(home), stdout=subprocess.PIPE, text=True
            ) as client,
            held,
        ):
            service.until("the action runs", lambda status: status.queue.executing > 0)
            service.process.send_signal(signal.SIGTERM)
            service.said("draining")
            held.let_go()
            said, _ = client.communicate(timeout=PATIENCE_S)
        assert client.returncode == 0, said
        assert service.process.wait(PATIENCE_S) == 0
    assert (where / "slow.txt").read_text() == "done\n"


def test_the_workspace_example(service: Service, tmp_path: Path) -> None:
    """Packages in Python: all is built, tested and clean, here and there with equal bytes."""
    source = ROOT / "examples" / "python-workspace"
    made = []
    remote = ("--remote", "--coordinator", service.coordinator, "--hermetic-audit")
    for place, how in (("here", ()), ("there", remote)):
        where = tmp_path / place
        shutil.copytree(source, where, ignore=shutil.ignore_patterns("build", ".builder"))
        built = bldr(where, "build", "//...", *how)
        assert built.returncode == 0, built.stdout + built.stderr
        audits = [line for line in built.stdout.splitlines() if ": audit: " in line]
        assert len(audits) == (7 if how else 0)
        assert all("all of them declared" in line for line in audits), built.stdout
        made.append(files(where))
    assert made[0] == made[1]
    tested = bldr(tmp_path / "there" / "shop", "test", "--remote=" + service.coordinator)
    assert "[INFO] Tests: 1 passed" in tested.stdout
    ran = bldr(tmp_path / "here", "run", "//shop:app", "eur", "rowan")
    assert ran.stdout.endswith("rowan: 12.00 EUR\n")
