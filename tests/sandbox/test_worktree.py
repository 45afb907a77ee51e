"""The ways to make a work tree: the best one runs everywhere else, here each has its turn."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox.support import new_inputs, new_scratch

ACTION_UID = 60999
MAKE = """
import json, os, sys
from builder.sandbox import founding
from builder.sandbox.kernel import mounts, worktree
way, inputs, scratch, place = sys.argv[1:]
root = os.getuid() == 0
founding.enter_own_view()
owner = @UID@ if root else None
trees = worktree.WorkTrees(owner, founding.owner_map(owner) if root else 0)
trees._ways = [w for w in trees._ways if w[1].__name__ == way]
tree, name = trees.make(inputs, scratch)
mounts.attach(tree, place)
if root:
    os.setgroups([])
    os.setresgid(owner, owner, owner)
    os.setresuid(owner, owner, owner)
os.chdir(place)
open("d/a", "a").write("more")
open("d/new", "w").write("new")
os.mkdir("e")
os.rename("d/b", "e/b")
assert name == "copy" or scratch not in open("/proc/self/mountinfo").read()
print(json.dumps([name, open("d/a").read(), open("e/b").read(), sorted(os.listdir("d"))]))
""".replace("@UID@", str(ACTION_UID))


KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
BY_DESCRIPTOR = pytest.param(
    "_by_descriptor",
    "overlay",
    marks=pytest.mark.skipif(
        KERNEL < (6, 13),
        reason="overlays take layers by descriptor since Linux 6.13",
    ),
)


@pytest.mark.parametrize(
    ("way", "kind"), [BY_DESCRIPTOR, ("_by_path", "overlay"), ("_by_copy", "copy")]
)
def test_every_way_gives_the_same_tree(open_place: Path, way: str, kind: str) -> None:
    """The action's user can write, create and rename; the inputs stay; nothing stays mounted."""
    inputs = new_inputs(open_place, {"d/a": "a", "d/b": "b"})
    odd, place = open_place / "scratch:with,odd\\name", open_place / "place:with,odd\\name"
    odd.mkdir()
    place.mkdir()
    scratch = new_scratch(odd)
    argv = [sys.executable, "-c", MAKE, way, str(inputs), str(scratch), str(place)]
    home = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [kind, "amore", "b", ["a", "new"]]
    assert {p.name: p.read_text() for p in (inputs / "d").iterdir()} == {"a": "a", "b": "b"}
    assert list(place.iterdir()) == []
    assert str(open_place) not in Path("/proc/self/mountinfo").read_text()
