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
    "explain app": ["app has not been built in this directory yet (--remote asks the coordinator)"],
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


def complete(line: str, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> list[str]:
    """What bash is offered for the last word of a line."""
    patch.setenv("_BLDR_COMPLETE", "bash_complete")
    patch.setenv("COMP_WORDS", line)
    patch.setenv("COMP_CWORD", str(line.count(" ")))
    run([], "bldr")
    return [said.partition(",")[2] for said in capsys.readouterr().out.splitlines() if said]


COMPLETIONS = {
    "bldr ver": ["verify", "version"],
    "bldr build ": ["objects/src/a.c", "objects/src/b.c", "objects", "app", "docs"],
    "bldr build --no-c": ["--no-cache"],
    "bldr query deps a": ["app"],
    "bldr clean do": ["docs"],
}


@pytest.mark.parametrize("line", COMPLETIONS)
def test_completion(
    root: Path, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands, options and the project's targets."""
    assert complete(line, capsys, monkeypatch) == COMPLETIONS[line]


def test_completion_in_a_package(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own names are short, others full; where nothing can be read nothing is offered."""
    (root / "Builderfile.workspace").write_text("")
    (root / "src" / "Builderfile").write_text("target lib: {command: [x]}\n")
    monkeypatch.chdir(root / "src")
    assert complete("bldr build l", capsys, monkeypatch) == ["lib"]
    assert complete("bldr build //:a", capsys, monkeypatch) == ["//:app"]
    (root / "src" / "Builderfile").write_text("wrong")
    assert complete("bldr build l", capsys, monkeypatch) == []


def test_fmt(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --check a diff and exit code 1; else the files are written, and told of."""
    assert run(["fmt"], "bldr") == 0
    capsys.readouterr()
    text = "target t:\n    command: [x]\n\n    outputs: [o]  \n"
    (root / "Builderfile").write_text(text)
    (root / "Builderfile").chmod(0o640)
    assert run(["fmt", "--check"], "bldr") == 1
    assert "-    command: [x]" in capsys.readouterr().out
    assert (root / "Builderfile").read_text() == text
    assert run(["fmt"], "bldr") == 0
    assert capsys.readouterr().out == f"[INFO] Formatted {root / 'Builderfile'}\n"
    assert (root / "Builderfile").read_text() == "target t:\n  outputs: [o]\n  command: [x]\n"
    assert (root / "Builderfile").stat().st_mode & 0o777 == 0o640
    assert run(["fmt", "--check"], "bldr") == 0


def test_graph_forms(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture, a text for Graphviz, and not both."""
    assert run(["graph", "--svg"], "bldr") == 0
    assert capsys.readouterr().out.startswith("<svg ")
    assert run(["graph", "--dot"], "bldr") == 0
    assert capsys.readouterr().out.startswith("digraph build {")
    assert run(["graph", "--dot", "--svg"], "bldr") == 2


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
