"""What the scheduler asks for. Performing an effect never waits and never calls back."""

from dataclasses import dataclass

from builder.base.errors import Code
from builder.schedule.operation import OperationView
from builder.schedule.reasons import Reason
from builder.schedule.spec import ActionKey, Entry


@dataclass(frozen=True, slots=True)
class RefuseOperation:
    """The action is not taken; the operation does not exist."""

    operation: str
    code: Code
    reason: Reason


@dataclass(frozen=True, slots=True)
class UpdateOperation:
    """Tell every client that waits for it."""

    view: OperationView


@dataclass(frozen=True, slots=True)
class KeepResult:
    """Write it to the action cache, then report ResultKept."""

    task: str
    key: ActionKey
    response: bytes


@dataclass(frozen=True, slots=True)
class Remember:
    """Write down that this operation was taken, for the case of a restart."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Forget:
    """The operation has ended: a restart need not know it."""

    operation: str


@dataclass(frozen=True, slots=True)
class RefuseWorker:
    session: str
    why: str


@dataclass(frozen=True, slots=True)
class WelcomeWorker:
    """The worker is in; it must drop `unknown`, leases of its own that nobody wants any more."""

    session: str
    heartbeat_interval_s: float
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CloseSession:
    """End the stream."""

    session: str
    why: str


@dataclass(frozen=True, slots=True)
class GrantLease:
    """`memory_bytes` is what the slot has for it, if more than the usual; `note` goes into the
    result's message."""

    session: str
    lease: str
    attempt: int
    payload: bytes
    memory_bytes: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class CancelLease:
    session: str
    lease: str
    why: str


@dataclass(frozen=True, slots=True)
class AcknowledgeLease:
    """The result is taken, or nobody wants it: the worker may forget it."""

    session: str
    lease: str


@dataclass(frozen=True, slots=True)
class DrainWorker:
    session: str
    grace_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Explain:
    """Something that people will ask about: a retry, a lost worker. For the log."""

    subject: str
    reason: Reason


Effect = (
    RefuseOperation
    | UpdateOperation
    | KeepResult
    | Remember
    | Forget
    | RefuseWorker
    | WelcomeWorker
    | CloseSession
    | GrantLease
    | CancelLease
    | AcknowledgeLease
    | DrainWorker
    | Explain
)
