"""From texts to settings, with where each value came from.

    file text -> Document -> variables expanded -> held against the schema
    environment and command line, laid on top, each value held against the schema
    -> dataclasses -> checks across settings

Pure: the environment, the paths and the secrets' files are asked for through `Surroundings`.
All problems are told at once, those of the file with line and column.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from builder.base.document import Document, Path, Plain
from builder.base.errors import UsageError
from builder.base.nearest import nearest
from builder.base.problems import DocumentError, Problem
from builder.base.validation import validate
from builder.config.checks import check
from builder.config.expansion import expand
from builder.config.filling import Filler, Finding
from builder.config.schema import Schema, coerced, keys, obviously_fits, subschema
from builder.config.settings import Settings

DEFAULT = "default"

Origins: TypeAlias = Mapping[str, str]  # dotted key of what is set -> where; else it is DEFAULT


@dataclass(frozen=True, slots=True)
class Layer:
    """Values by dotted key from one place, for example `command line`."""

    origin: str
    values: Mapping[str, Plain]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the world outside answers. `resolve_path(text, in_file)` makes a path absolute, from
    the config file's directory if it stands in the file; `read_secret` takes an absolute path."""

    environ: Mapping[str, str]
    resolve_path: Callable[[str, bool], str]
    read_secret: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Loaded:
    """`document` is the config file, if there is one."""

    settings: Settings
    origins: Origins
    document: Document | None


def load(
    document: Document | None,
    layers: Sequence[Layer],
    schema: Schema,
    surroundings: Surroundings,
) -> Loaded:
    """Later layers win. Raises UsageError that tells every problem."""
    values, origins = _from_file(document, schema, surroundings.environ)
    for layer in layers:
        for key, value in layer.values.items():
            _overlay(values, origins, layer.origin, key, value, schema)
    loaded_origins = dict(origins)

    def resolve_path(text: str, path: Path) -> str:
        return surroundings.resolve_path(text, _in_file(document, loaded_origins, path))

    filler = Filler(resolve_path, surroundings.read_secret)
    settings = filler.fill(Settings, values)
    loaded = Loaded(settings, loaded_origins, document)
    findings = filler.findings or check(settings)
    if findings:
        raise refusal(loaded, findings)
    return loaded


def refusal(loaded: Loaded, findings: Iterable[Finding]) -> UsageError:
    """One error that tells all findings, each where its setting was set."""
    document = loaded.document
    problems, sentences = [], []
    for finding in findings:
        path = finding.path
        if finding.other and origin_of(loaded.origins, path) == DEFAULT:
            path = finding.other
        origin = origin_of(loaded.origins, path)
        if document is not None and _in_file(document, loaded.origins, path):
            position = document.position(path)
            problems.append(Problem(position, finding.message, finding.hint))
        else:
            hint = f"; {finding.hint}" if finding.hint else ""
            sentences.append(f"{origin}: {finding.message}{hint}")
    if document is None or not problems:
        return UsageError("\n".join(sentences))
    problems.sort(key=lambda problem: problem.position)
    error = DocumentError(document.source, document.text, problems)
    return UsageError("\n".join([str(error), *sentences])) if sentences else error


def origin_of(origins: Origins, path: Path) -> str:
    """Where the setting at this path, or one that holds it, or one inside it, was set."""
    name = dotted(path)
    for length in range(len(path), 0, -1):
        if found := origins.get(dotted(path[:length])):
            return found
    inside = (where for key, where in origins.items() if key.startswith(f"{name}."))
    return next(inside, DEFAULT)


def dotted(path: Path) -> str:
    return ".".join(map(str, path))


def _in_file(document: Document | None, origins: Origins, path: Path) -> bool:
    return document is not None and origin_of(origins, path).startswith(f"{document.source}:")


def _from_file(
    document: Document | None, schema: Schema, environ: Mapping[str, str]
) -> tuple[dict[str, Plain], dict[str, str]]:
    if document is None:
        return {}, {}
    value, problems = expand(document, schema, environ)
    problems += validate(replace(document, value=value), schema)
    if problems:
        problems.sort(key=lambda problem: problem.position)
        raise DocumentError(document.source, document.text, problems)
    assert isinstance(value, dict)  # the schema says so
    origins: dict[str, str] = {}
    _note_origins(document, value, (), schema, origins)
    return value, origins


def _note_origins(
    document: Document, value: Plain, path: Path, schema: Schema, origins: dict[str, str]
) -> None:
    """The line of every leaf; a list and a block of free keys are leaves."""
    if isinstance(value, dict) and "properties" in subschema(schema, path):
        for key, inner in value.items():
            _note_origins(document, inner, (*path, key), schema, origins)
        if value or not path:
            return
    origins[dotted(path)] = f"{document.source}:{document.position(path, key=True).line}"


def _unknown(key: str, schema: Schema) -> str:
    meant = nearest(key, keys(schema))
    return f"unknown key {key!r}" + (f"; did you mean {meant!r}?" if meant else "")


def _overlay(
    values: dict[str, Plain],
    origins: dict[str, str],
    origin: str,
    key: str,
    value: Plain,
    schema: Schema,
) -> None:
    path = tuple(key.split("."))
    part = subschema(schema, path)
    if not part:
        raise UsageError(f"{origin}: {_unknown(key, schema)}")
    if isinstance(value, str):
        value = coerced(value, part)
    if not obviously_fits(value, part):
        wrapped = {"properties": {key: part}, "$defs": schema["$defs"]}
        for problem in validate(Document({key: value}, origin, "", None), wrapped):
            hint = f"; {problem.hint}" if problem.hint else ""
            raise UsageError(f"{origin}: {problem.message}{hint}")
    block = values
    for step in path[:-1]:
        inner = block.setdefault(step, {})
        assert isinstance(inner, dict), key
        block = inner
    block[path[-1]] = value
    origins[key] = origin
