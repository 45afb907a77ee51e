"""What an action says that it needs, as platform properties that choose no pool by themselves.

`EstimatedCPU` (`2`, `1500m`), `EstimatedMemory` (`2GB`, `2GiB`), `EstimatedFreeDiskBytes`, and
`resources:NAME` (`resources:gpu` = `1`) for anything that is counted: the names that BuildBuddy's
clients know. They are estimates for placing, not limits: those are in `reapi.limits`.
"""

import math
from collections.abc import Iterable

from builder.base.errors import InvalidArgumentError, UsageError
from builder.base.units import parse_size

ESTIMATED_CPU = "EstimatedCPU"
SIZES = {"EstimatedMemory": "memory", "EstimatedFreeDiskBytes": "disk"}
NAMED = "resources:"
MOST_PIECES = 1_000_000


def is_resource(name: str) -> bool:
    return name.startswith(NAMED) or name in SIZES or name == ESTIMATED_CPU


def resources_of(properties: Iterable[tuple[str, str]]) -> list[tuple[str, int]]:
    """Pairs of a resource and its amount: cpu in thousandths of a core, memory and disk in bytes.

    Raises InvalidArgumentError that names the property and its right form.
    """
    found = []
    for name, value in properties:
        if name == ESTIMATED_CPU:
            found.append(("cpu", _cpu(value)))
        elif name in SIZES:
            found.append((SIZES[name], _size(name, value)))
        elif name.startswith(NAMED):
            found.append((name.removeprefix(NAMED), _pieces(name, value)))
    return [(name, amount) for name, amount in found if amount]


def _cpu(text: str) -> int:
    try:
        milli = float(text[:-1]) if text.endswith("m") else float(text) * 1000
    except ValueError:
        milli = math.nan
    if not 0 <= milli < 1e9:
        raise InvalidArgumentError(
            f"property {ESTIMATED_CPU} is {text!r}: use cores, as 1.5, or thousandths, as 1500m"
        )
    return math.ceil(milli)


def _size(name: str, text: str) -> int:
    try:
        return max(parse_size(text), 0)
    except UsageError as error:
        raise InvalidArgumentError(f"property {name}: {error}") from None


def _pieces(name: str, text: str) -> int:
    if not name.removeprefix(NAMED):
        raise InvalidArgumentError(f"property {name!r} names no resource: use {NAMED}gpu")
    try:
        pieces = math.ceil(float(text))
    except (ValueError, OverflowError):
        pieces = -1
    if not 0 <= pieces <= MOST_PIECES:
        raise InvalidArgumentError(f"property {name} is {text!r}: use a count, as 1")
    return pieces
