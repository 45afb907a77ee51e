"""A Builderfile for what lies in a directory: a place to start from, made to be edited."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.client.walk import Walker
from builder.project.paths import pattern

HEAD = """\
# What to build and how. `bldr graph` shows it, `bldr build` does it.
"""
C = """
vars:
  {flags}: [-O2, -Wall{includes}]

target objects:
  description: One action for each source file.
  foreach: {sources}
  {headers}outputs: ["build/obj/{{{{dir}}}}/{{{{stem}}}}.o"]
  command: {compiler} {{{{{flags}}}}} -c {{{{file}}}} -o build/obj/{{{{dir}}}}/{{{{stem}}}}.o

target {name}:
  description: The program.
  inputs: [":objects"]
  outputs: [build/{name}]
  command: {compiler} $(find build/obj -name '*.o' | sort) -o build/{name}
"""
GO = """
target {name}:
  description: The program, without the network; vendor what it needs.
  inputs: [go.mod, "**/*.go"{more}]
  outputs: [build/{name}]
  command: GOCACHE=/tmp/go GOFLAGS=-mod=mod go build -trimpath -o build/{name} .

target test:
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
    cargo build --release --offline --target-dir /tmp/target
    cp /tmp/target/release/{name} build/{name}
"""
NODE = """
target test:
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
target test:
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


@dataclass(frozen=True, slots=True)
class Initial:
    """`kinds`: what was recognised, for people."""

    text: str
    kinds: tuple[str, ...]


def initial(root: Path) -> Initial:
    """Raises BuilderError for a directory that cannot be listed."""
    walker = Walker(root)
    name = _name(root)
    found = [(kind, text) for kind, part in PARTS if (text := part(root, walker, name))]
    texts = [text for _, text in found] or [NOTHING]
    return Initial(HEAD + "".join(texts), tuple(kind for kind, _ in found))


def _name(root: Path) -> str:
    """The directory's, as far as a target's name can be that."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in root.name)
    return kept if kept[:1].isalnum() else "app"


def _files(walker: Walker, glob: str) -> list[str]:
    return walker.find([pattern(glob)], SKIPPED)


def _c(walker: Walker, name: str, endings: tuple[str, ...], compiler: str, flags: str) -> str:
    globs = [glob for ending in endings for glob in _globs(walker, ending)]
    if not globs:
        return ""
    headers = [glob for ending in (".h", ".hpp", ".hh") for glob in _globs(walker, ending)]
    includes = ", -Iinclude" if any(glob.startswith("include/") for glob in headers) else ""
    return C.format(
        name=name,
        flags=flags,
        compiler=compiler,
        includes=includes,
        sources="[" + ", ".join(f'"{glob}"' for glob in globs) + "]",
        headers=f"inputs: [{', '.join(f'{chr(34)}{g}{chr(34)}' for g in headers)}]\n  "
        if headers
        else "",
    )


def _globs(walker: Walker, ending: str) -> Iterator[str]:
    """One for each directory at the top that holds such files."""
    tops = {
        path.partition("/")[0] if "/" in path else "" for path in _files(walker, f"**/*{ending}")
    }
    for top in sorted(tops):
        yield f"{top}/**/*{ending}" if top else f"*{ending}"


def _more(root: Path, *names: str) -> str:
    there = [name for name in names if (root / name.rstrip("/")).exists()]
    return "".join(f", {name}" for name in there)


Part = Callable[[Path, Walker, str], str]
PARTS: list[tuple[str, Part]] = [
    ("C++", lambda _, walker, name: _c(walker, name, (".cpp", ".cc", ".cxx"), "g++", "cxxflags")),
    ("C", lambda _, walker, name: _c(walker, name, (".c",), "gcc", "cflags")),
    ("Go", lambda root, _, name: _if(root, "go.mod", GO, name, "go.sum", "vendor/")),
    ("Rust", lambda root, _, name: _if(root, "Cargo.toml", RUST, name, "Cargo.lock", "vendor/")),
    ("Node", lambda root, _, __: NODE if (root / "package.json").exists() else ""),
    ("Python", lambda root, walker, _: _python(root, walker)),
]


def _if(root: Path, marker: str, text: str, name: str, *more: str) -> str:
    return text.format(name=name, more=_more(root, *more)) if (root / marker).exists() else ""


def _python(root: Path, walker: Walker) -> str:
    if not _files(walker, "**/*.py"):
        return ""
    return PYTHON + (PYTHON_TESTS if (root / "tests").is_dir() else "")
