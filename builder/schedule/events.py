"""What the scheduler may be told. A session is one stream of one worker."""

from typing import NamedTuple

from builder.schedule.fleet import WorkerInfo
from builder.schedule.spec import ActionSpec, Entry, Outcome


class ActionSubmitted(NamedTuple):
    """A client wants an action executed and waits for it under this new operation name."""

    operation: str
    spec: ActionSpec


class OperationsRestored(NamedTuple):
    """What a former coordinator had taken and not ended, in the order of asking."""

    entries: tuple[Entry, ...]


class ClientAttached(NamedTuple):
    """One more client waits for a known operation."""

    operation: str


class ClientDetached(NamedTuple):
    """One client less waits for it: it has gone, or it has its answer."""

    operation: str


class CancelRequested(NamedTuple):
    operation: str
    by: str = "its client"


class OperationDeleted(NamedTuple):
    """Nobody wants to hear of this finished operation again."""

    operation: str


class ResultKept(NamedTuple):
    """The action cache has the task's result (or could not take it: that is logged)."""

    task: str


class WorkerConnected(NamedTuple):
    session: str
    info: WorkerInfo
    running: tuple[str, ...] = ()  # leases that it still runs or has results of, or that wait


class WorkerDisconnected(NamedTuple):
    """The stream ended. The worker may come back."""

    session: str


class WorkerVanished(NamedTuple):
    """Somebody who knows (its provider) says that this worker is gone for good."""

    worker: str
    why: str


class WorkerDraining(NamedTuple):
    """The worker takes no more leases."""

    session: str
    why: str


class DrainRequested(NamedTuple):
    """Somebody wants the worker to finish within the grace, hand back the rest and leave."""

    worker: str
    grace_s: float
    why: str


class HeartbeatReceived(NamedTuple):
    session: str
    running: tuple[str, ...]
    cpu_fraction: float = 0.0
    memory_fraction: float = 0.0
    persistent_workers: int = 0
    waiting: tuple[str, ...] = ()  # of `running`, those not started
    steals: tuple[int, int, int, int] = (0, 0, 0, 0)  # attempted, succeeded, empty, failed


class LeaseProgressed(NamedTuple):
    session: str
    lease: str
    phase: str  # a verb for people: "fetches inputs"
    progress: bytes = b""


class LeaseFinished(NamedTuple):
    session: str
    lease: str
    outcome: Outcome


class LeaseReturned(NamedTuple):
    session: str
    lease: str
    why: str


class LeaseYielded(NamedTuple):
    """The worker had it in its backlog and gives it up: to another one, or because of a recall."""

    session: str
    lease: str
    thief: str = ""


class WorkersStarting(NamedTuple):
    """A pool tells how many of its workers are on their way, and how long they may still take."""

    pool: str
    workers: int
    ready_in_s: float


class ShutdownStarted(NamedTuple):
    """From now on no action is taken; what runs may finish."""


class TimePassed(NamedTuple):
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
    | LeaseYielded
    | WorkersStarting
    | ShutdownStarted
    | TimePassed
)
