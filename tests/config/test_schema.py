"""The schema and the dataclasses say the same, both ways."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from jsonschema import Draft202012Validator

from builder.base.digest import HASHERS
from builder.base.document import Document
from builder.base.units import parse_duration, parse_size
from builder.base.validation import validate
from builder.config.filling import default_of, kind_of, loaded, plain_hint
from builder.config.kinds import Address, Kind, Secret, parse_address
from builder.config.schema import coerced, obviously_fits, resolved, subschema
from builder.config.settings import DigestFunction, Settings
from builder.host.resources import schema

SCHEMA = schema("config.schema.json")


def sections(
    cls: type, part: Mapping[str, Any], path: str, within: tuple[type, ...] = ()
) -> Iterator[tuple[str, type, Any]]:
    """Every dataclass with the schema of the block that fills it; one inside itself once."""
    yield path, cls, part
    for name, hint in get_type_hints(cls, include_extras=True).items():
        inner = loaded(plain_hint(hint))
        child = resolved(SCHEMA, part["properties"][name]) if name in part["properties"] else {}
        if get_origin(inner) is tuple:
            inner, child = get_args(inner)[0], resolved(SCHEMA, child.get("items", {}))
        if is_dataclass(inner) and inner not in (Address, Secret, *within):
            assert isinstance(inner, type)
            yield from sections(inner, child, f"{path}.{name}".removeprefix("."), (*within, cls))


SECTIONS = list(sections(Settings, SCHEMA, ""))
LEAVES = [
    pytest.param(cls, one, hint, part["properties"][one.name], id=f"{path}.{one.name}".strip("."))
    for path, cls, part in SECTIONS
    for one, hint in zip(
        fields(cls), get_type_hints(cls, include_extras=True).values(), strict=True
    )
    if one.name in part["properties"]
]


def test_the_schema_is_a_schema() -> None:
    """It is valid itself, of the draft that it names."""
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(("path", "cls", "part"), SECTIONS, ids=[s[0] for s in SECTIONS])
def test_every_key_has_a_field_and_every_field_a_key(path: str, cls: type, part: Any) -> None:
    """In the same order, with the same ones required, and nothing else allowed."""
    assert [one.name for one in fields(cls)] == list(part["properties"])
    required = [
        one.name for one in fields(cls) if one.default is MISSING and one.default_factory is MISSING
    ]
    assert required == part.get("required", [])
    assert part["additionalProperties"] is False
    assert part["type"] == "object"


def parts(part: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, child in part.get("properties", {}).items():
        yield f"{path}.{name}".removeprefix("."), child
        yield from parts(child, f"{path}.{name}")
    if isinstance(part.get("items"), dict):
        yield from parts(part["items"], f"{path}[]")
    for name, child in part.get("$defs", {}).items():
        yield f"$defs.{name}", child
        yield from parts(child, f"$defs.{name}")


def test_every_key_is_described() -> None:
    """With a sentence that an editor can show."""
    bad = [
        path
        for path, part in parts(SCHEMA, "")
        if not re.fullmatch(r"([A-Z`]).{4,}[.)]", part.get("description", ""))
    ]
    assert bad == []


@pytest.mark.parametrize(("cls", "one", "hint", "part"), LEAVES)
def test_defaults_are_equal(cls: type, one: Any, hint: Any, part: Mapping[str, Any]) -> None:
    """A default stands in both, or in neither."""
    default = default_of(one)
    if "default" not in part:
        nothing = default in (None, MISSING, {}) or is_dataclass(default)
        assert nothing, f"the schema lacks the default {default!r}"
        return
    assert validate(Document({one.name: part["default"]}, "", "", None), wrapped(one, part)) == []
    assert value_of(plain_hint(hint), part["default"]) == default


def wrapped(one: Any, part: Mapping[str, Any]) -> dict[str, Any]:
    return {"properties": {one.name: part}, "$defs": SCHEMA["$defs"]}


def value_of(hint: Any, text: Any) -> Any:
    match kind_of(hint):
        case Kind.DURATION:
            return parse_duration(text)
        case Kind.SIZE:
            return parse_size(text)
    if hint is Address:
        return parse_address(text)
    return tuple(text) if get_origin(hint) is tuple else text


@pytest.mark.parametrize(("cls", "one", "hint", "part"), LEAVES)
def test_types_are_equal(cls: type, one: Any, hint: Any, part: Mapping[str, Any]) -> None:
    """The kind of a field is the kind that the schema lets through."""
    assert kind_in_schema(part) == kind_in_python(loaded(plain_hint(hint)))


def kind_in_python(hint: Any) -> Any:
    if kind := kind_of(hint):
        return kind.value
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return ("list", "section" if is_dataclass(inner) else kind_in_python(inner))
    if get_origin(hint) is Mapping or hint == Mapping[str, str]:
        return "map"
    if is_dataclass(hint):
        return {Address: "address", Secret: "secret"}.get(hint, "section")
    return {bool: "boolean", int: "integer", float: "number", str: "string"}[hint]


def kind_in_schema(part: Mapping[str, Any]) -> Any:
    reference = part.get("$ref", "").removeprefix("#/$defs/")
    if reference in ("duration", "size", "path", "secret"):
        return reference
    if reference in ("address", "endpoint"):
        return "address"
    part = resolved(SCHEMA, part)
    if "enum" in part:
        return part["enum"]
    if part["type"] == "array":
        return ("list", kind_in_schema(part["items"]))
    if part["type"] == "object":
        return "section" if "properties" in part else "map"
    return part["type"]


def test_every_digest_function_can_be_configured() -> None:
    """And no other."""
    assert set(get_args(DigestFunction)) == HASHERS.keys()


def test_examples_are_valid() -> None:
    """What the schema shows as right is right."""
    for path, part in parts(SCHEMA, ""):
        for example in part.get("examples", []):
            schema_ = {"properties": {"it": part}, "$defs": SCHEMA["$defs"]}
            assert validate(Document({"it": example}, "", "", None), schema_) == [], path


def test_the_file_is_formatted_as_json() -> None:
    """Two blanks, no trailing ones, a newline at the end."""
    text = (Path(__file__).parents[2] / "schema" / "config.schema.json").read_text()
    assert json.loads(text) == SCHEMA
    assert text.endswith("}\n")
    assert all(line == line.rstrip() for line in text.splitlines())


def test_finding_a_part() -> None:
    """A path leads through references, lists and free keys; nowhere is empty."""
    assert subschema(SCHEMA, ("pool", "min"))["type"] == "integer"
    assert subschema(SCHEMA, ("providers", "k8s", "requests", "cpu"))["type"] == "string"
    assert subschema(SCHEMA, ("auth", "tokens", 0, "token"))["writeOnly"] is True
    assert subschema(SCHEMA, ("worker", "platform", "gpu"))["type"] == "string"
    assert subschema(SCHEMA, ("nope", "deeper")) == {}


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("4", ("pool", "min"), 4),
        ("x", ("pool", "min"), "x"),
        ("0.5", ("pool", "alpha"), 0.5),
        ("true", ("insecure",), True),
        ("false", ("insecure",), False),
        ("true", ("client", "remote"), True),
        ("local", ("client", "remote"), "local"),
        ("5", ("worker", "name"), "5"),
        ("9001", ("reapi", "listen"), "9001"),
        ("a, b", ("client", "targets"), ["a", "b"]),
        ("debug", ("logging", "level"), "debug"),
    ],
)
def test_text_becomes_what_the_schema_wants(text: str, path: Any, value: Any) -> None:
    """Only what fits; the rest stays text for the validation to refuse."""
    found = coerced(text, subschema(SCHEMA, path))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (path, value)
        for path in (
            ("pool", "min"),
            ("pool", "alpha"),
            ("client", "remote"),
            ("insecure",),
            ("worker", "name"),
            ("worker", "coordinator"),
            ("reapi", "listen"),
            ("logging", "level"),
            ("store", "max_size"),
            ("nope",),
        )
        for value in (-1, 0, 1, 0.5, True, False, "", "a", "1", "local", "h:1", "1G", [], None)
    ],
)
def test_the_glance_never_lets_pass_what_the_schema_refuses(path: Any, value: Any) -> None:
    """`obviously_fits` may doubt what is right, but passes nothing wrong."""
    part = subschema(SCHEMA, path)
    if obviously_fits(value, part):
        schema_ = {"properties": {"it": part}, "$defs": SCHEMA["$defs"]}
        assert validate(Document({"it": value}, "", "", None), schema_) == []
