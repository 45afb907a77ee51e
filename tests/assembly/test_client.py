"""The example in three ways, in real sandboxes: the same actions, the same bytes."""

import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from builder.assembly.client import LOCAL, Plan, Request, open_build, platform
from builder.assembly.local import local_service
from builder.assembly.settings import load_settings
from builder.client import builderfile
from builder.client.build import Summary
from builder.config.settings import Settings
from builder.host.resources import schema
from builder.project.graph import graph

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "remote-execution"
SAYS = """\
5! = 120
10! = 3628800
F(10) = 55
F(20) = 6765
primes up to 50: 2 3 5 7 11 13 17 19 23 29 31 37 41 43 47
"""


def settings_in(tmp_path: Path, **more: str) -> Settings:
    """Everything that is kept lies under `tmp_path`."""
    given = {
        "store.path": str(tmp_path / "cache" / "store"),
        "worker.scratch": str(tmp_path / "cache" / "worker"),
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    return load_settings(None, given, {})[0]


def checkout(place: Path) -> Path:
    shutil.copytree(EXAMPLE, place, ignore=shutil.ignore_patterns("build", ".builder"))
    return place


async def build(root: Path, settings: Settings, remote: bool | str, *names: str) -> Summary:
    """As the command does it, in this process."""
    found = graph(builderfile.read(root / "Builderfile", lambda: schema("builderfile.schema.json")))
    plan = Plan(Request(names, root, remote), settings, root, found, tuple(found.select(names)))
    with redirect_stdout(io.StringIO()):
        async with open_build(plan) as opened:
            return await opened.run(plan.names)


def contents(root: Path) -> dict[str, tuple[bytes, bool]]:
    """Every file under build/, with whether it is executable."""
    return {
        str(path.relative_to(root)): (
            path.read_bytes(),
            bool(path.stat().st_mode & stat.S_IXUSR),
        )
        for path in sorted((root / "build").rglob("*"))
        if path.is_file()
    }


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[str]:
    async with local_service(settings) as address:
        yield address


@pytest.mark.slow
async def test_three_ways_give_the_same_bytes(tmp_path: Path) -> None:
    """Here, through a service in this process and on a coordinator: equal action digests and
    equal outputs, in three checkouts at different paths; each way built for itself."""
    made, actions = [], []
    with trio.fail_after(240):
        async with service(settings_in(tmp_path / "coordinator")) as address:
            ways: list[tuple[str, bool | str]] = [
                ("here", False),
                ("deeper/within", "local"),
                ("away", True),
            ]
            for name, remote in ways:
                root = checkout(tmp_path / name / "project")
                settings = settings_in(tmp_path / name, client__coordinator=address)
                summary = await build(root, settings, remote, "parallel")
                assert not summary.failed
                assert not any(built.cached for built in summary.built.values())
                actions.append({n: built.action for n, built in summary.built.items()})
                made.append(contents(root))
    assert actions[0] == actions[1] == actions[2]
    assert made[0] == made[1] == made[2]
    assert len(actions[0]) == 5
    program = tmp_path / "away" / "project" / "build" / "parallel_project"
    ran = await trio.run_process([str(program)], capture_stdout=True)
    assert ran.stdout.decode() == SAYS


@pytest.mark.slow
async def test_two_checkouts_share_a_coordinator(tmp_path: Path) -> None:
    """What one checkout built is a hit in another at a different path."""
    with trio.fail_after(60):
        async with service(settings_in(tmp_path)) as address:
            settings = settings_in(tmp_path, client__coordinator=address)
            cached = []
            for name in ("one", "two"):
                root = checkout(tmp_path / name)
                summary = await build(root, settings, True, "compile/src/primes.cpp")
                cached.append(summary.built["compile/src/primes.cpp"].cached)
    assert cached == [False, True]


@pytest.mark.slow
async def test_a_wrong_value_fails_the_test_target(tmp_path: Path) -> None:
    """The example's test does test: a changed constant is found."""
    root = checkout(tmp_path / "project")
    source = root / "src" / "fibonacci.cpp"
    source.write_text(source.read_text().replace("next = 1", "next = 2"))
    summary = await build(root, settings_in(tmp_path), False, "test")
    assert summary.failed == ("test",)
    assert not (root / "build" / "test-report.txt").exists()


def bldr(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "builder", "build", *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(cwd), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command(tmp_path: Path) -> None:
    """A miss, a hit, and what remains in the project."""
    (tmp_path / "Builderfile").write_text(
        "target hello:\n  inputs: [name]\n  outputs: [out/hello]\n"
        '  command: echo "Hello, $(cat name)!" > out/hello\n'
    )
    (tmp_path / "name").write_text("you")
    first = bldr(cwd=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    lines = first.stdout.splitlines()
    assert lines[0] == "[INFO] Using local execution (the sandbox of this machine)"
    assert lines[1].startswith("[INFO] Executing on this machine (hermetic: namespaces")
    assert lines[2].startswith("[INFO] Build completed in ")
    assert lines[3:] == ["[INFO] Cache miss → stored for reuse"]
    assert (tmp_path / "out" / "hello").read_text() == "Hello, you!\n"
    second = bldr("hello", cwd=tmp_path)
    assert second.returncode == 0
    assert second.stdout.startswith("[INFO] Cache hit: hello (stored ")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".cache") == [
        ".builder",
        "Builderfile",
        "name",
        "out",
    ]


def test_a_command_that_fails(tmp_path: Path) -> None:
    """Its own words, target, place and exit code on stderr; exit code 1."""
    (tmp_path / "Builderfile").write_text(
        "target bad: {command: 'echo seen; echo wrong >&2; false | cat; echo never'}\n"
    )
    ran = bldr("bad", cwd=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[:2] == ["seen", "wrong"]
    assert "[ERROR] Target bad failed on this machine (hermetic: " in ran.stderr
    assert "): exit code 1\n" in ran.stderr
    assert "never" not in ran.stderr + ran.stdout


def test_an_action_sees_its_inputs_only(tmp_path: Path) -> None:
    """Other files of the project, the home directory and the caller's environment are not there,
    and the work tree has the same path everywhere."""
    (tmp_path / "secret").write_text("s")
    (tmp_path / "given").write_text("g")
    (tmp_path / "Builderfile").write_text(
        "target look:\n  inputs: [given]\n  outputs: [seen]\n"
        "  command: 'pwd > seen; ls >> seen; env | sort >> seen'\n  env: {MINE: yes}\n"
    )
    ran = bldr("look", cwd=tmp_path, SECRET="s")
    assert ran.returncode == 0, ran.stderr
    seen = (tmp_path / "seen").read_text().splitlines()
    assert seen[:3] == ["/builder/work", "given", "seen"]
    names = {line.partition("=")[0] for line in seen[3:]}
    assert "MINE" in names
    assert "SECRET" not in names
    assert names <= {
        "HOME", "LANG", "MINE", "OLDPWD", "PATH", "PWD", "SHLVL", "SOURCE_DATE_EPOCH", "TZ", "_",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nosuch"], 2, "there is no target 'nosuch'"),
        (["--remote=127.0.0.1:1", "t"], 1, "no coordinator answers at 127.0.0.1:1: "),
        (["--remote", "--coordinator", "127.0.0.1:1", "t"], 1, "at 127.0.0.1:1: "),
        (["t", "127.0.0.1:9000"], 2, "write --remote=127.0.0.1:9000"),
        (["--no-remote", "--remote", "t"], 2, "contradicts"),
        (["--remote=local", "--coordinator", "h:1", "t"], 2, "needs no --coordinator"),
        (["--remote=a:1", "--coordinator", "b:1", "t"], 2, "two coordinators"),
        (["--remote=what is this", "t"], 2, "must be the address of a service, not 'what is this'"),
        (["-j", "0", "t"], 2, "-j"),
        (["-C", "nowhere", "t"], 2, "nowhere"),
    ],
)
def test_what_cannot_be(tmp_path: Path, args: list[str], code: int, said: str) -> None:
    """One line, the right exit code, never a traceback."""
    (tmp_path / "Builderfile").write_text("target t: {command: ['true']}\n")
    ran = bldr(*args, cwd=tmp_path)
    assert ran.returncode == code, ran.stderr
    assert ran.stderr.startswith("error: ")
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert ran.stdout == ""


def test_the_coordinator_of_the_environment(tmp_path: Path) -> None:
    """A bare --remote takes BUILDER_COORDINATOR, and a target's name may follow it."""
    (tmp_path / "Builderfile").write_text("target t: {command: ['true']}\n")
    ran = bldr("--remote", "t", cwd=tmp_path, BUILDER_COORDINATOR="127.0.0.1:1")
    assert ran.returncode == 1
    assert "no coordinator answers at 127.0.0.1:1" in ran.stderr


def test_a_wrong_builderfile(tmp_path: Path) -> None:
    """The place is shown, the exit code is 2, and the same text is wrong the next time too."""
    (tmp_path / "Builderfile").write_text("target t:\n  comand: ['true']\n")
    for _ in range(2):
        ran = bldr(cwd=tmp_path)
        assert ran.returncode == 2
        assert "Builderfile:2:3: unknown key 'comand'" in ran.stderr
        assert "did you mean 'command'?" in ran.stderr
    (tmp_path / "Builderfile").unlink()
    ran = bldr(cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: no Builderfile in ")


def test_interrupting(tmp_path: Path) -> None:
    """Ctrl-C ends the action at once and leaves neither processes nor half-written outputs."""
    (tmp_path / "Builderfile").write_text(
        "target slow:\n  outputs: [o]\n  command: 'echo half > o; sleep 300'\n"
    )
    (tmp_path / "o").write_text("old")
    with _start(tmp_path, "slow") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("[INFO] Using local execution")
        assert process.stdout.readline().startswith("[INFO] Executing on this machine")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr.read() == "[ERROR] Build interrupted\n"
    assert (tmp_path / "o").read_text() == "old"
    state = tmp_path / ".builder"
    assert list((state / "tmp").iterdir()) == []
    assert list((state / "local" / "scratch").iterdir()) == []
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if _command(p) == "sleep\x00300"]


def test_two_builds_of_one_project(tmp_path: Path) -> None:
    """The second one says that it waits, and builds when the first is done."""
    (tmp_path / "Builderfile").write_text(
        "target slow: {outputs: [o], command: 'echo 1 > o; sleep 300'}\n"
        "target quick: {outputs: [p], command: 'echo 2 > p'}\n"
    )
    with _start(tmp_path, "slow") as first:
        assert first.stdout is not None
        first.stdout.readline()
        assert first.stdout.readline().startswith("[INFO] Executing")
        with _start(tmp_path, "quick") as second:
            assert second.stdout is not None
            waiting = "[INFO] Waiting for another build of this project...\n"
            assert second.stdout.readline() == waiting
            assert not (tmp_path / "p").exists()
            first.send_signal(signal.SIGINT)
            assert first.wait(timeout=60) == 130
            assert second.wait(timeout=60) == 0
    assert (tmp_path / "p").read_text() == "2\n"


def _start(cwd: Path, *args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "builder", "build", *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(cwd)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _command(path: Path) -> str:
    try:
        return path.read_text().rstrip("\0")
    except OSError:  # it has ended
        return ""


def test_the_platform() -> None:
    """In REAPI's words, so that workers of another kind never take our actions."""
    assert dict(platform()).keys() == {"OSFamily", "ISA"}
    assert dict(platform())["OSFamily"] == "linux"


@pytest.mark.slow
async def test_places_mix(tmp_path: Path) -> None:
    """`remote: false` keeps a target here under --remote; outputs travel between the places."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "Builderfile").write_text(
        "target one: {command: 'echo 1 > one', outputs: [one], remote: false}\n"
        "target two: {command: 'cat one one > two', inputs: [one], outputs: [two]}\n"
        "target three: {command: 'cat two > three', inputs: [two], outputs: [three],"
        " remote: local}\n"
    )
    with trio.fail_after(60):
        summary = await build(root, settings_in(tmp_path), LOCAL, "three")
        assert list(summary.built) == ["one", "two", "three"]
        assert (root / "three").read_text() == "1\n1\n"
        summary = await build(root, settings_in(tmp_path), LOCAL, "three")
        assert all(built.cached for built in summary.built.values())


async def test_a_service_that_has_another_digest_function(tmp_path: Path) -> None:
    """The build speaks what the service announces, here BLAKE3 alone, and meets its cache."""
    settings = settings_in(tmp_path)
    settings = replace(settings, reapi=replace(settings.reapi, digest_functions=("blake3",)))
    root = checkout(tmp_path / "project")
    with trio.fail_after(120):
        for cached in (False, True):
            summary = await build(root, settings, LOCAL, "cpp_project")
            assert not summary.failed
            built = summary.built["cpp_project"]
            assert (built.cached, built.action.function) == (cached, "blake3")


def test_a_program_is_run(tmp_path: Path) -> None:
    """Built, then started where we are, with its arguments and exit code."""
    (tmp_path / "Builderfile").write_text(
        "target app:\n  outputs: [bin/app]\n"
        "  command: 'printf \"#!/bin/sh\\necho ran $@; exit 7\\n\" > bin/app; chmod +x bin/app'\n"
        "target text: {outputs: [t], command: 'echo t > t'}\n"
    )
    program = [sys.executable, "-m", "builder", "run"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    ran = subprocess.run(
        [*program, "app", "--", "-x", "y"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (7, "")
    assert ran.stdout.splitlines()[-1] == "ran"  # the shell of the command took the $@
    ran = subprocess.run([*program, "text"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr == "error: target 'text' makes no executable file\n"


def test_tests_are_reported(tmp_path: Path) -> None:
    """`bldr test` runs all tests, goes on after a failure, and writes JUnit XML."""
    (tmp_path / "Builderfile").write_text(
        "target good: {command: 'true', test: true}\n"
        "target bad: {command: 'echo no >&2; exit 4', test: true}\n"
        "target other: {command: 'exit 1'}\n"
    )
    program = [sys.executable, "-m", "builder", "test", "--junit", "report.xml"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    ran = subprocess.run(program, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert ran.returncode == 1
    *_, good, bad, total = ran.stdout.splitlines()
    assert good.startswith("[INFO] good: passed in ")
    assert bad.startswith("[INFO] bad: failed in ")
    assert bad.endswith(": exit code 4")
    assert total == "[INFO] Tests: 1 passed, 1 failed"
    assert '<failure message="exit code 4" />' in (tmp_path / "report.xml").read_text()
    ran = subprocess.run([*program, "other"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "there is no test here" in ran.stderr


def test_json_and_profile(tmp_path: Path) -> None:
    """Events instead of lines, each one JSON; and a trace of where the time went."""
    (tmp_path / "Builderfile").write_text("target t: {command: echo hello}\n")
    ran = bldr("--json", "--profile", "trace.json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds == [
        "build_started",
        "target_started",
        "executing",
        "wrote",
        "built",
        "build_ended",
    ]
    assert events[3]["stdout"] == "hello\n"
    spans = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {"t", "executing", "build"} <= {span["name"] for span in spans}


def test_an_audit(tmp_path: Path) -> None:
    """What a command uses beyond its declaration is named with the line to add; also on a hit."""
    (tmp_path / "secret").write_text("s")
    (tmp_path / "Builderfile").write_text(
        "target t: {outputs: [o], command: 'cat secret || true; echo > junk; echo > o'}\n"
    )
    for _ in range(2):
        ran = bldr("--hermetic-audit", cwd=tmp_path)
        assert "secret (by cat); declare it: 'inputs: [secret]'" in ran.stdout, ran.stdout
        assert "  write   junk (by bash); " in ran.stdout
    assert "Cache hit" in ran.stdout
