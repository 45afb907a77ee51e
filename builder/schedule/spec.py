"""What is to be run and what came of it, as the scheduler sees them."""

from dataclasses import dataclass
from typing import NamedTuple

from builder.schedule.platform import Properties
from builder.schedule.resources import Amounts


class ActionKey(NamedTuple):
    """What makes two actions one. The instance is part of it: instances share nothing."""

    instance: str
    function: str
    hash: str
    size_bytes: int


class Client(NamedTuple):
    """Who asked and for what, from RequestMetadata; any of it may be empty.

    `user` is whose token or certificate it was, or the address that the call came from.
    """

    tool: str = ""
    invocation: str = ""
    correlated: str = ""
    target: str = ""
    mnemonic: str = ""
    user: str = ""


NOBODY = Client()


@dataclass(slots=True)  # never changed; frozen takes three times as long to make
class ActionSpec:
    """An action as the scheduler sees it. `payload` is what a worker gets; never looked into.

    `root` is the hash of its inputs. Actions of one `kind` are alike: the same target and mnemonic,
    or else the same command.
    """

    key: ActionKey
    properties: Properties = ()
    priority: int = 0
    do_not_cache: bool = False
    skip_cache: bool = False
    client: Client = NOBODY
    payload: bytes = b""
    need: Amounts = ()
    root: str = ""
    kind: str = ""
    program: str = ""  # that stays for many actions and may serve it: its name
    own_memory: bool = False  # the client has set its limit of memory
    avoid: tuple[str, ...] = ()  # workers that shall not have it while others can


@dataclass(slots=True)  # never changed; frozen takes three times as long to make
class Outcome:
    """A worker's result. `response` is the serialized ExecuteResponse; never looked into."""

    response: bytes
    succeeded: bool  # exit code 0 and status OK
    infrastructure_failure: bool = False
    message: str = ""
    execution_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    out_of_memory: bool = False  # it was killed because it wanted more than its limit
    store_full: bool = False  # an infrastructure failure that is not the worker's
    cut: bool = False  # some of what it wrote is lost: not fit for the action cache


class Entry(NamedTuple):
    """An operation as a journal keeps it; those of one task share its execution."""

    operation: str
    task: str
    spec: ActionSpec
