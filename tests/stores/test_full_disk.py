"""A file system that is really full, and that is no ordinary disk: tmpfs."""

import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parent.parent.parent
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]


def test_a_store_lives_on_a_disk_that_is_full(tmp_path: Path) -> None:
    """What was acknowledged is there, over a restart too; writes are refused in words until leases
    end, then what is old makes room for them, though others have taken the rest of the disk."""
    probe = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", tmp_path], check=False)
    if probe.returncode:
        pytest.skip("this user may not mount a tmpfs in a namespace of its own")
    program = [sys.executable, "-m", "tests.stores.full_disk", str(tmp_path)]
    done = subprocess.run([*UNSHARE, *program], cwd=TREE, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "ok\n"
