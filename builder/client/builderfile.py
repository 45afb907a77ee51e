"""The Builderfile on disk: found, read, checked; and not parsed twice.

Parsing and validating cost more than a whole build with nothing to do, so the plain values of the
last good Builderfile are kept with the hash of its text. Whoever needs a place in the text (an
error) gets it from a fresh parse.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.base.errors import UsageError
from builder.base.version import VERSION
from builder.client.filestate import replaced
from builder.client.walk import Walker
from builder.project.loader import load, validate
from builder.project.model import FILE_NAMES, Project, Source

if TYPE_CHECKING:
    from builder.base.document import Plain

Schema = Callable[[], Mapping[str, Any]]


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
    """The Builderfile of this directory or of the nearest one above it. Raises UsageError."""
    for directory in (start, *start.parents):
        for name in FILE_NAMES:
            if (directory / name).is_file():
                return directory / name
    raise UsageError(
        f"no Builderfile in {start} or above it; go to a project, name one with -C DIR, "
        "or write a file 'Builderfile' that says what to build"
    )


def read(
    path: Path, schema: Schema, memory: Path | None = None, walker: Walker | None = None
) -> Project:
    """Raises UsageError with file, line and column for what is wrong in it."""
    find = (walker or Walker(path.parent)).find
    text = path.read_bytes()
    key = sha256(b"\0".join((VERSION.encode(), text))).hexdigest()
    name = _shown(path)
    values = _remembered(memory, key)
    if values is not None:
        with suppress(AttributeError, LookupError, TypeError, ValueError):  # not what we wrote
            return load(CheckedSource(values, name, text), find)
    from builder.base.document import parse  # late: most builds know the text already

    document = parse(text, name)
    validate(document, schema())
    source: Source = document
    project = load(source, find)
    if memory is not None:
        with replaced(memory) as temporary:
            temporary.write_text(json.dumps({"key": key, "values": document.value}))
    return project


def _shown(path: Path) -> str:
    """As a person would name it from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _remembered(memory: Path | None, key: str) -> "Plain":
    if memory is None:
        return None
    try:
        content = json.loads(memory.read_bytes())
        if content["key"] == key and isinstance(content["values"], dict):
            values: Plain = content["values"]
            return values
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing remembered: parse it
    return None
