"""First Builderfiles: each is right, and says what was found."""

import itertools
from pathlib import Path

import pytest

from builder.cli.main import run
from builder.client.builderfile import read
from builder.client.initial import initial
from builder.project.formatting import formatted
from builder.project.graph import graph
from tests.project.sample import SCHEMA

TREES = {
    "C++": (["src/a.cpp", "src/x/b.cpp", "include/a.h"], ["objects/src/a.cpp", "app"]),
    "C": (["main.c", "lib/l.c", "lib/l.h"], ["objects/lib/l.c", "objects/main.c", "app"]),
    "Go": (["go.mod", "main.go", "go.sum"], ["app", "test"]),
    "Rust": (["Cargo.toml", "src/main.rs", "Cargo.lock"], ["app", "test"]),
    "Node": (["package.json", "index.js"], ["test"]),
    "Python": (["app/a.py", "tests/test_a.py"], ["check/app/a.py", "test"]),
    "": (["notes.txt"], ["hello"]),
}


@pytest.mark.parametrize("kind", TREES)
def test_each_language(tmp_path: Path, kind: str) -> None:
    """What is written is a good Builderfile with these targets."""
    root = tmp_path / "app"
    files, targets = TREES[kind]
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    found = initial(root)
    assert found.kinds == ((kind,) if kind else ())
    (root / "Builderfile").write_text(found.text)
    loaded = graph(read(root / "Builderfile", lambda: SCHEMA))
    assert set(targets) <= loaded.project.targets.keys()
    order = list(SCHEMA["$defs"]["target"]["properties"])
    assert formatted(found.text, "Builderfile", order) == found.text


MARKS = {
    "C++": "src/a.cpp",
    "C": "src/b.c",
    "Go": "go.mod",
    "Rust": "Cargo.toml",
    "Node": "package.json",
    "Python": "tests/x.py",
}
MIXED = [chosen for number in (2, 3, 6) for chosen in itertools.combinations(MARKS, number)]


@pytest.mark.parametrize("kinds", MIXED, ids=" ".join)
def test_several_languages(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """No two targets have one name; the tests of each are targets of their own."""
    root = tmp_path / "app"
    for kind in kinds:
        (root / MARKS[kind]).parent.mkdir(parents=True, exist_ok=True)
        (root / MARKS[kind]).write_text("")
    (root / "src").mkdir(exist_ok=True)
    (root / "src" / "main.rs").write_text("")
    (root / "main.go").write_text("")
    found = initial(root)
    assert found.kinds == kinds
    (root / "Builderfile").write_text(found.text)
    loaded = graph(read(root / "Builderfile", lambda: SCHEMA))
    tested = [name for name in loaded.project.targets if name.startswith("test")]
    assert len(tested) == len({"Go", "Rust", "Node", "Python"}.intersection(kinds))


def test_programs_have_their_own_names(tmp_path: Path) -> None:
    """Cargo's is in its file; Go's are the directories of cmd."""
    for name in ("src/main.rs", "cmd/one/main.go", "cmd/two/main.go", "go.mod", "lib.go"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "other"\n')
    text = initial(tmp_path).text
    assert "cp /tmp/target/release/other build/" in text
    assert "-o build/one ./cmd/one\n" in text
    assert "-o build/two ./cmd/two\n" in text
    (tmp_path / "Cargo.toml").write_text("[broken")
    assert f"cp /tmp/target/release/{tmp_path.name} build/" in initial(tmp_path).text


def test_what_was_vendored_is_left_out(tmp_path: Path) -> None:
    """Directories of dependencies are not compiled."""
    for name in ("a.c", "vendor/v.c", "node_modules/n.c", "build/b.c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert '"vendor' not in initial(tmp_path).text
    assert 'foreach: ["*.c"]' in initial(tmp_path).text


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It tells what it found, and never writes over a Builderfile."""
    (tmp_path / "main.c").write_text("int main(void) { return 0; }")
    assert run(["init", "-C", str(tmp_path)], "bldr") == 0
    assert capsys.readouterr().out.startswith("[INFO] Wrote Builderfile for C\n")
    before = (tmp_path / "Builderfile").read_text()
    assert run(["init", "-C", str(tmp_path)], "bldr") == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "Builderfile").read_text() == before
