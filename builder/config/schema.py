"""Finding one's way in the configuration's JSON Schema."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from builder.base.document import Plain

Schema: TypeAlias = Mapping[str, Any]

REFERENCE = "#/$defs/"


def subschema(schema: Schema, path: Sequence[str | int]) -> Schema:
    """What the schema says about the value at this path; empty where it says nothing."""
    here = resolved(schema, schema)
    for step in path:
        child = here.get("properties", {}).get(step) if isinstance(step, str) else here.get("items")
        if child is None:
            child = here.get("additionalProperties")
        if not isinstance(child, Mapping):
            return {}
        here = resolved(schema, child)
    return here


def keys(schema: Schema, part: Schema | None = None, within: tuple[str, ...] = ()) -> Iterator[str]:
    """The dotted keys of all settings; a block inside itself (`within`) counts as one."""
    for name, child in (schema if part is None else part)["properties"].items():
        reference = child.get("$ref", "")
        child = resolved(schema, child)
        if "properties" in child and reference not in within:
            below = keys(schema, child, (*within, reference) if reference else within)
            yield from (f"{name}.{inner}" for inner in below)
        else:
            yield name


def resolved(schema: Schema, part: Schema) -> Schema:
    """The part itself with its `$ref` filled in; what stands beside the `$ref` wins."""
    reference = part.get("$ref")
    if reference is None:
        return part
    return {**schema["$defs"][reference.removeprefix(REFERENCE)], **part}


def coerced(text: str, part: Schema) -> Plain:
    """Text from the environment or a variable, as the type that the schema wants.

    What does not fit stays text, for the validation to say so.
    """
    kinds = part.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    listed = part.get("enum", [])
    if "string" in kinds or text in listed:
        return text
    if ("boolean" in kinds or True in listed) and text in ("true", "false"):
        return text == "true"
    for kind, convert in (("integer", int), ("number", float)):
        if kind in kinds:
            try:
                return convert(text)
            except ValueError:
                continue
    if "array" in kinds:
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


def obviously_fits(value: Plain, part: Schema) -> bool:
    """Whether a scalar is right at first glance; False only says that somebody must look closer.

    It spares a command line with a flag or two the import of jsonschema, a tenth of a second.
    """
    if not part:
        return False
    if "enum" in part:
        return any(
            value is item or (isinstance(item, str) and value == item) for item in part["enum"]
        )
    kinds = part.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(value, bool):
        return "boolean" in kinds
    if isinstance(value, int):
        least, most = part.get("minimum", -math.inf), part.get("maximum", math.inf)
        return "integer" in kinds and bool(least <= value <= most)
    if isinstance(value, str) and "string" in kinds and "maxLength" not in part:
        fits = re.search(part["pattern"], value) if "pattern" in part else value
        return bool(fits)
    return False
