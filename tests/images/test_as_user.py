"""Unpacking, caching and running in images again, as an ordinary user, when the suite is root's."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ANYBODY = 60998  # a user id that no account has
FILES = ("test_unpack.py", "test_layout.py", "test_run.py")


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="this already is an ordinary user")
def test_everything_holds_for_an_ordinary_user() -> None:
    """Whiteouts, modes, locks and mounts need no privilege of root."""
    with tempfile.TemporaryDirectory(prefix="builder-user-") as home:
        os.chown(home, ANYBODY, ANYBODY)
        command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["--basetemp", f"{home}/tests", *(str(HERE / name) for name in FILES)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": home},
            user=ANYBODY,
            group=ANYBODY,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
