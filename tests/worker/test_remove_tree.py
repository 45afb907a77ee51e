"""Whatever an action leaves is removed, by an ordinary user too."""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builder.worker.inputs import remove_tree

ROOT = Path(__file__).parents[2]
ANYBODY = 60998  # a user id that no account has
LOCKED = """
import os, sys
from builder.worker.inputs import remove_tree
top = sys.argv[1] + "/tree"
os.makedirs(top + "/a/b/c/d")
open(top + "/a/b/c/file", "w").close()
os.symlink("/", top + "/a/link")
for name in ("a/b/c/d", "a/b/c", "a/b", "a"):
    os.chmod(top + "/" + name, 0)
remove_tree(top)
remove_tree(top)
print(os.listdir(sys.argv[1]))
"""


def test_locked_directories_within_locked_ones() -> None:
    """Directories without permissions, one in the other, go; absence is no error."""
    with tempfile.TemporaryDirectory(prefix="builder-locked-") as base:
        who = {"user": ANYBODY, "group": ANYBODY, "extra_groups": []} if os.getuid() == 0 else {}
        if who:
            os.chown(base, ANYBODY, ANYBODY)
        done = subprocess.run(
            [sys.executable, "-B", "-c", LOCKED, base],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "PATH": os.defpath},
            capture_output=True,
            text=True,
            check=False,
            **who,  # type: ignore[call-overload]  # three of run's own
        )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_two_who_remove_the_same(tmp_path: Path) -> None:
    """Neither minds that the other was first."""
    for _ in range(5):
        top = tmp_path / "tree"
        for number in range(300):
            (top / str(number % 20) / "d").mkdir(parents=True, exist_ok=True)
            (top / str(number % 20) / "d" / str(number)).touch()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(remove_tree, [str(top)] * 4))
        assert not top.exists()
