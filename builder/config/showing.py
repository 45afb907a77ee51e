"""Settings as text again: every value as a person would write it, secrets hidden."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from builder.base.document import Path, parse
from builder.base.problems import DocumentError
from builder.config.filling import kind_of, plain_hint
from builder.config.kinds import HIDDEN, Address, Kind, Secret
from builder.config.loading import Origins, dotted, origin_of
from builder.config.settings import Settings
from builder.config.storage import StoreTree

SECRET_NAME = re.compile(r"token|secret|passw|credential|_key$", re.IGNORECASE)
UNITS_OF_TIME = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
UNITS_OF_SIZE = (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))
COMMENT_COLUMN = 44


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting: `value` is plain (None: not set), `origin` says where it was set."""

    path: Path
    value: Any
    origin: str


def shown(settings: Settings, origins: Origins) -> list[Shown]:
    """Every setting in the order of the schema."""
    return [
        Shown(path, value, origin_of(origins, path)) for path, value in _leaves(settings, None, ())
    ]


def as_yaml(settings: Settings, origins: Origins) -> str:
    """A config file that says the same, with the origin of each value as a comment."""
    found = shown(settings, origins)
    alive = {one.path[:n] for one in found if one.value is not None for n in range(len(one.path))}
    lines: list[str] = []
    opened: set[Path] = set()
    for one in found:
        depth = max(n for n in range(len(one.path)) if one.path[:n] in alive)
        for n in range(1, depth + 1):
            if one.path[:n] not in opened:
                opened.add(one.path[:n])
                lines.append(f"{'  ' * (n - 1)}{one.path[n - 1]}:")
        name = dotted(one.path[depth:])
        if one.value is None:
            lines.append(_commented(f"{'  ' * depth}# {name}:", "not set"))
        else:
            lines.append(_commented(f"{'  ' * depth}{name}: {_flow(one.value)}", one.origin))
    return "\n".join(lines) + "\n"


def as_json(settings: Settings, origins: Origins) -> str:
    """One object: dotted key -> value and origin."""
    entries = {
        dotted(one.path): {"value": one.value, "origin": one.origin}
        for one in shown(settings, origins)
    }
    return json.dumps(entries, indent=2)


def duration_text(seconds: float) -> str:
    """Exactly this time, as short as it goes: `500ms`, `90s` is `1m30s`."""
    milliseconds = round(seconds * 1000)
    if abs(milliseconds / 1000 - seconds) > 1e-9:
        return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
    whole, rest = divmod(milliseconds, 1000)
    parts = []
    for unit, length in UNITS_OF_TIME:
        count, whole = divmod(whole, length)
        parts += [f"{count}{unit}"] if count else []
    parts += [f"{rest}ms"] if rest else []
    return "".join(parts) or "0s"


def size_text(size_bytes: int) -> str:
    """Exactly this size, in the largest unit that divides it."""
    for unit, length in UNITS_OF_SIZE:
        if size_bytes and size_bytes % length == 0:
            return f"{size_bytes // length}{unit}"
    return str(size_bytes)


def _leaves(value: Any, hint: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Of a store that is one of many kinds, the kind that it is."""
    if is_dataclass(value) and not isinstance(value, Address | Secret):
        hints = get_type_hints(type(value), include_extras=True)
        for one in fields(value):
            if not (isinstance(value, StoreTree) and getattr(value, one.name) is None):
                yield from _leaves(getattr(value, one.name), hints[one.name], (*path, one.name))
    else:
        yield path, _plain(value, hint)


def _plain(value: Any, hint: Any) -> Any:
    match value:
        case None | bool() | str():
            return value
        case Address() | Secret():
            return str(value)
        case tuple():
            return [_plain(item, None) for item in value]
        case Mapping():
            return {k: HIDDEN if SECRET_NAME.search(k) else str(v) for k, v in value.items()}
        case int() | float():
            return _number(value, kind_of(plain_hint(hint)))
    hints = get_type_hints(type(value), include_extras=True)
    set_ = ((one.name, getattr(value, one.name)) for one in fields(value))
    return {name: _plain(inner, hints[name]) for name, inner in set_ if inner is not None}


def _number(value: float, kind: Kind | None) -> Any:
    match kind:
        case Kind.DURATION:
            return duration_text(value)
        case Kind.SIZE:
            return size_text(int(value))
    return value


def _flow(value: Any) -> str:
    """The value in YAML, on one line."""
    match value:
        case list():
            return f"[{', '.join(map(_flow, value))}]"
        case dict():
            return f"{{{', '.join(f'{_key(k)}: {_flow(v)}' for k, v in value.items())}}}"
        case str():
            return _text(value.replace("${", "$${"))
    return json.dumps(value)


def _text(text: str) -> str:
    return text if _is_plain(text) else _quoted(text)


def _key(text: str) -> str:
    """A bare `<<` would merge blocks (YAML 1.1, merge keys)."""
    return _quoted(text) if text == "<<" else _text(text)


def _is_plain(text: str) -> bool:
    """Whether YAML reads the bare text as this very text, inside of brackets and outside."""
    try:
        return parse(f"a: {text}\nb: [{text}]", "").value == {"a": text, "b": [text]}
    except DocumentError:
        return False


def _quoted(text: str) -> str:
    """In double quotes, with YAML's escapes: JSON's pairs of surrogates are none of them."""
    inside = (
        f"\\{char}" if char in '"\\' else char if " " <= char <= "~" else f"\\U{ord(char):08X}"
        for char in text
    )
    return f'"{"".join(inside)}"'


def _commented(line: str, comment: str) -> str:
    return f"{line:<{COMMENT_COLUMN}}  # {comment}"
