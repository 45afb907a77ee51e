"""How failures end: one line and an exit code."""

import errno
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click
import pytest
import trio

from builder.base.errors import (
    BuilderError,
    NotFoundError,
    UnavailableError,
    UsageError,
    from_status,
)
from builder.cli.errors import Ending, ending
from builder.cli.main import run


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (UsageError("bad file"), "error: bad file", 2),
        (BuilderError("broken"), "error: broken", 1),
        (UnavailableError("no coordinator at h:1"), "error: no coordinator at h:1", 1),
        (from_status(5, "gone"), "error: gone", 1),
        (KeyboardInterrupt(), "", 130),
        (click.Abort(), "", 130),
        (SystemExit(3), "", 3),
        (SystemExit(None), "", 0),
        (SystemExit("words"), "error: words", 1),
        (click.UsageError("No such option: --x."), "error: No such option: --x", 2),
        (click.ClickException("it broke"), "error: it broke", 1),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "/a/b"),
            "error: /a/b: No such file or directory",
            1,
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device", 1),
        (
            ValueError("what\nis this"),
            (
                "error: internal error: ValueError: what (BUILDER_DEBUG=1 shows where; "
                "please report it)"
            ),
            1,
        ),
    ],
)
def test_endings(error: BaseException, message: str, code: int) -> None:
    """What the input got wrong is 2, what failed is 1, Ctrl-C is 130."""
    assert ending(error) == Ending(message, code)


ROOT = Path(__file__).parents[2]
USAGE, LOST, BUG = UsageError("bad file"), UnavailableError("lost"), ValueError("bug")


@pytest.mark.parametrize(
    ("group", "message", "code"),
    [
        (ExceptionGroup("", [LOST]), "error: lost", 1),
        (ExceptionGroup("", [BUG, ExceptionGroup("", [LOST])]), "error: lost", 1),
        (ExceptionGroup("", [LOST, USAGE]), "error: bad file (and 1 more error)", 2),
        (
            ExceptionGroup("", [LOST, NotFoundError("gone"), NotFoundError("away")]),
            "error: lost (and 2 more errors)",
            1,
        ),
        (ExceptionGroup("", [LOST, UnavailableError("lost")]), "error: lost", 1),
        (BaseExceptionGroup("", [LOST, KeyboardInterrupt()]), "", 130),
        (BaseExceptionGroup("", [SystemExit(4), BUG]), "", 4),
    ],
)
def test_groups_end_as_what_matters_most_in_them(
    group: BaseExceptionGroup[BaseException], message: str, code: int
) -> None:
    """A person sees a sentence, not that tasks ran side by side."""
    assert ending(group) == Ending(message, code)


@click.group
def program() -> None:
    """Commands that end in every way."""


@program.command
def usage() -> NoReturn:
    raise UsageError("bad file")


@program.command
def nursery() -> None:
    async def fail() -> NoReturn:
        raise UnavailableError("no coordinator")

    async def main() -> None:
        async with trio.open_nursery() as tasks:
            tasks.start_soon(fail)
            tasks.start_soon(trio.sleep_forever)

    trio.run(main)


@program.command
def seven() -> int:
    return 7


@program.command
def nothing() -> None:
    click.echo("done")


@program.command
@click.option("--count", type=int)
def counted(count: int) -> None:
    click.echo(count)


@program.command
def bug() -> NoReturn:
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("args", "code", "out", "err"),
    [
        (["usage"], 2, "", "error: bad file\n"),
        (["nursery"], 1, "", "error: no coordinator\n"),
        (["seven"], 7, "", ""),
        (["nothing"], 0, "done\n", ""),
        (["counted", "--count", "3"], 0, "3\n", ""),
        (
            ["counted", "--count", "x"],
            2,
            "",
            (
                "error: Invalid value for '--count': 'x' is not a valid integer "
                "(try 'it counted --help')\n"
            ),
        ),
        (["counted", "a"], 2, "", "error: Got unexpected extra argument (a) (try 'it counted --h"),
    ],
)
def test_a_command_line_ends(
    args: list[str], code: int, out: str, err: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """With its exit code, and without a traceback."""
    assert run(args, "it", program) == code
    found = capfd.readouterr()
    assert found.out == out
    assert found.err.startswith(err)
    assert found.err.count("\n") == (1 if err else 0)


def test_a_bug_is_one_line_unless_asked(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BUILDER_DEBUG shows the traceback above the line."""
    monkeypatch.delenv("BUILDER_DEBUG", raising=False)
    assert run(["bug"], "it", program) == 1
    line = capfd.readouterr().err
    assert line.startswith("error: internal error: ZeroDivisionError: division by zero (")
    assert line.count("\n") == 1
    monkeypatch.setenv("BUILDER_DEBUG", "1")
    assert run(["bug"], "it", program) == 1
    told = capfd.readouterr().err
    assert told.startswith("Traceback (most recent call last)")
    assert told.endswith(line)


WAITING = """
import sys, click, trio
from builder.cli.main import run

@click.group
def it(): pass

@it.command
def wait():
    async def main():
        async with trio.open_nursery() as tasks:
            tasks.start_soon(trio.sleep_forever)
            print("up", flush=True)
    trio.run(main)

sys.exit(run(["wait"], "it", it))
"""


def test_ctrl_c_ends_without_a_word() -> None:
    """The exit code is the one that shells know, from inside a nursery too."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITING],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (130, "", "")


@pytest.mark.parametrize("args", [["config", "schema"], ["--version"], ["--help"]])
def test_a_reader_that_goes_away_is_no_error_to_tell(args: list[str]) -> None:
    """`builder config schema | head -1` ends quietly."""
    with subprocess.Popen(
        [sys.executable, "-m", "builder", *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        process.wait(timeout=60)
    assert err == ""
