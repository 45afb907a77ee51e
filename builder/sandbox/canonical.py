"""A spec as bytes: one form for equal specs, read back to an equal one, and known by its digest.

The bytes say all that an action may see and use, and nothing of the worker that runs it: its
places (`input_root`, `scratch`, the directories of an image's layers) are given apart, and who is
told of a dialogue's start is nobody else's affair. Two workers that enforce the same spec
therefore give the same digest, and each result carries that of the spec that held for it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from builder.base.errors import InvalidArgumentError
from builder.sandbox.interface import AuditLevel, Dialogue, Limits, Network, SandboxSpec

PLACES = frozenset({"input_root", "scratch", "layers"})
ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
LISTS = ("argv", "output_parents", "hosts", "outputs", "programs")
LIMITS = tuple(one.name for one in dataclasses.fields(Limits))
NAMES = tuple(one.name for one in dataclasses.fields(SandboxSpec) if one.name not in PLACES)


def plain(value: Any) -> Any:
    """As JSON can say it."""
    match value:
        case str() | tuple() | bool() | int() | None:  # as nearly all are
            return value
        case Enum():
            return value.value
        case frozenset():
            return sorted(value)
        case Mapping():
            return dict(value)
        case Limits():
            return {name: getattr(value, name) for name in LIMITS}
        case Dialogue():
            return [value.stdin, value.stdout]
    raise TypeError(f"{value!r} has no form in JSON")


def encoded(spec: SandboxSpec) -> bytes:
    """Equal specs give equal bytes, whatever order their parts were put together in."""
    values = {name: plain(getattr(spec, name)) for name in NAMES}
    return ENCODER.encode(values).encode()


def digest(spec: SandboxSpec) -> str:
    """SHA-256 of the bytes, in hexadecimal digits."""
    return hashlib.sha256(encoded(spec)).hexdigest()


def decoded(
    data: bytes, input_root: str, scratch: str, layers: tuple[str, ...] = ()
) -> SandboxSpec:
    """The spec of these bytes, at these places. Raises InvalidArgumentError for what `encoded`
    has not written."""
    try:
        found = json.loads(data)
        if sorted(found) != sorted(NAMES):
            raise ValueError(f"it has {', '.join(sorted(set(found) ^ set(NAMES)))} too much or not")
        found |= {name: tuple(found[name]) for name in LISTS}
        pipes = found["dialogue"]
        found |= {
            "network": Network(found["network"]),
            "limits": Limits(**found["limits"]),
            "required": frozenset(found["required"]),
            "audit": None if found["audit"] is None else AuditLevel(found["audit"]),
            "dialogue": None if pipes is None else Dialogue(pipes[0], pipes[1], unheard),
        }
        return SandboxSpec(input_root=input_root, scratch=scratch, layers=layers, **found)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise InvalidArgumentError(f"this is no sandbox spec: {error}") from None


def unheard(_pid: int) -> None:
    """Of a decoded spec nobody is told."""
