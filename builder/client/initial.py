"""A Builderfile for what lies in a directory: a place to start from, made to be edited."""

import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builder.client.walk import Walker
from builder.project.paths import Pattern, pattern

HEAD = """\
# What to build and how. `bldr graph` shows it, `bldr build` does it.
"""
OBJECTS = """
target {objects}:
  description: One action for each source file.
  foreach: {sources}
  {headers}outputs: ["build/obj/{{{{dir}}}}/{{{{stem}}}}.o"]
  command: {compiler} {{{{flags}}}} -c {{{{file}}}} -o build/obj/{{{{dir}}}}/{{{{stem}}}}.o
"""
PROGRAM = """
target {name}:
  description: The program.
  inputs: [{objects}]
  outputs: [build/{name}]
  command: {compiler} $(find build/obj -name '*.o' | sort) -o build/{name}
"""
GO = """
target {name}:
  description: The program, without the network; `go mod vendor` brings what it needs.
  inputs: [go.mod, "**/*.go"{more}]
  outputs: [build/{name}]
  command: GOCACHE=/tmp/go go build -trimpath -o build/{name} {package}
"""
GO_TESTS = """
target {test}:
  test: true
  inputs: [go.mod, "**/*.go"{more}]
  command: GOCACHE=/tmp/go go test ./...
"""
RUST = """
target {name}:
  description: The program, without the network; `cargo vendor` brings what it needs.
  inputs: [Cargo.toml, "src/**"{more}]
  outputs: [build/{name}]
  command: |
    cargo build --release --offline --target-dir /tmp/target --bin {program}
    cp /tmp/target/release/{program} build/{name}
"""
RUST_TESTS = """
target {test}:
  test: true
  inputs: [Cargo.toml, "src/**"{more}]
  command: cargo test --offline --target-dir /tmp/target
"""
NODE = """
target {test}:
  description: The package's tests, with Node's own runner.
  test: true
  inputs: [package.json, "**/*.js", "!node_modules/**"]
  command: [node, --test]
"""
PYTHON = """
target check:
  description: Every file compiles.
  test: true
  foreach: ["**/*.py", "!.venv/**", "!venv/**"]
  command: [python3, -m, py_compile, "{{file}}"]
"""
PYTHON_TESTS = """
target {test}:
  test: true
  inputs: ["**/*.py", "!.venv/**", "!venv/**"]
  command: [python3, -m, unittest, discover, -s, tests, -t, .]
"""
NOTHING = """
target hello:
  description: An example. A command sees its inputs only, and its outputs are brought back.
  outputs: [build/hello.txt]
  command: echo 'Hello!' > build/hello.txt
"""
SKIPPED = [pattern(text) for text in ("build/", "vendor/", "node_modules/", ".venv/", "venv/")]
OF_TESTS = [pattern(text) for text in ("test/", "tests/")]  # with a main of their own, mostly
CPP, HEADERS = (".cpp", ".cc", ".cxx"), (".h", ".hpp", ".hh")


@dataclass(frozen=True, slots=True)
class Initial:
    """`kinds`: what was recognised, for people."""

    text: str
    kinds: tuple[str, ...]


def initial(root: Path) -> Initial:
    """Raises BuilderError for a directory that cannot be listed."""
    place = _Place(root, Walker(root))
    kinds = tuple(kind for kind, (there, _) in KINDS.items() if there(place))
    compiled = [kind for kind in kinds if kind in ("C++", "C")]
    texts = [_compiled(place, compiled)] if compiled else []
    texts += [KINDS[kind][1](place, _Names(place.name, kind, kinds)) for kind in kinds]
    return Initial(HEAD + ("".join(texts) or NOTHING), kinds)


@dataclass(frozen=True, slots=True)
class _Place:
    root: Path
    walker: Walker

    @property
    def name(self) -> str:
        """The directory's, as far as a target's name can be that."""
        kept = "".join(
            c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in self.root.name
        )
        return kept if kept[:1].isalnum() else "app"

    def has(self, name: str) -> bool:
        return (self.root / name).exists()

    def files(self, glob: str, *skipped: Pattern) -> list[str]:
        return self.walker.find([pattern(glob)], [*SKIPPED, *skipped])

    def globs(self, *endings: str) -> list[str]:
        """For each ending one for each directory at the top that holds such files."""
        found = []
        for ending in endings:
            paths = self.files(f"**/*{ending}", *OF_TESTS)
            tops = sorted({path.partition("/")[0] if "/" in path else "" for path in paths})
            found += [f"{top}/**/*{ending}" if top else f"*{ending}" for top in tops]
        return found

    def more(self, *names: str) -> str:
        return "".join(f", {name}" for name in names if self.has(name.rstrip("/")))


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


def _compiled(place: _Place, kinds: list[str]) -> str:
    """C, C++, or a program of both."""
    headers = place.globs(*HEADERS)
    includes = ", -Iinclude" if any(glob.startswith("include/") for glob in headers) else ""
    texts = [f"\nvars:\n  flags: [-O2, -Wall{includes}]\n"]
    named = []
    for kind in kinds:
        endings, compiler = (CPP, "g++") if kind == "C++" else ((".c",), "gcc")
        named.append("objects" if kind == kinds[0] else "objects_c")
        texts.append(
            OBJECTS.format(
                objects=named[-1],
                compiler=compiler,
                sources=_listed(place.globs(*endings)),
                headers=f"inputs: {_listed(headers)}\n  " if headers else "",
            )
        )
    compiler = "g++" if "C++" in kinds else "gcc"
    objects = ", ".join(f'":{one}"' for one in named)
    return "".join(texts) + PROGRAM.format(name=place.name, objects=objects, compiler=compiler)


def _listed(globs: list[str]) -> str:
    return "[" + ", ".join(f'"{glob}"' for glob in globs) + "]"


def _go(place: _Place, names: _Names) -> str:
    more = place.more("go.sum", "vendor/")
    commands = place.files("cmd/*/main.go")
    packages = {path.split("/")[1]: f"./{path.rpartition('/')[0]}" for path in commands}
    if place.files("*.go") and not packages:
        packages = {names.program: "."}
    texts = [GO.format(name=name, package=at, more=more) for name, at in packages.items()]
    return "".join(texts) + GO_TESTS.format(test=names.test, more=more)


def _rust(place: _Place, names: _Names) -> str:
    more = place.more("Cargo.lock", "vendor/", ".cargo/", "tests/")
    text = RUST_TESTS.format(test=names.test, more=more)
    if not place.has("src/main.rs"):
        return text
    program = place.name
    with suppress(OSError, ValueError):
        told = tomllib.loads((place.root / "Cargo.toml").read_text()).get("package", {})
        program = str(told.get("name", program))
    return RUST.format(name=names.program, program=program, more=more) + text


def _node(_place: _Place, names: _Names) -> str:
    return NODE.format(test=names.test)


def _python(place: _Place, names: _Names) -> str:
    return PYTHON + (PYTHON_TESTS.format(test=names.test) if place.has("tests") else "")


def _nothing(_place: _Place, _names: _Names) -> str:
    return ""


Kind = tuple[Callable[[_Place], object], Callable[[_Place, _Names], str]]
KINDS: dict[str, Kind] = {
    "C++": (lambda place: place.globs(*CPP), _nothing),  # `_compiled` has it
    "C": (lambda place: place.globs(".c"), _nothing),
    "Go": (lambda place: place.has("go.mod"), _go),
    "Rust": (lambda place: place.has("Cargo.toml"), _rust),
    "Node": (
        lambda place: place.has("package.json"),
        lambda _, names: NODE.format(test=names.test),
    ),
    "Python": (lambda place: place.files("**/*.py"), _python),
}
