"""A shell in a target's sandbox, on a terminal and without one."""

import os
import pty
import re
import subprocess
import termios
from pathlib import Path

import pytest

from builder.cli.main import run
from tests.e2e.service import FROM_SOURCE, environment

RUNTIME = os.environ.get("XDG_RUNTIME_DIR", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.getuid() != 0 and not os.access(RUNTIME, os.W_OK),
        reason="there is no directory for the shell's socket: no XDG_RUNTIME_DIR",
    ),
]

BUILDERFILE = """\
target gen: {inputs: [seed], outputs: [out/gen], command: "cat seed > out/gen"}
target use: {inputs: [":gen"], outputs: [out/use], env: {MODE: odd}, command: "false"}
target group: {depends: [gen]}
target broken: {outputs: [x], command: "exit 4"}
target needs: {inputs: [":broken"], command: "true"}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "home").mkdir()
    (root / "Builderfile").write_text(BUILDERFILE)
    (root / "seed").write_text("seed\n")
    (root / "other").write_text("not seen")
    return root


def variables(root: Path, **more: str) -> dict[str, str]:
    runtime = {"XDG_RUNTIME_DIR": RUNTIME} if RUNTIME else {}
    return environment(root.parent / "home", **runtime, **more)


def shell(root: Path, *arguments: str, keys: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*FROM_SOURCE, "shell", *arguments],
        cwd=root,
        env=variables(root),
        input=keys,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_command(root: Path) -> None:
    """It sees what the target would see, its exit code is ours, and what it writes is gone."""
    ran = shell(root, "use", "--", "sh", "-c", "ls -R; echo $MODE; echo 1 > out/use; exit 7")
    assert ran.returncode == 7, ran.stderr
    said = ran.stdout.partition("Build completed in ")[2].splitlines()[1:]
    assert [line for line in said if not line.startswith("[INFO]")] == [
        ".:",
        "out",
        "",
        "./out:",
        "gen",
        "odd",
    ]
    assert not (root / "out" / "use").exists()
    piped = shell(root, "use", keys="cat out/gen; echo $((6 * 7))\n")
    assert piped.returncode == 0
    assert piped.stdout.endswith("seed\n42\n")


@pytest.mark.parametrize(
    ("target", "said"),
    [("group", "is a group and has no sandbox"), ("usee", "did you mean 'use'?")],
)
def test_no_sandbox(root: Path, target: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Only a target that has a command has one."""
    assert run(["shell", "-C", str(root), target], "bldr") == 2
    assert said in capsys.readouterr().err


def test_what_it_needs_cannot_be_built(root: Path) -> None:
    """Then there is no shell."""
    ran = shell(root, "needs", "--", "echo", "here")
    assert (ran.returncode, "here" in ran.stdout) == (1, False)
    assert "Target broken failed" in ran.stderr


def until(terminal: int, wanted: str) -> str:
    """What comes, up to the text that is waited for; the test's own time limit ends it."""
    seen = ""
    while not re.search(wanted, seen):
        seen += os.read(terminal, 4096).decode()
    return seen


def test_on_a_terminal(root: Path) -> None:
    """Prompt, line editing and Ctrl-C as in any shell; our terminal is as before at the end."""
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [*FROM_SOURCE, "shell", "use"],
        cwd=root,
        env=variables(root, TERM="xterm"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    prompt = r"\[use\] /builder/work\$ $"
    until(ours, prompt)
    os.write(ours, b"echo $((6 * 7)) $MODE\r")
    assert "42 odd" in until(ours, prompt)
    # One program: a signal between two of them would be the shell's own, which waits for the next.
    os.write(ours, b"sh -c 'echo begun; exec sleep 1000'\r")
    until(ours, r"(?s)sleep 1000'.*begun\r\n")
    os.write(ours, b"\x03")
    until(ours, prompt)
    os.write(ours, b"exit 5\r")
    assert process.wait(60) == 5
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)
