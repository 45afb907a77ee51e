"""The life of a task: one action that is to be run once, for one client or for several.

    QUEUED --grant--> EXECUTING --result--> KEEPING --kept--> DONE
      |  ^              |  |
      |  `-----lose-----'  `--delay--> DELAYED --ready--> QUEUED
      |--leave--> HELD --come_back--> QUEUED

Theory of operation. A QUEUED task stands in exactly one queue. While nobody attends it, it is HELD:
it keeps its place in the order but is not started. A task whose attempt failed through no fault of
its own is QUEUED again, or DELAYED for a while. In KEEPING the result is there and is being written
to the action cache. A late result or a returning worker ends or revives a task wherever it waits.
`end` is a cancellation or an error of ours; it may come at any time before the result.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

from builder.schedule.lease import Lease, TransitionError
from builder.schedule.operation import Operation
from builder.schedule.shares import Share
from builder.schedule.spec import ActionSpec, Outcome


class TaskState(Enum):
    __hash__ = object.__hash__  # Enum's own is a Python function, and these are keys of tables

    QUEUED = auto()
    HELD = auto()
    DELAYED = auto()
    EXECUTING = auto()
    KEEPING = auto()
    DONE = auto()


class TaskInput(Enum):
    __hash__ = object.__hash__

    GRANT = auto()
    LEAVE = auto()
    COME_BACK = auto()
    LOSE = auto()
    DELAY = auto()
    READY = auto()
    REVIVE = auto()
    RESULT = auto()
    KEPT = auto()
    END = auto()


S, I = TaskState, TaskInput  # noqa: E741 - the table reads as one
TABLE = {
    (S.QUEUED, I.GRANT): S.EXECUTING,
    (S.QUEUED, I.LEAVE): S.HELD,
    (S.QUEUED, I.REVIVE): S.EXECUTING,
    (S.QUEUED, I.RESULT): S.KEEPING,
    (S.QUEUED, I.END): S.DONE,
    (S.HELD, I.COME_BACK): S.QUEUED,
    (S.HELD, I.REVIVE): S.EXECUTING,
    (S.HELD, I.RESULT): S.KEEPING,
    (S.HELD, I.END): S.DONE,
    (S.DELAYED, I.READY): S.QUEUED,
    (S.DELAYED, I.REVIVE): S.EXECUTING,
    (S.DELAYED, I.RESULT): S.KEEPING,
    (S.DELAYED, I.END): S.DONE,
    (S.EXECUTING, I.LOSE): S.QUEUED,
    (S.EXECUTING, I.DELAY): S.DELAYED,
    (S.EXECUTING, I.RESULT): S.KEEPING,
    (S.EXECUTING, I.END): S.DONE,
    (S.KEEPING, I.KEPT): S.DONE,
}
WAITING = frozenset({S.QUEUED, S.HELD, S.DELAYED})


@dataclass(slots=True)
class Task:
    """`sequence` orders tasks of one moment; `order_s` is the place in the queue.

    `lane` is the number of the lane that it belongs to, `share` whose turn it takes.
    """

    id: str
    spec: ActionSpec
    lane: int
    share: Share
    sequence: int
    queued_at: float
    order_s: float
    priority: int
    state: TaskState = TaskState.QUEUED
    operations: list[Operation] = field(default_factory=list)  # those not ended yet
    attended: int = 0  # how many of them a client waits for
    entry: "tuple[float, int, int, Task] | None" = None  # its place in a queue
    lease: Lease | None = None
    hedge: Lease | None = None  # a second attempt beside a slow one
    attempt: int = 0
    faults: tuple[str, ...] = ()
    preempted: int = 0
    note: str = ""  # for the result: that it was killed for memory before
    avoid: tuple[str, ...] = ()  # workers that failed it, or that its client wants to be without
    hosts: tuple[str, ...] = ()  # of workers that failed it
    lost: tuple[Lease, ...] = ()  # perhaps still run somewhere
    phase: str = ""
    progress: bytes = b""
    outcome: Outcome | None = None

    def forget(self, lease: Lease) -> None:
        """It is not lost any more, or of no use."""
        self.lost = tuple(one for one in self.lost if one is not lease)

    def step(self, received: TaskInput) -> None:
        try:
            self.state = TABLE[self.state, received]
        except KeyError:
            raise TransitionError(f"task {self.id} is {self.state} and got {received}") from None
