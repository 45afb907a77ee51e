"""An action that may execute some programs only, kept by the kernel, told by name."""

from pathlib import Path

import pytest

from builder.sandbox.interface import Outcome, Sandbox, SandboxRefusedError
from builder.sandbox.kernel import landlock
from builder.sandbox.kernel.programs import Programs, loaders
from builder.sandbox.options import programs_kept
from tests.sandbox.support import act, shell, spec

needs_landlock = pytest.mark.skipif(
    landlock.version() < landlock.OLDEST, reason="this kernel has no Landlock"
)


@needs_landlock
async def test_what_is_listed_runs_and_nothing_else(sandbox: Sandbox, tmp_path: Path) -> None:
    """By name on the PATH, by path, and below a directory; the rest is refused by the kernel, and
    the message says which it was."""
    script = "cat in; env true; /usr/bin/id; tools/mine; echo $?"
    done = await shell(
        sandbox,
        tmp_path,
        script,
        files={"in": "text\n", "tools/mine": ""},
        programs=("sh", "/usr/bin/cat", "tools/"),
    )
    assert done.out.startswith("text\n")
    assert "uid=" not in done.out
    assert "Permission denied" in done.err
    assert done.exit.message == "it may not execute /usr/bin/env, /usr/bin/id"
    assert "programs=3 (landlock)" in done.exit.limits


@needs_landlock
async def test_what_it_makes_itself_is_not_listed(sandbox: Sandbox, tmp_path: Path) -> None:
    """A copy of a listed program is another program; a link to it is the same."""
    script = "cp /bin/true t; ./t; echo $?; ln -s /usr/bin/cp l; ./l t u; echo $?; /tmp/t; echo $?"
    done = await shell(sandbox, tmp_path, script, programs=("sh", "cp", "ln"))
    assert done.out == "126\n0\n127\n"
    assert done.exit.message == "it may not execute /builder/work/t"


@needs_landlock
async def test_its_own_program_must_be_listed(sandbox: Sandbox, tmp_path: Path) -> None:
    """It is not started, and told why."""
    done = await act(sandbox, tmp_path, "/usr/bin/env", programs=("sh",))
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.NOT_STARTED, 126)
    assert done.exit.message == (
        "could not be started: /usr/bin/env: it is none of the programs that the action may execute"
    )


@needs_landlock
async def test_it_cannot_take_the_rule_off(sandbox: Sandbox, tmp_path: Path) -> None:
    """Nor can its children, whatever they are called, nor does it hinder writing."""
    script = (
        "(exec -a sh /usr/bin/id); sh -c '/usr/bin/id'; echo x > out; : > out; mkdir d; rm -r d"
    )
    done = await act(
        sandbox, tmp_path, "/bin/bash", "-c", script, programs=("bash", "sh", "mkdir", "rm")
    )
    assert done.out == ""
    assert done.tree == {"out": b""}


def test_without_landlock_it_is_refused(tmp_path: Path) -> None:
    """A list that nobody keeps is none."""
    wanted = spec(tmp_path, "/bin/true", programs=("true",))
    with pytest.raises(SandboxRefusedError, match="only be kept to some programs by Landlock"):
        programs_kept(wanted, ("seccomp",))
    assert programs_kept(spec(tmp_path, "/bin/true"), ()) == {}


def test_names_are_looked_for_where_the_action_looks(tmp_path: Path) -> None:
    """On its PATH, in its work tree; what is not there, is not refused: nothing can execute it."""
    for name in ("bin/tool", "bin/other", "here"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    base = bytes(tmp_path)
    listed = Programs([b"tool", b"here", b"absent"], base, b"/nonexistent:bin")
    assert not listed.refuses(base + b"/bin/tool")
    assert not listed.refuses(base + b"/here")
    assert not listed.refuses(base + b"/absent")
    for _ in range(2):
        listed.see(base + b"/bin/other")
    assert listed.refused() == base + b"/bin/other"
    assert loaders()
