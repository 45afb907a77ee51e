"""What the scheduler may be told. A session is one stream of one worker."""

from dataclasses import dataclass

from builder.schedule.fleet import WorkerInfo
from builder.schedule.spec import ActionSpec, Entry, Outcome


@dataclass(frozen=True, slots=True)
class ActionSubmitted:
    """A client wants an action executed and waits for it under this new operation name."""

    operation: str
    spec: ActionSpec


@dataclass(frozen=True, slots=True)
class OperationsRestored:
    """What a former coordinator had taken and not ended, in the order of asking."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class ClientAttached:
    """One more client waits for a known operation."""

    operation: str


@dataclass(frozen=True, slots=True)
class ClientDetached:
    """One client less waits for it: it has gone, or it has its answer."""

    operation: str


@dataclass(frozen=True, slots=True)
class CancelRequested:
    operation: str


@dataclass(frozen=True, slots=True)
class OperationDeleted:
    """Nobody wants to hear of this finished operation again."""

    operation: str


@dataclass(frozen=True, slots=True)
class ResultKept:
    """The action cache has the task's result (or could not take it: that is logged)."""

    task: str


@dataclass(frozen=True, slots=True)
class WorkerConnected:
    session: str
    info: WorkerInfo
    running: tuple[str, ...] = ()  # leases that it still runs or has results of


@dataclass(frozen=True, slots=True)
class WorkerDisconnected:
    """The stream ended. The worker may come back."""

    session: str


@dataclass(frozen=True, slots=True)
class WorkerVanished:
    """Somebody who knows (its provider) says that this worker is gone for good."""

    worker: str
    why: str


@dataclass(frozen=True, slots=True)
class WorkerDraining:
    """The worker takes no more leases."""

    session: str
    why: str


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Somebody wants the worker to finish within the grace, hand back the rest and leave."""

    worker: str
    grace_s: float
    why: str


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    session: str
    running: tuple[str, ...]
    cpu_fraction: float = 0.0
    memory_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class LeaseProgressed:
    session: str
    lease: str
    phase: str  # a verb for people: "fetches inputs"
    progress: bytes = b""


@dataclass(frozen=True, slots=True)
class LeaseFinished:
    session: str
    lease: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class LeaseReturned:
    session: str
    lease: str
    why: str


@dataclass(frozen=True, slots=True)
class ShutdownStarted:
    """From now on no action is taken; what runs may finish."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing but the time: `next_deadline` has come."""


Event = (
    ActionSubmitted
    | OperationsRestored
    | ClientAttached
    | ClientDetached
    | CancelRequested
    | OperationDeleted
    | ResultKept
    | WorkerConnected
    | WorkerDisconnected
    | WorkerVanished
    | WorkerDraining
    | DrainRequested
    | HeartbeatReceived
    | LeaseProgressed
    | LeaseFinished
    | LeaseReturned
    | ShutdownStarted
    | TimePassed
)
