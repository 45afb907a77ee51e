"""What an action says of a persistent worker that may serve it, as platform properties.

Bazel sends `persistentWorkerKey` with `--experimental_remote_mark_tool_inputs`
(`--experimental_mark_tool_inputs` before Bazel 6), and later ones `persistentWorkerProtocol` when
it is not the default; Bazel 7.7 does not. Rules may set the others by `exec_properties`; their
names are those of Bazel's execution requirements, but for `persistent-worker-tools`: the tool's
files (`tools/javac,lib/`) for clients that cannot mark inputs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from builder.base.digest import digest_of
from builder.base.errors import InvalidArgumentError

SUPPORTS = "supports-workers"
MULTIPLEX = "supports-multiplex-workers"
SANDBOXING = "supports-multiplex-sandboxing"
CANCELLATION = "supports-worker-cancellation"
PROTOCOL = "requires-worker-protocol"
KEY = "persistentWorkerKey"
KEY_PROTOCOL = "persistentWorkerProtocol"
TOOLS = "persistent-worker-tools"
PERSISTENT_PROPERTIES = frozenset(
    {SUPPORTS, MULTIPLEX, SANDBOXING, CANCELLATION, PROTOCOL, KEY, KEY_PROTOCOL, TOOLS}
)  # never used to choose a pool
ASKING = frozenset({SUPPORTS, MULTIPLEX, KEY})
SET = ("1", "true")
PROTO, JSON = "proto", "json"
TOOL_INPUT = "bazel_tool_input"  # the node property of inputs that belong to the tool


@dataclass(frozen=True, slots=True)
class Persistent:
    """`together`: it takes several requests at a time, each in a directory of its own. `tools`
    are the tool's files besides those that are marked, directories with a slash at their end.
    `name` is what the scheduler calls its programs (`known_as`)."""

    protocol: str = PROTO
    together: bool = False
    cancellable: bool = False
    key: str = ""
    tools: tuple[str, ...] = ()
    name: str = field(default="", compare=False, repr=False)


def persistent(
    properties: Iterable[tuple[str, str]], instance: str = "", mnemonic: str = ""
) -> Persistent | None:
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
        tuple(sorted(filter(None, given.get(TOOLS, "").split(",")))),
        known_as(given.items(), instance, mnemonic),
    )


def known_as(properties: Iterable[tuple[str, str]], instance: str, mnemonic: str) -> str:
    """What scheduler and workers call the programs that may serve an action, made of what both know
    of it: the client's key, else the mnemonic. Empty where none is asked for, or nothing is known.
    """
    asked = {name: value for name, value in properties if name in ASKING}
    if not asked:
        return ""
    wanted = any(asked.get(name) in SET for name in (SUPPORTS, MULTIPLEX))
    name = asked.get(KEY) or (mnemonic if wanted else "")
    return digest_of(f"{instance}\0{name}".encode(), "sha256").hash[:16] if name else ""


def _flag(given: dict[str, str], name: str) -> bool:
    text = given.get(name) or "0"
    if text not in ("0", "1", "false", "true"):
        raise InvalidArgumentError(f"property {name} is {text!r}: use 1 or 0")
    return text in SET
