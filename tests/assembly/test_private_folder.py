"""The private directory of a service, and those that killed services left."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.assembly.private_folder import PREFIX, private_folder

HOLD = """
from builder.assembly.private_folder import private_folder
with private_folder() as folder:
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def temporaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """All of these tests' directories are made here."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    tempfile.tempdir = None


def test_it_is_nobody_elses_and_gone_at_the_end(temporaries: Path) -> None:
    """Two at once are two directories."""
    with private_folder() as one, private_folder() as other:
        assert one != other
        assert os.stat(one).st_mode & 0o777 == 0o700
        (Path(one) / "own").touch()
    assert list(temporaries.iterdir()) == []


def test_what_a_killed_service_left_is_removed_by_the_next(temporaries: Path) -> None:
    """As long as it lives it is left alone; so is what only looks like one."""
    (temporaries / f"{PREFIX}file").touch()
    (temporaries / f"{PREFIX}link").symlink_to(temporaries)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        held = Path(holder.stdout.readline().strip())
        (held / "own").touch()
        with private_folder() as mine:
            assert sorted(temporaries.iterdir()) == sorted(
                [held, Path(mine), temporaries / f"{PREFIX}file", temporaries / f"{PREFIX}link"]
            )
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert held.is_dir()
        with private_folder():
            assert not held.exists()
    assert (temporaries / f"{PREFIX}file").exists()
