"""A Builderfile for what lies in a directory: a place to start from, made to be edited."""

import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builder.client.compiled import CPP, C, compiled
from builder.client.place import Place, tools, unseen
from builder.client.walk import Walker

HEAD = """\
# What to build and how. `bldr graph` shows it, `bldr build` does it.
"""
GO = """
target {name}:
  description: The program, without the network; `go mod vendor` brings what it needs.
  inputs: [go.mod, "**/*.go"{more}]
  outputs: [build/{name}]
  command: GOCACHE=/tmp/go go build -trimpath -o build/{name} {package}
{tools}"""
GO_TESTS = """
target {test}:
  test: true
  inputs: [go.mod, "**/*.go"{more}]
  command: GOCACHE=/tmp/go go test ./...
{tools}"""
RUST = """
target {name}:
  description: The program, without the network; `cargo vendor` brings what it needs.
  inputs: [Cargo.toml, "src/**"{more}]
  outputs: [build/{name}]
  command: |
    cargo build --release --offline --target-dir /tmp/target --bin {program}
    cp /tmp/target/release/{program} build/{name}
{tools}"""
RUST_TESTS = """
target {test}:
  test: true
  inputs: [Cargo.toml, "src/**"{more}]
  command: cargo test --offline --target-dir /tmp/target
{tools}"""
NODE = """
target {test}:
  description: The package's tests, with Node's own runner.
  test: true
  inputs: [package.json, "**/*.js", "!node_modules/**"]
  command: [node, --test]
{tools}"""
PYTHON = """
target check:
  description: Every file compiles.
  test: true
  foreach: ["**/*.py", "!.venv/**", "!venv/**"]
  command: [python3, -m, py_compile, "{{{{file}}}}"]
{tools}"""
PYTHON_TESTS = """
target {test}:
  test: true
  inputs: ["**/*.py", "tests/**", "!.venv/**", "!venv/**"]
  command: [python3, -m, {runner}]
{tools}{env}"""
NOTHING = """
target hello:
  description: An example. A command sees its inputs only, and its outputs are brought back.
  outputs: [build/hello.txt]
  command: echo 'Hello!' > build/hello.txt
"""
# What unittest does not find.
FUNCTIONS = re.compile(r"^(?:async )?def test_|^import pytest", re.MULTILINE)
TOOLS = {"Go": "go", "Rust": "cargo", "Node": "node", "Python": "python3", "C": "gcc", "C++": "g++"}
GO_MAIN = re.compile(r"^package main\b", re.MULTILINE)
FUNCTIONS = re.compile(
    r"^(?:async )?def test_|^import pytest", re.MULTILINE
)  # that unittest does not find


@dataclass(frozen=True, slots=True)
class Initial:
    """`kinds`: what was recognised, for people; `unseen`: programs of this machine that are needed
    and that actions are not shown, by their paths."""

    text: str
    kinds: tuple[str, ...]
    unseen: tuple[str, ...] = ()


def initial(root: Path) -> Initial:
    """Raises BuilderError for a directory that cannot be listed."""
    place = Place(root, Walker(root))
    kinds = tuple(kind for kind, (there, _) in KINDS.items() if there(place))
    native = [kind for kind in kinds if kind in ("C++", "C")]
    texts = [compiled(place, native)] if native else []
    texts += [KINDS[kind][1](place, _Names(place.name, kind, kinds)) for kind in kinds]
    hidden = tuple(filter(None, (unseen(TOOLS[kind]) for kind in kinds)))
    return Initial(HEAD + ("".join(texts) or NOTHING), kinds, hidden)


@dataclass(frozen=True, slots=True)
class _Names:
    """Of targets: short ones, but where several languages would have the same."""

    project: str
    kind: str
    kinds: tuple[str, ...]

    @property
    def test(self) -> str:
        return self._own("test", "Go", "Rust", "Node", "Python")

    @property
    def program(self) -> str:
        return self._own(self.project, "C++", "C", "Go", "Rust")

    def _own(self, name: str, *rivals: str) -> str:
        first = next(kind for kind in self.kinds if kind in rivals)
        return name if self.kind == first else f"{name}_{self.kind.lower()}"


def _go(place: Place, names: _Names) -> str:
    more = place.more("go.sum", "vendor/")
    if place.files("**/testdata/**"):
        more += ', "**/testdata/**"'
    commands = place.files("cmd/*/main.go")
    packages = {path.split("/")[1]: f"./{path.rpartition('/')[0]}" for path in commands}
    if not packages and any(GO_MAIN.search(place.text(path)) for path in place.files("*.go")):
        packages = {names.program: "."}
    need = tools("go")
    texts = [
        GO.format(name=name, package=at, more=more, tools=need) for name, at in packages.items()
    ]
    return "".join(texts) + GO_TESTS.format(test=names.test, more=more, tools=need)


def _rust(place: Place, names: _Names) -> str:
    more = place.more(
        "Cargo.lock", "vendor/", ".cargo/", "tests/", "benches/", "examples/", "build.rs"
    )
    need = tools("cargo")
    text = RUST_TESTS.format(test=names.test, more=more, tools=need)
    if not place.has("src/main.rs"):
        return text
    program = place.name
    with suppress(ValueError):
        told = tomllib.loads(place.text("Cargo.toml")).get("package", {})
        program = str(told.get("name", program))
    return RUST.format(name=names.program, program=program, more=more, tools=need) + text


def _node(_place: Place, names: _Names) -> str:
    return NODE.format(test=names.test, tools=tools("node"))


def _python(place: Place, names: _Names) -> str:
    need = tools("python3")
    text = PYTHON.format(tools=need)
    if not place.has("tests"):
        return text
    functions = any(FUNCTIONS.search(place.text(path)) for path in place.files("tests/**/*.py"))
    return text + PYTHON_TESTS.format(
        test=names.test,
        tools=need,
        env="  env: {PYTHONPATH: src}\n" if place.files("src/**/*.py") else "",
        runner="pytest, tests" if functions else "unittest, discover, -s, tests, -t, .",
    )


def _nothing(_place: Place, _names: _Names) -> str:
    return ""


Kind = tuple[Callable[[Place], object], Callable[[Place, _Names], str]]
KINDS: dict[str, Kind] = {
    "C++": (lambda place: place.sources(CPP), _nothing),  # `compiled` has it
    "C": (lambda place: place.sources(C), _nothing),
    "Go": (lambda place: place.has("go.mod"), _go),
    "Rust": (lambda place: place.has("Cargo.toml"), _rust),
    "Node": (lambda place: place.has("package.json"), _node),
    "Python": (lambda place: place.files("**/*.py"), _python),
}
