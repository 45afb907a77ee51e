"""First Builderfiles: each is right, and says what was found."""

import itertools
from pathlib import Path

import pytest

from builder.action.encode import BASE_ENVIRONMENT
from builder.cli.main import run
from builder.client import place
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
        (root / name).write_text("package main\n" if name.endswith(".go") else "x")
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


def written(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    found = initial(root)
    (root / "Builderfile").write_text(found.text)
    order = list(SCHEMA["$defs"]["target"]["properties"])
    assert formatted(found.text, "Builderfile", order) == found.text
    return found.text


MAIN = "int main(void) { return 0; }\n"


def test_sources_without_a_main_are_a_library(tmp_path: Path) -> None:
    """Linking them would fail."""
    root = tmp_path / "sums"
    text = written(root, {"src/a.c": "int a;\n", "tests/t.c": MAIN, "examples/e.c": MAIN})
    assert "outputs: [build/libsums.a]" in text
    assert "-o build/sums" not in text


@pytest.mark.parametrize("main", ["int main()", "int\nmain(int c, char **v)", "auto main() -> int"])
def test_a_main_makes_a_program(tmp_path: Path, main: str) -> None:
    """However it is written."""
    text = written(tmp_path / "app", {"m.cc": main + " { return 0; }\n", "x.cc": "int x;\n"})
    assert "outputs: [build/app]" in text


def test_each_main_is_a_program_of_its_own(tmp_path: Path) -> None:
    """With the objects of the other files, whose names may be the same in two directories."""
    files = {"one.c": MAIN, "two.c": "#include <math.h>\n" + MAIN, "lib/l.c": "int l;\n"}
    text = written(tmp_path / "a", files)
    assert 'foreach: ["*.c", "lib/**/*.c", "!one.c", "!two.c"]' in text
    assert 'foreach: ["one.c", "two.c"]' in text
    assert 'outputs: ["build/{{stem}}"]' in text
    assert "-o build/{{stem}} -lm\n" in text
    text = written(tmp_path / "b", {"x/main.c": MAIN, "y/main.c": MAIN})
    assert 'outputs: ["build/{{dir}}/{{stem}}"]' in text
    assert "target objects" not in text


def test_one_file_of_all_is_left_out(tmp_path: Path) -> None:
    """What it defines is in the others, too."""
    parts = {f"p{i}.c": f"int p{i};\n" for i in range(3)}
    whole = "".join(f'#include "{name}"\n' for name in parts)
    text = written(tmp_path / "lib", {**parts, "all.c": whole})
    assert 'foreach: ["*.c", "!all.c"]' in text


def test_modules_are_left_out(tmp_path: Path) -> None:
    """A compiler wants flags for them, and their order."""
    files = {"a.cc": "int module = 1;\n", "m.cc": "module;\nexport module m;\n"}
    assert 'foreach: ["*.cc", "!m.cc"]' in written(tmp_path / "x", files)


def test_a_go_library_is_no_program(tmp_path: Path) -> None:
    """It is tested; with the data of its tests."""
    files = {"go.mod": "module x\n", "x.go": "package x\n", "p/testdata/d.txt": "d"}
    text = written(tmp_path / "x", files)
    assert "go build" not in text
    assert 'inputs: [go.mod, "**/*.go", "**/testdata/**"]' in text


@pytest.mark.parametrize(
    ("test", "runner"),
    [("def test_a():\n    pass\n", "pytest"), ("import unittest\n", "unittest")],
)
def test_python_tests_have_their_runner(tmp_path: Path, test: str, runner: str) -> None:
    """Functions are found by pytest only; packages below src are found by PYTHONPATH."""
    text = written(tmp_path / "x", {"src/x/__init__.py": "", "tests/test_x.py": test})
    assert f"command: [python3, -m, {runner}," in text
    assert "env: {PYTHONPATH: src}" in text


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_programs_are_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that actions find by themselves, and those that they are shown and would not find."""
    monkeypatch.setenv("PATH", f"{tmp_path}/here/bin:/usr/bin:/bin")
    monkeypatch.setattr(place, "SHOWN", f"{tmp_path}/here/")
    program(tmp_path / "here/bin/go")
    assert place.tools("sh") == "  tools: [sh]\n"
    assert place.tools("no-such-program") == ""
    usual = BASE_ENVIRONMENT["PATH"]
    path = f'  env: {{PATH: "{tmp_path}/here/bin:{usual}"}}\n'
    assert place.tools("go", "sh") == "  tools: [go, sh]\n" + path


def test_programs_that_actions_do_not_see_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With what to do; they are no tools, for no action would find them."""
    hidden = program(tmp_path / "home/bin/cargo")
    monkeypatch.setenv("PATH", f"{hidden.parent}")
    root = tmp_path / "app"
    root.mkdir()
    (root / "Cargo.toml").write_text("")
    assert run(["init", "-C", str(root)], "bldr") == 0
    assert "tools" not in (root / "Builderfile").read_text()
    said = capfd.readouterr().err
    assert f"[WARNING] {hidden}: actions are not shown this place" in said
    assert "sandbox.read_only_paths" in said
