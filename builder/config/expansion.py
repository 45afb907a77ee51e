"""`${VAR}` and `${VAR:-default}` in the text values of a document.

A variable that is not set and has no default is a problem; one that is empty takes the default,
as in a shell. `$${` is a literal `${`. Keys are never expanded.
"""

import re
from collections.abc import Mapping

from builder.base.document import Document, Path, Plain
from builder.base.problems import Problem
from builder.config.schema import Schema, coerced, subschema

VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


class _UnsetError(Exception):
    pass


def expand(
    document: Document, schema: Schema, environ: Mapping[str, str]
) -> tuple[Plain, list[Problem]]:
    """The document's value with every variable replaced, and what is wrong. Empty sections are
    empty blocks.

    Where the schema wants a number or a flag, a value that came from a variable becomes one.
    """
    problems: list[Problem] = []

    def walk(value: Plain, path: Path) -> Plain:
        if isinstance(value, dict):
            return {key: walk(inner, (*path, key)) for key, inner in value.items()}
        if value is None and "properties" in subschema(schema, path):
            return {}  # a section with nothing in it, or with comments only
        if isinstance(value, list):
            return [walk(inner, (*path, index)) for index, inner in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        try:
            return coerced(_expand_text(value, environ), subschema(schema, path))
        except _UnsetError as error:
            hint = "set it, or write ${NAME:-default}; a literal '${' is written '$${'"
            problems.append(Problem(document.position(path), str(error), hint))
            return value

    return walk(document.value, ()), problems


def _expand_text(text: str, environ: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        name, default = match.groups()
        if match[0] == "$${":
            return "${"
        if name is None:
            raise _UnsetError("'${' begins no variable: write ${NAME} or ${NAME:-default}")
        found = environ.get(name) or default
        if found is None:
            state = "empty" if name in environ else "not set"
            raise _UnsetError(f"the environment variable {name} is {state}")
        return found

    return VARIABLE.sub(replace, text)
