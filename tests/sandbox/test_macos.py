"""The runner for macOS, with a program in the place of sandbox-exec that isolates nothing.

What is shown here is what becomes of a spec and of an end; what macOS makes of the profile is not.
"""

import os
from pathlib import Path

import pytest
import trio

from builder.base.errors import InvalidArgumentError
from builder.sandbox.interface import (
    AuditLevel,
    Limits,
    Network,
    Outcome,
    SandboxError,
    SandboxRefusedError,
)
from builder.sandbox.macos import SeatbeltSandbox
from builder.sandbox.options import Options
from tests.sandbox.support import PYTHON, Result, act, shell

STAND_IN = """#!/bin/sh
test "$1" = -p || exit 99
printf %s "$2" > {seen}
printf '%s\\n' "$@" | sed -n '3,$p' > {seen}.argv
env > {seen}.env
shift 2
exec "$@"
"""


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """Where the stand-in leaves the profile."""
    return tmp_path / "seen"


@pytest.fixture
def sandbox(tmp_path: Path, seen: Path) -> SeatbeltSandbox:
    program = tmp_path / "sandbox-exec"
    program.write_text(STAND_IN.format(seen=seen))
    program.chmod(0o755)
    return SeatbeltSandbox(Options(("/opt",)), str(program))


async def test_an_action_runs_under_its_profile(
    sandbox: SeatbeltSandbox, tmp_path: Path, seen: Path
) -> None:
    done = await shell(sandbox, tmp_path, "cat in; echo err >&2; echo new > in; exit 3",
                       files={"in": "data\n"})  # fmt: skip
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.EXITED, 3)
    assert (done.out, done.err) == ("data\n", "err\n")
    assert done.tree["in"] == b"new\n"
    assert (tmp_path / "inputs" / "in").read_text() == "data\n"
    assert "(deny default)" in seen.read_text()
    assert f'(subpath "{os.path.dirname(done.exit.stdout)}/tree")' in seen.read_text()
    assert '(subpath "/opt")' in seen.read_text()


async def test_what_holds_is_told_and_no_more(sandbox: SeatbeltSandbox, tmp_path: Path) -> None:
    limits = Limits(memory_bytes=1 << 30, processes=10, wall_s=50, open_files=100)
    done = await shell(sandbox, tmp_path, "ulimit -n", limits=limits)
    assert done.exit.backend == "sandbox-exec"
    assert {"seatbelt", "no-network"} <= set(done.exit.guarantees)
    assert not {"pid-namespace", "memory-cgroup"} & set(done.exit.guarantees)
    told = " ".join(done.exit.limits)
    assert "wall=50s" in told
    assert "open-files=100" in told
    assert "memory" not in told
    assert "processes" not in told
    assert done.out == "100\n"


@pytest.mark.parametrize(
    "more",
    [
        {"audit": AuditLevel.CHEAP},
        {"layers": ("/image",)},
        {"limits": Limits(disk_bytes=1)},
        {"required": frozenset({"pid-namespace"})},
        {"required": frozenset({"memory-cgroup"})},
        {"required": frozenset({"no-network"}), "network": Network.FULL},
    ],
)
async def test_what_macos_does_not_give_is_refused(
    sandbox: SeatbeltSandbox, tmp_path: Path, more: dict[str, object]
) -> None:
    with pytest.raises(SandboxRefusedError):
        await shell(sandbox, tmp_path, "true", **more)


async def test_variables_of_the_action_begin_within(
    sandbox: SeatbeltSandbox, tmp_path: Path, seen: Path
) -> None:
    """A loader would heed some of them outside of the sandbox."""
    environment = {"DYLD_INSERT_LIBRARIES": "/evil", "-x": "dash", "A": "b c"}
    done = await act(sandbox, tmp_path, "/usr/bin/env", environment=environment)
    outside = Path(f"{seen}.env").read_text()
    assert "DYLD" not in outside
    assert "evil" not in outside
    assert {"DYLD_INSERT_LIBRARIES=/evil", "-x=dash", "A=b c"} <= set(done.out.splitlines())
    scratch = os.path.dirname(done.exit.stdout)
    assert f"TMPDIR={scratch}/tmp" in done.out.splitlines()


async def test_arguments_stay_as_they_are(sandbox: SeatbeltSandbox, tmp_path: Path) -> None:
    done = await act(sandbox, tmp_path, "/usr/bin/printf", "%s|", "a b", "$HOME", "-p", "")
    assert done.out == "a b|$HOME|-p||"


async def test_hosts_are_reached_through_one_port(
    sandbox: SeatbeltSandbox, tmp_path: Path, seen: Path
) -> None:
    """The profile opens the proxy's port alone, and programs are told of it."""
    done = await shell(
        sandbox,
        tmp_path,
        f"echo $https_proxy; {PYTHON} -c '"
        "import os, urllib.request as r\n"
        'try: r.urlopen("http://other.invalid/", timeout=50)\n'
        "except Exception as error: print(error)'",
        network=Network.HOSTS,
        hosts=("example.invalid",),
    )
    port = done.out.splitlines()[0].rpartition(":")[2]
    assert f'(remote tcp "localhost:{port}")' in seen.read_text()
    assert "403" in done.out
    assert done.exit.blocked == ("other.invalid:80",)
    assert "network-hosts" in done.exit.guarantees


@pytest.mark.parametrize("program", ["no-such-program", "./none", "/none/at/all"])
async def test_a_program_that_is_not_there(
    sandbox: SeatbeltSandbox, tmp_path: Path, program: str
) -> None:
    done = await act(sandbox, tmp_path, program)
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.NOT_STARTED, 127)
    assert f"{program}: no such program" in done.exit.message


async def test_a_program_with_an_equals_sign_is_refused(
    sandbox: SeatbeltSandbox, tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgumentError, match="'='"):
        await act(sandbox, tmp_path, "./a=b", files={"a=b": ""})


async def test_a_signal_is_told(sandbox: SeatbeltSandbox, tmp_path: Path) -> None:
    done = await shell(sandbox, tmp_path, "kill -9 $$")
    assert (done.exit.outcome, done.exit.exit_code, done.exit.signal) == (
        Outcome.SIGNALLED,
        137,
        9,
    )


@pytest.mark.parametrize("script", ["sleep 600", "trap '' TERM; while :; do sleep 1; done"])
async def test_a_timeout_ends_the_group(
    sandbox: SeatbeltSandbox, tmp_path: Path, script: str
) -> None:
    """Politely first; what ignores that is killed."""
    with trio.fail_after(120):
        done = await shell(
            sandbox, tmp_path, f"sleep 600 & {script}", limits=Limits(wall_s=1.0, grace_s=0.2)
        )
    assert done.exit.outcome is Outcome.TIMED_OUT


async def test_what_is_left_running_does_not_hold_the_result_up(
    sandbox: SeatbeltSandbox, tmp_path: Path
) -> None:
    with trio.fail_after(120):
        done = await shell(sandbox, tmp_path, "sleep 600 & echo done")
    assert (done.exit.outcome, done.out) == (Outcome.EXITED, "done\n")


async def test_output_is_bounded(sandbox: SeatbeltSandbox, tmp_path: Path) -> None:
    limits = Limits(output_bytes=1000)
    done = await shell(sandbox, tmp_path, "yes | head -c 300000", limits=limits)
    assert (len(done.out), done.exit.output_cut) == (1000, True)


async def test_cancelling_ends_it(sandbox: SeatbeltSandbox, tmp_path: Path) -> None:
    async def run() -> Result:
        return await shell(sandbox, tmp_path, "echo $$ > pid; exec sleep 600")

    async def pid() -> int:
        while True:
            for path in tmp_path.glob("scratch-*/tree/pid"):
                if text := path.read_text().strip():
                    return int(text)
            await trio.sleep(0.01)

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            found = await pid()
            nursery.cancel_scope.cancel()
        while os.path.exists(f"/proc/{found}"):  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.01)


async def test_usage_is_counted(sandbox: SeatbeltSandbox, tmp_path: Path) -> None:
    done = await shell(sandbox, tmp_path, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    assert done.exit.usage.user_s + done.exit.usage.system_s > 0
    assert done.exit.usage.peak_memory_bytes > 100_000
    assert done.exit.usage.wall_s > 0


def test_without_the_program_there_is_no_sandbox() -> None:
    with pytest.raises(SandboxError, match="is not there"):
        SeatbeltSandbox(Options(), "/none/sandbox-exec")
