"""Placeholders in a Builderfile: `{{name}}` stands for a variable's text.

A list's item that is one placeholder and nothing else, `"{{flags}}"`, becomes as many items as
the variable has; within a text they are joined by spaces. Values are taken as they are: what they
hold is not looked at for placeholders again. Braces that hold no name (`{{.Name}}`) are text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.base.nearest import nearest
from builder.project.model import Source

if TYPE_CHECKING:
    from builder.base.document import Path

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")

Value = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """The variables of one target."""

    source: Source
    values: Mapping[str, Value]

    def text(self, text: str, where: "Path") -> str:
        """Raises UsageError for an unknown name."""
        if "{{" not in text:
            return text
        return PLACEHOLDER.sub(lambda found: self._joined(found[1], where), text)

    def items(self, texts: Sequence[str | int], where: "Path") -> Iterator[tuple["Path", str]]:
        """Each with its place in the document. Raises UsageError."""
        for number, item in enumerate(texts):
            here = (*where, number)
            whole = PLACEHOLDER.fullmatch(str(item))
            value = self._value(whole[1], here) if whole else ""
            if isinstance(value, tuple):
                yield from ((here, text) for text in value)
            else:
                yield here, self.text(str(item), here)

    def _joined(self, name: str, where: "Path") -> str:
        value = self._value(name, where)
        return value if isinstance(value, str) else " ".join(value)

    def _value(self, name: str, where: "Path") -> Value:
        if name in self.values:
            return self.values[name]
        meant = nearest(name, self.values)
        known = ", ".join(self.values) or "none"
        hint = f"did you mean {{{{{meant}}}}}?" if meant else f"variables here: {known}"
        raise self.source.error(where, f"there is no variable {name!r}", hint)


def variables(block: Mapping[str, object]) -> dict[str, Value]:
    """What `vars` holds: texts, numbers, and lists of them."""
    return {
        name: tuple(str(item) for item in value) if isinstance(value, list) else str(value)
        for name, value in block.items()
    }


def of_file(path: str) -> dict[str, Value]:
    """A foreach's own variables: `src/a.c`, directory `src`, name `a.c` and stem `a`."""
    directory, _, name = path.rpartition("/")
    stem = name.rpartition(".")[0] or name
    return {"file": path, "dir": directory or ".", "name": name, "stem": stem}
