"""What an action can do, and how its end is told."""

import os
import resource
import signal
from pathlib import Path

import pytest

from builder.base.errors import InvalidArgumentError
from builder.sandbox.interface import Outcome, Sandbox, SandboxRefusedError
from tests.sandbox.support import act, python, shell, spec


async def test_exit_code_is_the_programs_own(sandbox: Sandbox, tmp_path: Path) -> None:
    """An action that exits with 3 ended with 3."""
    done = await shell(sandbox, tmp_path, "exit 3")
    assert (done.exit.outcome, done.exit.exit_code, done.exit.signal) == (Outcome.EXITED, 3, 0)


async def test_death_by_signal_is_told_as_such(sandbox: Sandbox, tmp_path: Path) -> None:
    """A signal is not an exit code: outcome, number and 128 + number."""
    done = await shell(sandbox, tmp_path, "kill -SEGV $$")
    number = signal.SIGSEGV.value
    assert done.exit.outcome is Outcome.SIGNALLED
    assert (done.exit.exit_code, done.exit.signal) == (128 + number, number)


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        (("no-such-program",), 127, "no such program on PATH"),
        (("./nothing/here",), 127, "No such file"),
        (("./data",), 126, "Permission denied"),
        (("/usr",), 126, "Permission denied"),
    ],
)
async def test_what_cannot_start_is_told_apart(
    sandbox: Sandbox, tmp_path: Path, argv: tuple[str, ...], code: int, told: str
) -> None:
    """A program that is missing or not executable gives 127 or 126 and says why."""
    done = await act(sandbox, tmp_path, *argv, files={"data": "no program"})
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.NOT_STARTED, code)
    assert told in done.exit.message


async def test_missing_working_directory_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    """An action whose working directory is not there has not started."""
    done = await act(sandbox, tmp_path, "true", working_directory="not/there")
    assert done.exit.outcome is Outcome.NOT_STARTED
    assert "not/there" in done.exit.message


async def test_program_is_found_on_the_actions_own_path(sandbox: Sandbox, tmp_path: Path) -> None:
    """PATH of the action decides, relative to its working directory, not that of the worker."""
    more = {"environment": {"PATH": "tools"}, "working_directory": "below"}
    (tmp_path / "inputs" / "below" / "tools").mkdir(parents=True)
    tool = tmp_path / "inputs" / "below" / "tools" / "hello"
    tool.write_text("#!/bin/sh\necho hello from $PATH\n")
    tool.chmod(0o755)
    done = await act(sandbox, tmp_path, "hello", **more)
    assert (done.exit.exit_code, done.out) == (0, "hello from tools\n")


async def test_environment_is_exactly_the_specs(sandbox: Sandbox, tmp_path: Path) -> None:
    """Nothing of the worker's environment arrives, and bytes that are no text do."""
    wanted = {"A": "1", "ODD": os.fsdecode(b"\xff=\n")}
    script = "import os; print(sorted(os.environb.items()))"
    done = await python(sandbox, tmp_path, script, environment=wanted)
    # the interpreter adds LC_CTYPE when the locale is C
    assert done.out.replace("(b'LC_CTYPE', b'C.UTF-8'), ", "") == (
        "[(b'A', b'1'), (b'ODD', b'\\xff=\\n')]\n"
    )


async def test_surroundings_are_the_same_everywhere(sandbox: Sandbox, tmp_path: Path) -> None:
    """User, host name, directory, umask and stdin do not depend on the worker."""
    done = await shell(sandbox, tmp_path, "id -un; id -u; hostname; pwd; umask; cat; env")
    assert done.out.splitlines()[:5] == ["builder", "1000", "builder", "/builder/work", "0022"]


async def test_no_descriptor_is_inherited(sandbox: Sandbox, tmp_path: Path) -> None:
    """An action has three descriptors, and the one that looks."""
    done = await python(sandbox, tmp_path, "import os; print(os.listdir('/proc/self/fd'))")
    assert done.out == "['0', '1', '2', '3']\n"


async def test_can_compile_beside_its_inputs(sandbox: Sandbox, tmp_path: Path) -> None:
    """gcc -c, directories beside inputs, and outputs in input directories all work."""
    files = {"src/a.c": '#include "a.h"\nint main(void) { return ANSWER; }\n', "src/a.h": ""}
    files["src/a.h"] = "#define ANSWER 42\n"
    script = "gcc -c src/a.c -o src/a.o && mkdir src/new bin && gcc src/a.o -o bin/a && bin/a"
    done = await shell(sandbox, tmp_path, script, files=files)
    assert (done.err, done.exit.exit_code) == ("", 42)
    assert {"src/a.o", "bin/a", "src/a.c"} <= done.tree.keys()


async def test_can_change_and_remove_its_view_of_inputs(sandbox: Sandbox, tmp_path: Path) -> None:
    """Inputs may be overwritten, renamed, removed and re-moded; the originals stay as they are."""
    files = {"keep": "1", "gone": "2", "old": "3", "d/in": "4"}
    script = (
        "echo new > keep; rm gone; mv old young; chmod 700 d/in; rm -r d; mkdir d; echo 5 > d/x"
    )
    done = await shell(sandbox, tmp_path, script, files=files)
    assert done.exit.exit_code == 0, done.err
    assert done.tree == {"keep": b"new\n", "young": b"3", "d/x": b"5\n"}
    inputs = tmp_path / "inputs"
    assert {name: (inputs / name).read_text() for name in files} == files


async def test_hard_linked_store_is_safe(sandbox: Sandbox, tmp_path: Path) -> None:
    """Writing through an input that shares its inode with the store changes no byte there."""
    blob = tmp_path / "blob"
    blob.write_text("precious")
    blob.chmod(0o644)
    (tmp_path / "inputs").mkdir()
    os.link(blob, tmp_path / "inputs" / "input")
    script = (
        "echo x >> input; chmod 777 input; ln input other; echo y >> other; truncate -s 0 input"
    )
    done = await shell(sandbox, tmp_path, script)
    assert done.exit.exit_code == 0, done.err
    assert (blob.read_text(), blob.stat().st_mode & 0o777) == ("precious", 0o644)


async def test_output_parents_are_there(sandbox: Sandbox, tmp_path: Path) -> None:
    """Directories of outputs are made before the start, also through directories of the input."""
    done = await shell(
        sandbox,
        tmp_path,
        "echo 1 > out/deep/x; echo 2 > in/new/y",
        files={"in/a": ""},
        output_parents=("out/deep", "in/new"),
    )
    assert done.exit.exit_code == 0, done.err
    assert done.tree == {"in/a": b"", "out/deep/x": b"1\n", "in/new/y": b"2\n"}


async def test_temporary_places_are_private_and_empty(sandbox: Sandbox, tmp_path: Path) -> None:
    """/tmp, /var/tmp and /dev/shm are writable, and the next action sees none of it."""
    script = "ls -A /tmp /dev/shm; echo 1 > /tmp/a; echo 1 > /var/tmp/b; echo 1 > /dev/shm/c"
    first = await shell(sandbox, tmp_path, script)
    second = await shell(sandbox, tmp_path, script)
    assert first.out == second.out == "/dev/shm:\n\n/tmp:\n"
    assert second.exit.exit_code == 0, second.err


async def test_devices_work(sandbox: Sandbox, tmp_path: Path) -> None:
    """The usual devices, pseudo-terminals and /dev/stdout are there."""
    script = (
        "head -c 8 /dev/urandom | wc -c; head -c 2 /dev/zero | od -An -tx1; echo o > /dev/stdout"
    )
    script += "; echo x > /dev/null; head -c 1 /dev/full | wc -c"
    done = await shell(sandbox, tmp_path, script)
    assert (done.out.split(), done.err) == (["8", "00", "00", "o", "1"], "")
    pty = await python(sandbox, tmp_path, "import os; a, b = os.openpty(); print(os.ttyname(b))")
    assert pty.out == "/dev/pts/0\n", pty.err


async def test_large_command_lines_arrive(sandbox: Sandbox, tmp_path: Path) -> None:
    """A command of half a megabyte arrives whole."""
    words = ["x" * 1000] * 500
    done = await python(sandbox, tmp_path, "import sys; print(sum(map(len, sys.argv[1:])))", *words)
    assert done.out == "500000\n"


async def test_usage_is_counted(sandbox: Sandbox, tmp_path: Path) -> None:
    """CPU time of grandchildren counts, also of those that outlived their parent."""
    burn = "import time\nwhile time.process_time() < 0.3: pass\nbytearray(60 << 20)"
    script = "import os\nif os.fork() == 0:\n  if os.fork() == 0:\n    " + burn.replace(
        "\n", "\n    "
    )
    script += "\n    os.write(1, b'done')\n  os._exit(0)\nos.wait()\nos.read(0, 1)\n"
    script += "import time\nwhile not os.path.exists('/proc/self/nothing'):\n  time.sleep(0.01)\n"
    script += "  if len([p for p in os.listdir('/proc') if p.isdigit()]) == 2: break\n"
    done = await python(sandbox, tmp_path, script)
    usage = done.exit.usage
    assert done.out == "done", done.err
    assert usage.user_s + usage.system_s >= 0.3
    assert usage.peak_memory_bytes >= 60 << 20
    assert usage.wall_s >= 0.3
    assert usage.setup_s > 0
    assert 0 <= usage.inputs_s <= usage.setup_s


def blocks_written() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_oublock


async def test_disks_are_accounted_for(sandbox: Sandbox, tmp_path: Path) -> None:
    """What it writes is counted, where this disk counts what is written."""
    before = blocks_written()
    (tmp_path / "probe").write_bytes(bytes(1 << 20))
    counts = blocks_written() > before
    done = await shell(
        sandbox, tmp_path, "head -c 1M /dev/zero > x; head -c 2M /dev/zero > y & wait"
    )
    assert (done.exit.usage.written_bytes >= 3 << 20) == counts


async def test_result_says_what_held(sandbox: Sandbox, tmp_path: Path) -> None:
    """Backend, guarantees and limits stand in every result."""
    done = await act(sandbox, tmp_path, "true")
    assert done.exit.backend == sandbox.backend
    assert done.exit.guarantees == sandbox.guarantees
    assert {"user-namespace", "seccomp", "network-namespace"} <= set(done.exit.guarantees)
    assert any(limit.startswith("processes=512 (") for limit in done.exit.limits)


async def test_missing_guarantee_is_a_refusal(sandbox: Sandbox, tmp_path: Path) -> None:
    """What this host cannot give is refused by name, with the way to find out."""
    wanted = spec(tmp_path, "true", required=frozenset({"seccomp", "moon-light"}))
    with pytest.raises(SandboxRefusedError, match=r"moon-light.*builder doctor"):
        await sandbox.run(wanted)


@pytest.mark.parametrize(
    "wrong",
    [
        {"working_directory": "../.."},
        {"working_directory": "/etc"},
        {"output_parents": ("a/../../b",)},
        {"environment": {"A=B": "c"}},
        {"environment": {"A": "b\0"}},
    ],
)
async def test_impossible_specs_are_the_callers_fault(
    sandbox: Sandbox, tmp_path: Path, wrong: dict[str, object]
) -> None:
    """A spec that leaves the work tree or cannot be passed on is an invalid argument."""
    with pytest.raises(InvalidArgumentError):
        await act(sandbox, tmp_path, "true", **wrong)
    with pytest.raises(InvalidArgumentError, match="argv"):
        await act(sandbox, tmp_path)
