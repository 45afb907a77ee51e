"""When watching wakes up."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.client.watching import Watcher
from tests.project.sample import SCHEMA

BUILDERFILE = "target t: {inputs: [a], outputs: [out/t, docs/], command: [x]}\n"

CHANGES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "nothing": (lambda root: None, False),
    "an input": (lambda root: (root / "a").write_text("other"), True),
    "a new file": (lambda root: (root / "src" / "new").write_text(""), True),
    "a file that goes": (lambda root: (root / "src" / "b").unlink(), True),
    "the Builderfile": (lambda root: (root / "Builderfile").write_text("x: ["), True),
    "an output": (lambda root: (root / "out" / "t").write_text("made"), False),
    "within an output directory": (lambda root: (root / "docs" / "index").write_text("m"), False),
    "our own state": (lambda root: (root / ".builder" / "x").write_text("x"), False),
    "version control": (lambda root: (root / ".git" / "index").write_text("x"), False),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("src", "out", "docs", ".builder", ".git"):
        (tmp_path / folder).mkdir()
    for name, text in (("Builderfile", BUILDERFILE), ("a", "A"), ("src/b", "B")):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("what", CHANGES)
def test_what_wakes_it_up(root: Path, what: str) -> None:
    """Sources do, once for each change; outputs and private directories do not."""
    change, wakes = CHANGES[what]
    watcher = Watcher(root / "Builderfile", lambda: SCHEMA, pause_s=0.001)
    assert not watcher.changed()
    change(root)
    assert watcher.changed() == wakes
    assert not watcher.changed()


def test_outputs_are_those_of_the_builderfile_by_now(root: Path) -> None:
    """An output that has just been declared is none of the sources any more."""
    watcher = Watcher(root / "Builderfile", lambda: SCHEMA, pause_s=0.001)
    (root / "Builderfile").write_text(BUILDERFILE.replace("docs/", "src/b"))
    watcher.wait()
    (root / "src" / "b").write_text("made")
    assert not watcher.changed()
    os.utime(root / "a", ns=(1, 1))
    watcher.wait()
