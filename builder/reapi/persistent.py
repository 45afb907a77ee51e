"""What an action says of a persistent worker that may serve it, as platform properties.

Bazel sends `persistentWorkerKey` and, when it is not the default, `persistentWorkerProtocol` with
`--experimental_remote_mark_tool_inputs` (`--experimental_mark_tool_inputs` before Bazel 6). Rules
may set the others by `exec_properties`; their names are those of Bazel's execution requirements.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from builder.base.errors import InvalidArgumentError

SUPPORTS = "supports-workers"
MULTIPLEX = "supports-multiplex-workers"
SANDBOXING = "supports-multiplex-sandboxing"
CANCELLATION = "supports-worker-cancellation"
PROTOCOL = "requires-worker-protocol"
KEY = "persistentWorkerKey"
KEY_PROTOCOL = "persistentWorkerProtocol"
PERSISTENT_PROPERTIES = frozenset(
    {SUPPORTS, MULTIPLEX, SANDBOXING, CANCELLATION, PROTOCOL, KEY, KEY_PROTOCOL}
)  # never used to choose a pool
PROTO, JSON = "proto", "json"
TOOL_INPUT = "bazel_tool_input"  # the node property of inputs that belong to the tool


@dataclass(frozen=True, slots=True)
class Persistent:
    """`together`: it takes several requests at a time, each in a directory of its own."""

    protocol: str = PROTO
    together: bool = False
    cancellable: bool = False
    key: str = ""


def persistent(properties: Iterable[tuple[str, str]]) -> Persistent | None:
    """None where no worker is asked for. Raises InvalidArgumentError that names the property."""
    given = dict(properties)
    if not (given.get(KEY) or _flag(given, SUPPORTS) or _flag(given, MULTIPLEX)):
        return None
    name = PROTOCOL if PROTOCOL in given else KEY_PROTOCOL
    protocol = given.get(name) or PROTO
    if protocol not in (PROTO, JSON):
        raise InvalidArgumentError(f"property {name} is {protocol!r}: use {PROTO} or {JSON}")
    return Persistent(
        protocol,
        _flag(given, MULTIPLEX) and _flag(given, SANDBOXING),
        _flag(given, CANCELLATION),
        given.get(KEY, ""),
    )


def _flag(given: dict[str, str], name: str) -> bool:
    text = given.get(name) or "0"
    if text not in ("0", "1", "false", "true"):
        raise InvalidArgumentError(f"property {name} is {text!r}: use 1 or 0")
    return text in ("1", "true")
