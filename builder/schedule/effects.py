"""What the scheduler asks for. Performing an effect never waits and never calls back.

An `OperationView` is itself an effect: every client that waits for it is told.

Tuples: a frozen dataclass takes four times as long to make.
"""

from typing import NamedTuple

from builder.base.errors import Code
from builder.schedule.operation import OperationView
from builder.schedule.reasons import Reason
from builder.schedule.spec import ActionKey, Entry


class RefuseOperation(NamedTuple):
    """The action is not taken; the operation does not exist."""

    operation: str
    code: Code
    reason: Reason


class KeepResult(NamedTuple):
    """Write it to the action cache, then report ResultKept. `payload` is that of the action."""

    task: str
    key: ActionKey
    response: bytes
    payload: bytes = b""


class Remember(NamedTuple):
    """Write down that this operation was taken, for the case of a restart."""

    entry: Entry


class Forget(NamedTuple):
    """The operation has ended: a restart need not know it."""

    operation: str


class RefuseWorker(NamedTuple):
    session: str
    why: str


class WelcomeWorker(NamedTuple):
    """The worker is in; it must drop `unknown`, leases of its own that nobody wants any more."""

    session: str
    heartbeat_interval_s: float
    unknown: tuple[str, ...] = ()


class CloseSession(NamedTuple):
    """End the stream."""

    session: str
    why: str


class GrantLease(NamedTuple):
    """`memory_bytes` is what the slot has for it, if more than the usual; `note` goes into the
    result's message."""

    session: str
    lease: str
    attempt: int
    payload: bytes
    memory_bytes: int = 0
    note: str = ""
    order_s: float = 0.0  # its place in a backlog


class CancelLease(NamedTuple):
    session: str
    lease: str
    why: str


class RecallLease(NamedTuple):
    """Ask it back, unless it has been started."""

    session: str
    lease: str
    why: str


class Victim(NamedTuple):
    """A worker whose backlog has leases that another one may take."""

    worker: str
    address: str
    token: str
    leases: tuple[str, ...]


class IntroducePeers(NamedTuple):
    """Tell a worker with nothing to do whom it may ask for what."""

    session: str
    victims: tuple[Victim, ...]


class AcknowledgeLease(NamedTuple):
    """The result is taken, or nobody wants it: the worker may forget it."""

    session: str
    lease: str


class DrainWorker(NamedTuple):
    session: str
    grace_s: float
    why: str


class Explain(NamedTuple):
    """Something that people will ask about: a retry, a lost worker. For the log."""

    subject: str
    reason: Reason


Effect = (
    RefuseOperation
    | OperationView
    | KeepResult
    | Remember
    | Forget
    | RefuseWorker
    | WelcomeWorker
    | CloseSession
    | GrantLease
    | CancelLease
    | RecallLease
    | IntroducePeers
    | AcknowledgeLease
    | DrainWorker
    | Explain
)
