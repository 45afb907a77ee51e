"""Builderfiles on disk: found, read, checked; and not parsed twice.

A project is one Builderfile, or a workspace: the directory with a `Builderfile.workspace`, in which
every directory with a Builderfile is a package.

Parsing and validating cost more than a whole build with nothing to do, so the plain values of the
last good Builderfile are kept with the hash of its text. Whoever needs a place in the text (an
error) gets it from a fresh parse.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from builder.base.errors import UsageError
from builder.base.version import VERSION
from builder.client.filestate import replaced
from builder.client.walk import Walker
from builder.project.ignore import FILE_NAME as IGNORE_NAME
from builder.project.ignore import parse as parse_ignored
from builder.project.loader import DEFAULTS, VARS, join, load, validate
from builder.project.model import FILE_NAMES, TARGET_PREFIX, WORKSPACE_NAME, Project, Source
from builder.project.paths import parents
from builder.project.words import variables

if TYPE_CHECKING:
    from builder.base.document import Document, Plain

Schema = Callable[[], Mapping[str, Any]]
T = TypeVar("T")
PACKAGE = re.compile(r"([A-Za-z0-9_.+@-]+(/[A-Za-z0-9_.+@-]+)*)?")


@dataclass(frozen=True, slots=True)
class CheckedSource:
    """A text that was good before; its values come from the memory."""

    value: "Plain"
    source: str
    text: bytes = field(repr=False)

    def error(
        self, path: Sequence[str | int], message: str, hint: str = "", *, key: bool = False
    ) -> UsageError:
        from builder.base.document import parse  # late: only an error needs it

        return parse(self.text, self.source).error(path, message, hint, key=key)


def find(start: Path) -> Path:
    """What says what the project is: the workspace file of this directory or of the nearest one
    above it that has one, else the nearest Builderfile. Raises UsageError."""
    above = (start, *start.parents)
    for directory in above:
        if (directory / WORKSPACE_NAME).is_file():
            return directory / WORKSPACE_NAME
    for directory in above:
        for name in FILE_NAMES:
            if (directory / name).is_file():
                return directory / name
    raise UsageError(
        f"no Builderfile in {start} or above it; go to a project, name one with -C DIR, "
        "or write a file 'Builderfile' that says what to build"
    )


def documents(start: Path) -> list[Path]:
    """All files that say what the project is. Raises UsageError."""
    path = find(start)
    if path.name != WORKSPACE_NAME:
        return [path]
    packages = walker_of(path.parent).packages()
    return [path, *(path.parent / directory / name for directory, name in packages)]


def walker_of(root: Path) -> Walker:
    """With what the project's .builderignore says. Raises UsageError."""
    try:
        return Walker(root, parse_ignored((root / IGNORE_NAME).read_text()))
    except FileNotFoundError:
        walker = Walker(root)
        walker.absent.add(IGNORE_NAME)
        return walker
    except UnicodeDecodeError as error:
        raise UsageError(f"{root / IGNORE_NAME} is not UTF-8: {error}") from None


def read(
    path: Path,
    schema: Schema,
    memory: Path | None = None,
    walker: Walker | None = None,
    start: Path | None = None,
) -> Project:
    """A Builderfile, or all those of a workspace. `start`: the directory somebody is in.

    Raises UsageError with file, line and column for what is wrong in it.
    """
    walker = walker or walker_of(path.parent)
    reader = _Reader(path.parent, schema, _Memory(memory))
    if path.name != WORKSPACE_NAME:
        project = reader.parsed(path.name, lambda source: load(source, walker.find))
    else:
        project = _workspace(reader, path, walker, start or path.parent)
    reader.memory.save()
    return project


def _workspace(reader: "_Reader", path: Path, walker: Walker, start: Path) -> Project:
    top = reader.parsed(path.name, lambda source: source, optional=True)
    values = cast("dict[str, Any]", top.value or {})
    found = dict(walker.packages())
    if not found:
        raise UsageError(f"no Builderfile beneath {_shown(path)}: write one that has targets")
    for directory in found:
        if not PACKAGE.fullmatch(directory):
            raise UsageError(
                f"{directory!r} cannot name a package: use letters, digits and '_.+@-' for "
                f"directories that hold a Builderfile, or add it to {IGNORE_NAME}"
            )
    sources = {
        directory: reader.parsed(f"{directory}/{name}" if directory else name, lambda one: one)
        for directory, name in found.items()
    }
    shown = start.relative_to(path.parent).as_posix()
    here = next((one for one in (shown, *parents(shown)) if one in found), "")
    return join(top, sources, variables(values.get(VARS) or {}), walker.find, here)


@dataclass(slots=True)
class _Reader:
    """Documents beneath `root`, from the memory where their text is known."""

    root: Path
    schema: Schema
    memory: "_Memory"

    def parsed(self, name: str, use: Callable[[Source], T], *, optional: bool = False) -> T:
        """What `use` makes of it; a remembered value of which it can make nothing is parsed anew.
        An `optional` one may be empty, and has no targets. Raises UsageError."""
        text = (self.root / name).read_bytes()
        shown = _shown(self.root / name)
        key = sha256(b"\0".join((VERSION.encode(), text))).hexdigest()
        values = self.memory.get(name, key)
        if values is not None:
            with suppress(AttributeError, LookupError, TypeError, ValueError):  # not what we wrote
                return use(CheckedSource(values, shown, text))
        from builder.base.document import parse  # late: most builds know the text already

        document = parse(text, shown)
        if optional:
            _check_workspace(document)
        if not (optional and not document.value):
            validate(document, self.schema())
        found = use(document)
        self.memory.put(name, key, document.value)
        return found


def _check_workspace(document: "Document") -> None:
    """Raises for targets, which belong into a Builderfile."""
    for key in document.value if isinstance(document.value, dict) else ():
        if key.startswith(TARGET_PREFIX) or key == DEFAULTS:
            hint = f"write it in a Builderfile; {WORKSPACE_NAME} has 'vars' for all of them"
            raise document.error((key,), f"{key!r} cannot stand here", hint, key=True)


def _shown(path: Path) -> str:
    """As a person would name it from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


class _Memory:
    """Plain values of good documents, by name, with the hash of their text. None for no file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._changed = False
        self._known: dict[str, Any] = {}
        with suppress(OSError, ValueError):  # nothing remembered: parse it
            content = json.loads(path.read_bytes()) if path else {}
            self._known = content if isinstance(content, dict) else {}

    def get(self, name: str, key: str) -> "Plain":
        known = self._known.get(name)
        values = (
            known.get("values") if isinstance(known, dict) and known.get("key") == key else None
        )
        return values if isinstance(values, dict) else None

    def put(self, name: str, key: str, values: "Plain") -> None:
        self._known[name] = {"key": key, "values": values}
        self._changed = True

    def save(self) -> None:
        if self._path is None or not self._changed:
            return
        with replaced(self._path) as temporary:
            temporary.write_text(json.dumps(self._known))
