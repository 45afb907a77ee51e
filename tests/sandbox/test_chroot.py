"""Where the root directory is no mount point, people are told so, and what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

START = """
import trio
from builder.sandbox.native import open_sandbox
async def main():
    async with open_sandbox():
        print("started")
try:
    trio.run(main)
except Exception as error:
    print(error)
"""
ENTER = """
set -e
mkdir new
for d in /*; do
    if [ -L $d ]; then cp -P $d new; elif [ -d $d ]; then mkdir new$d; mount --rbind $d new$d; fi
done
shift
exec chroot new "$@"
"""


@pytest.mark.skipif(os.getuid() != 0, reason="chroot is root's")
def test_chroot_is_told_with_its_cure(tmp_path: Path) -> None:
    """The message names the cause and the command, no error number."""
    argv = ["unshare", "--mount", "sh", "-c", ENTER, "sh", "--", sys.executable, "-c", START]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "the root directory is no mount point, as after chroot" in done.stdout, done
    assert "pivot_root . ." in done.stdout
    assert "Errno" not in done.stdout
