"""Directories that belong to one process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from builder.base.errors import UsageError
from builder.host.lock import owned, take_soon

ROOT = Path(__file__).parent.parent.parent
HOLDER = """
import sys
from pathlib import Path
from builder.host.lock import owned
with owned(Path(sys.argv[1]), "directory"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(directory: Path) -> "subprocess.Popen[str]":
    """A process that has the directory until its stdin ends or it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """Also when it was killed: the kernel lets go of the lock."""
    directory = tmp_path / "a" / "b"
    with holder(directory) as process:
        with (
            pytest.raises(UsageError, match="is in use by another process"),
            owned(directory, "store"),
        ):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with owned(directory, "store"):
        pass


async def test_a_process_that_is_just_ending_is_waited_for(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, process.communicate, "")
            with trio.fail_after(60):
                os.close(await take_soon(tmp_path, "worker directory", 60))


async def test_patience_ends(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(UsageError, match=r"worker directory .* in use"):
            await take_soon(tmp_path, "worker directory", 0.1)
        process.communicate("")


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"store .*file"), owned(tmp_path / "file", "store"):
        pass
