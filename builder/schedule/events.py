"""What the scheduler may be told. A session is one stream of one worker.

Not frozen, and no tuples: four of them come with each action, and either takes four times as long
to make.
"""

from dataclasses import dataclass

from builder.schedule.fleet import WorkerInfo
from builder.schedule.spec import ActionSpec, Entry, Outcome


@dataclass(slots=True)
class ActionSubmitted:
    """A client wants an action executed and waits for it under this new operation name."""

    operation: str
    spec: ActionSpec


@dataclass(slots=True)
class OperationsRestored:
    """What a former coordinator had taken and not ended, in the order of asking."""

    entries: tuple[Entry, ...]


@dataclass(slots=True)
class ClientAttached:
    """One more client waits for a known operation."""

    operation: str


@dataclass(slots=True)
class ClientDetached:
    """One client less waits for it: it has gone, or it has its answer."""

    operation: str


@dataclass(slots=True)
class CancelRequested:
    operation: str
    by: str = "its client"


@dataclass(slots=True)
class OperationDeleted:
    """Nobody wants to hear of this finished operation again."""

    operation: str


@dataclass(slots=True)
class ResultKept:
    """The action cache has the task's result (or could not take it: that is logged)."""

    task: str


@dataclass(slots=True)
class WorkerConnected:
    session: str
    info: WorkerInfo
    running: tuple[str, ...] = ()  # leases that it still runs or has results of, or that wait


@dataclass(slots=True)
class WorkerDisconnected:
    """The stream ended. The worker may come back."""

    session: str


@dataclass(slots=True)
class WorkerVanished:
    """Somebody who knows (its provider) says that this worker is gone for good."""

    worker: str
    why: str


@dataclass(slots=True)
class WorkerDraining:
    """The worker takes no more leases."""

    session: str
    why: str


@dataclass(slots=True)
class DrainRequested:
    """Somebody wants the worker to finish within the grace, hand back the rest and leave."""

    worker: str
    grace_s: float
    why: str


@dataclass(slots=True)
class HeartbeatReceived:
    session: str
    running: tuple[str, ...]
    cpu_fraction: float = 0.0
    memory_fraction: float = 0.0
    persistent_workers: int = 0
    waiting: tuple[str, ...] = ()  # of `running`, those not started
    steals: tuple[int, int, int, int] = (0, 0, 0, 0)  # attempted, succeeded, empty, failed
    programs: tuple[str, ...] = ()  # the names of those that stay


@dataclass(slots=True)
class LeaseProgressed:
    session: str
    lease: str
    phase: str  # a verb for people: "fetches inputs"
    progress: bytes = b""


@dataclass(slots=True)
class LeaseFinished:
    session: str
    lease: str
    outcome: Outcome


@dataclass(slots=True)
class LeaseReturned:
    session: str
    lease: str
    why: str


@dataclass(slots=True)
class LeaseYielded:
    """The worker had it in its backlog and gives it up: to another one, or because of a recall."""

    session: str
    lease: str
    thief: str = ""


@dataclass(slots=True)
class WorkersStarting:
    """A pool tells how many of its workers are on their way, and how long they may still take;
    and a sentence, while its provider gives it none."""

    pool: str
    workers: int
    ready_in_s: float
    trouble: str = ""


@dataclass(slots=True)
class ShutdownStarted:
    """From now on no action is taken; what runs may finish."""


@dataclass(slots=True)
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
    | LeaseYielded
    | WorkersStarting
    | ShutdownStarted
    | TimePassed
)
