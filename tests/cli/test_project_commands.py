"""The commands that look at a project, as a person types them."""

from pathlib import Path

import pytest

from builder.cli.main import run

BUILDERFILE = """\
target objects: {foreach: "src/*.c", outputs: ["o/{{stem}}"], command: [cc, "{{file}}"]}
target app: {inputs: [":objects", main.c], outputs: [bin/app], command: [cc]}
target docs: {inputs: [":app"], outputs: [docs/], command: [doc]}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "src").mkdir()
    for name in ("Builderfile", "src/a.c", "src/b.c", "main.c"):
        (tmp_path / name).write_text(BUILDERFILE if name == "Builderfile" else name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


QUESTIONS = {
    "query deps app": ["objects/src/a.c", "objects/src/b.c", "objects"],
    "query rdeps objects/src/a.c": ["objects", "app", "docs"],
    "query inputs app": ["main.c"],
    "query inputs objects": ["src/a.c", "src/b.c"],
    "query outputs docs objects": ["docs/", "o/a", "o/b"],
    "query somepath docs objects": ["docs", "app", "objects"],
    "graph objects": ["objects", "├─ objects/src/a.c", "└─ objects/src/b.c"],
    "explain app": ["app has not been built in this directory yet"],
    "log": [],
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_questions(root: Path, question: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One answer to a line, in any directory beneath the Builderfile's too."""
    for place in (root, root / "src"):
        assert run([*question.split(), "-C", str(place)], "bldr") == 0
        assert capsys.readouterr().out.splitlines() == QUESTIONS[question]


def test_no_way(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Says nothing and exits with 1."""
    assert run(["query", "somepath", "objects", "app"], "bldr") == 1
    assert capsys.readouterr().out.strip() == ""


@pytest.mark.parametrize("command", ["graph", "query deps", "explain", "clean"])
def test_an_unknown_target(root: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names the nearest one."""
    assert run([*command.split(), "ap"], "bldr") == 2
    assert "there is no target 'ap'; did you mean 'app'?" in capsys.readouterr().err


def test_clean(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outputs go, with directories that are empty then; sources and what we did not make stay."""
    for name in ("bin/app", "o/a", "o/keep", "docs/mine"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("12345")
    assert run(["clean"], "bldr") == 0
    assert capsys.readouterr().out == "[INFO] Removed 2 files (10 B)\n"
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    left = {path for path in left if not path.startswith(".builder")}
    assert left == {"Builderfile", "main.c", "src/a.c", "src/b.c", "o/keep", "docs/mine"}
    assert not (root / "bin").exists()
    assert run(["clean", "--all"], "bldr") == 0
    assert not (root / ".builder").exists()
    assert run(["clean", "--all", "app"], "bldr") == 2
