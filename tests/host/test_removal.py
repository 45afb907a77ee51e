"""Whatever an action leaves is removed, by an ordinary user too."""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builder.host.removal import remove_tree

ROOT = Path(__file__).parents[2]
ANYBODY = 60998  # a user id that no account has
LOCKED = """
import os, sys
from builder.host.removal import remove_tree
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


def alone(script: str) -> tuple[str, str]:
    """What a script with a directory of its own says, as an ordinary user."""
    with tempfile.TemporaryDirectory(prefix="builder-locked-") as base:
        who = {"user": ANYBODY, "group": ANYBODY, "extra_groups": []} if os.getuid() == 0 else {}
        if who:
            os.chown(base, ANYBODY, ANYBODY)
        done = subprocess.run(
            [sys.executable, "-B", "-c", script, base],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "PATH": os.defpath},
            capture_output=True,
            text=True,
            check=False,
            **who,  # type: ignore[call-overload]  # three of run's own
        )
    return done.stdout, done.stderr


def test_locked_directories_within_locked_ones() -> None:
    """Directories without permissions, one in the other, go; absence is no error."""
    assert alone(LOCKED) == ("[]\n", "")


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


DEEP = """
import os, sys
from builder.host.removal import remove_tree
os.chdir(sys.argv[1])
os.mkdir("tree")
os.chdir("tree")
os.mkdir("deep-0")  # a name that is taken
os.mkdir("deep-0/x")
open("deep-1", "w").close()
for number in range(1100):
    os.mkdir("d" * 50)
    open("file", "w").close()
    if number % 70 == 69:
        os.mkdir("locked")
        os.chmod("locked", 0)
    os.chdir("d" * 50)
os.chdir("/")
remove_tree(sys.argv[1] + "/tree")
print(os.listdir(sys.argv[1]))
"""


def test_a_tree_deeper_than_any_path() -> None:
    """Its names together are longer than a path may be, and it has more levels than the stack."""
    assert alone(DEEP) == ("[]\n", "")


def test_files_and_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    """What a link leads to stays, and so does a directory beside it."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "file").touch()
    for name in ("link", "file", "absent", "absent/too"):
        remove_tree(str(tmp_path / name))
    assert sorted(os.listdir(tmp_path)) == ["kept"]
    assert os.listdir(tmp_path / "kept") == ["file"]
