"""What an action wrote beside its outputs."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.action.tree import File, merkle
from builder.base.digest import Digest, digest_of
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.worker.command import plan
from builder.worker.tree import InputTree
from builder.worker.undeclared import MOST_TOLD, undeclared

INPUTS = ("a.c", "src/b.c")


def tree() -> InputTree:
    made = merkle({path: File(digest_of(b"x")) for path in INPUTS})
    directories: Mapping[Digest, pb.Directory] = {
        digest: pb.Directory.FromString(data) for digest, data in made.directories.items()
    }
    return InputTree(made.root, dict(directories))


def told(root: Path, *outputs: str, where: str = "") -> list[str]:
    todo = plan(pb.Command(arguments=["x"], output_paths=outputs, working_directory=where))
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return undeclared(descriptor, todo, tree())
    finally:
        os.close(descriptor)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in (*INPUTS, "out/x.o", "out/y.o", "obj/z.o", "__pycache__/m.pyc", "b.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / "link").symlink_to("/etc")
    return tmp_path


def test_what_is_neither_input_nor_output(root: Path) -> None:
    """Where the command began and where its outputs lie; a directory once, a link as itself."""
    assert told(root, "out/x.o") == ["b.txt", "link", "obj/", "out/y.o"]
    assert told(root, "out/x.o", "b.txt", "link", "obj/z.o") == ["out/y.o"]
    assert told(root, "out", "obj", "b.txt", "link") == []
    assert told(root, "out/deep/f", "b.txt", "link", "obj") == ["out/x.o", "out/y.o"]


def test_a_directory_of_its_own(root: Path) -> None:
    """The package's directory is looked at too; outputs are relative to it."""
    (root / "src" / "left").write_text("")
    assert told(root, "b.o", where="src") == ["b.txt", "link", "obj/", "out/", "src/left"]


def test_everything_is_an_output(root: Path) -> None:
    """Of a whole work tree nothing is lost."""
    assert told(root, "") == []


def test_hostile_ground(root: Path) -> None:
    """A place that went, or became a link out of the tree, tells nothing; names are any bytes."""
    (root / "out" / "x.o").unlink()
    (root / "out" / "y.o").unlink()
    (root / "out").rmdir()
    (root / "out").symlink_to("/usr")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_text("")
    known = ("b.txt", "link", "obj")
    assert told(root, "out/x.o", "gone/y", *known) == ["\udcff"]


def test_not_all_of_very_many(tmp_path: Path) -> None:
    """Metadata travels with every cached result."""
    for number in range(MOST_TOLD + 5):
        (tmp_path / f"f{number}").write_text("")
    assert len(told(tmp_path, "out")) == MOST_TOLD
