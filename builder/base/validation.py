"""A document against a JSON Schema (draft 2020-12), with sentences of our own.

jsonschema decides what is wrong; this module says it: which key, where, what was expected, and
what was probably meant. What a schema may add for that is standard: `title` names the kind of a
value ("a duration"), `examples` shows the right form, `writeOnly` marks secrets, which are
never quoted. The library is imported at the first use, because it costs a tenth of a second.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.base.document import Document, Path
from builder.base.nearest import nearest
from builder.base.problems import DocumentError, Problem

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

TYPES = {
    "object": "a block of keys",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "empty",
}
YAML_1_1_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
SECRET_NAME = re.compile(r"token|secret|passw|credential|_key$", re.IGNORECASE)
SHOWN_CHARACTERS = 60


def validate(document: Document, schema: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong, in the order of the text; empty for a good document."""
    from jsonschema import Draft202012Validator  # late: see the module's docstring

    failures = map(_failure, Draft202012Validator(schema).iter_errors(document.value))
    problems = {problem: None for failure in failures for problem in _problems(document, failure)}
    return sorted(problems, key=lambda problem: problem.position)


def require(document: Document, schema: Mapping[str, Any]) -> None:
    """Raises one DocumentError that tells every problem at once."""
    if problems := validate(document, schema):
        raise DocumentError(document.source, document.text, problems)


@dataclass(frozen=True, slots=True)
class _Failure:
    """jsonschema's ValidationError, as far as it is needed here."""

    keyword: str  # of the schema, which does not hold
    wanted: Any  # what stands at that keyword
    value: Any
    path: Path
    schema: Mapping[str, Any]
    of_name: bool  # the value is a key's name
    message: str
    branches: Mapping[int, "list[_Failure]"]  # of anyOf and oneOf

    @property
    def secret(self) -> bool:
        return bool(self.schema.get("writeOnly"))


def _failure(error: "ValidationError") -> _Failure:
    branches: dict[int, list[_Failure]] = {}
    for child in error.context or ():
        if not child.schema_path:  # of an alternative that allows nothing at all
            continue
        branches.setdefault(int(child.schema_path[0]), []).append(_failure(child))
    trail = [step for step in error.absolute_schema_path if step != "$ref"]
    return _Failure(
        keyword=str(error.validator),
        wanted=error.validator_value,
        value=error.instance,
        path=tuple(error.absolute_path),
        schema=error.schema if isinstance(error.schema, Mapping) else {},
        of_name=trail[-2:-1] == ["propertyNames"],
        message=error.message,
        branches=branches,
    )


def _problems(document: Document, failure: _Failure) -> Iterator[Problem]:
    path = failure.path
    match failure.keyword:
        case "additionalProperties" | "unevaluatedProperties":
            yield from _unknown_keys(document, failure)
        case "required":
            yield from _missing_keys(document, failure)
        case "anyOf" | "oneOf" if failure.branches:
            yield from _no_branch(document, failure)
        case _ if failure.of_name:
            message, hint = _sentence(failure)
            position = document.position((*path, failure.value), key=True)
            yield Problem(position, f"the name {failure.value!r} {message}", hint)
        case _:
            message, hint = _sentence(failure)
            message = f"{_named(path)} {message}"
            yield Problem(document.position(path), message, hint, failure.secret)


def _unknown_keys(document: Document, failure: _Failure) -> Iterator[Problem]:
    known = failure.schema.get("properties", {})
    patterns = failure.schema.get("patternProperties", {})
    for key in failure.value:
        if key in known or any(re.search(pattern, key) for pattern in patterns):
            continue
        message = f"unknown key {key!r}{_inside(failure.path)}"
        meant = nearest(key, known)
        if meant:
            message += f"; did you mean {meant!r}?"
        secret = bool(SECRET_NAME.search(key)) or bool(known.get(meant, {}).get("writeOnly"))
        hint = f"known here: {', '.join(known)}" if known else "no keys are known here"
        position = document.position((*failure.path, key), key=True)
        yield Problem(position, message, hint, secret)


def _missing_keys(document: Document, failure: _Failure) -> Iterator[Problem]:
    for name in failure.wanted:
        if name not in failure.value:
            position = document.position(failure.path, key=True)
            message = f"the key {name!r} is missing{_inside(failure.path)}"
            yield Problem(
                position,
                message,
                _first_sentence(failure.schema.get("properties", {}).get(name, {})),
            )


def _no_branch(document: Document, failure: _Failure) -> Iterator[Problem]:
    """Tells the problems of the one alternative whose type fits, else names all alternatives."""
    branches = failure.branches
    fitting = [
        found for found in branches.values() if not any(_wrong_kind(failure, one) for one in found)
    ]
    if len(fitting) == 1:
        for child in fitting[0]:
            yield from _problems(document, child)
        return
    kinds = dict.fromkeys(_kind(failure.wanted[number]) for number in branches)
    message = f"{_named(failure.path)} must be {_either(kinds)}, not {_shown(failure)}"
    yield Problem(document.position(failure.path), message, "", failure.secret)


def _wrong_kind(parent: _Failure, child: _Failure) -> bool:
    return child.keyword in ("type", "const", "enum") and child.path == parent.path


def _sentence(failure: _Failure) -> tuple[str, str]:
    """What is wrong with this one value, without its name, and what to do."""
    wanted = failure.wanted
    match failure.keyword:
        case "type":
            return _wrong_type(failure)
        case "enum":
            return _not_listed(failure)
        case "pattern":
            kind = failure.schema.get("title", f"text like {wanted}")
            return f"must be {kind}, not {_shown(failure)}", _examples(failure.schema)
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum" as bound:
            return f"must be {BOUNDS[bound]} {wanted}, not {_shown(failure)}", ""
        case str(keyword) if keyword in COUNTS:
            least_or_most, things = COUNTS[keyword]
            if (keyword, wanted) in (("minLength", 1), ("minItems", 1), ("minProperties", 1)):
                return "must not be empty", ""
            return f"must have {least_or_most} {wanted} {things}", ""
        case "uniqueItems":
            return "must not hold the same value twice", ""
        case "const":
            return f"must be {wanted!r}, not {_shown(failure)}", ""
        case "oneOf":
            return "fits several alternatives at once", ""
    return f"is not allowed: {'a secret' if failure.secret else failure.message}", ""


BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
COUNTS = {
    "minLength": ("at least", "characters"),
    "maxLength": ("at most", "characters"),
    "minItems": ("at least", "items"),
    "maxItems": ("at most", "items"),
    "minProperties": ("at least", "keys"),
    "maxProperties": ("at most", "keys"),
}


def _wrong_type(failure: _Failure) -> tuple[str, str]:
    wanted, value = failure.wanted, failure.value
    types = [wanted] if isinstance(wanted, str) else list(wanted)
    title = failure.schema.get("title") if failure.path else None  # the whole one's is a headline
    kind = title or _either(TYPES[name] for name in types)
    message = f"must be {kind}, not {_shown(failure)}"
    if types == ["boolean"] and str(value).lower() in YAML_1_1_WORDS:
        return message, f"write {YAML_1_1_WORDS[str(value).lower()]}"
    if "string" in types and isinstance(value, bool | int | float):
        return message, "quote it to make it text"
    if types == ["array"] and isinstance(value, str):
        return message, f"write [{value}]" if not failure.secret else ""
    return message, _examples(failure.schema)


def _not_listed(failure: _Failure) -> tuple[str, str]:
    listed = [_word(item) for item in failure.wanted]
    message = f"must be {_either(listed)}, not {_shown(failure)}"
    meant = nearest(failure.value, listed) if isinstance(failure.value, str) else None
    return message, f"did you mean {meant}?" if meant else ""


def _word(value: object) -> str:
    """As YAML writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _kind(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "anything"
    if "title" in schema:
        return str(schema["title"])
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return _either(_word(item) for item in schema["enum"])
    types = schema.get("type", [])
    return _either(TYPES[name] for name in ([types] if isinstance(types, str) else types))


def _either(found: Iterable[str]) -> str:
    names = list(found)
    *first, last = names or ["something else"]
    return f"{', '.join(first)} or {last}" if first else last


def _named(path: Path) -> str:
    """`worker.slots`, `targets[2].command`; the whole document has no name."""
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return repr(name.removeprefix(".")) if path else "the document"


def _inside(path: Path) -> str:
    return f" in {_named(path)}" if path else ""


def _shown(failure: _Failure) -> str:
    """The value as a person would say it. A secret is not shown."""
    value = failure.value
    if failure.secret:
        return "this"
    match value:
        case None:
            return "empty"
        case bool():
            return _word(value)
        case dict():
            return "a block of keys"
        case list():
            return "a list"
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _examples(schema: Mapping[str, Any]) -> str:
    examples = schema.get("examples")
    return f"write for example {_either(str(one) for one in examples)}" if examples else ""


def _first_sentence(schema: Any) -> str:
    text = schema.get("description", "") if isinstance(schema, Mapping) else ""
    return re.split(r"(?<=\.)\s", text)[0].removesuffix(".")
