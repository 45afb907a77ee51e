"""The life of a lease: one attempt of one action on one worker.

    WAITING --recall--> RECALLED
       |                   |
       `-------start-------+
                           v
    OFFERED --report--> RUNNING --finish--> FINISHED
       |                   |------return--> RETURNED
       |                   |------cancel--> CANCELLING --finish, return, expire--> CANCELLED
       `-----expire--------+--> LOST --finish--> FINISHED
                                 `---report--> RUNNING

Theory of operation. A lease is OFFERED when the worker is told of it and RUNNING when the worker
first reports it. It expires when the worker is gone or has not reported it for too long; then
another attempt may start. LOST is not the end: the worker may come back over a new stream and
still run it, or its result may have been on the wire. As long as the action has no result, either
is welcome and saves the other attempt. A worker has to stop a CANCELLING lease, whose slot stays
taken until it says that it has. A WAITING lease lies in its worker's backlog, beyond its slots, and
everything may befall it that befalls a running one; RECALLED, it comes back unless it has just been
started. What the worker says of that counts: it may tell of a lease that it waits. Every other pair
is a bug of ours, so it raises.
"""

from dataclasses import dataclass
from enum import Enum, auto

from builder.schedule.quotas import Account
from builder.schedule.resources import Amounts
from builder.schedule.shares import Share
from builder.schedule.sizes import Size


class LeaseState(Enum):
    __hash__ = object.__hash__  # Enum's own is a Python function, and these are keys of tables

    OFFERED = auto()
    WAITING = auto()
    RECALLED = auto()
    RUNNING = auto()
    CANCELLING = auto()
    LOST = auto()
    FINISHED = auto()
    RETURNED = auto()
    CANCELLED = auto()


class LeaseInput(Enum):
    __hash__ = object.__hash__

    REPORT = auto()
    START = auto()
    WAIT = auto()
    RECALL = auto()
    FINISH = auto()
    RETURN = auto()
    EXPIRE = auto()
    CANCEL = auto()


S, I = LeaseState, LeaseInput  # noqa: E741 - the table reads as one
TABLE = {
    (S.OFFERED, I.REPORT): S.RUNNING,
    (S.OFFERED, I.WAIT): S.WAITING,
    (S.OFFERED, I.FINISH): S.FINISHED,
    (S.OFFERED, I.RETURN): S.RETURNED,
    (S.OFFERED, I.EXPIRE): S.LOST,
    (S.OFFERED, I.CANCEL): S.CANCELLING,
    (S.WAITING, I.REPORT): S.WAITING,
    (S.WAITING, I.START): S.RUNNING,
    (S.WAITING, I.RECALL): S.RECALLED,
    (S.WAITING, I.FINISH): S.FINISHED,
    (S.WAITING, I.RETURN): S.RETURNED,
    (S.WAITING, I.EXPIRE): S.LOST,
    (S.WAITING, I.CANCEL): S.CANCELLING,
    (S.RECALLED, I.REPORT): S.RECALLED,
    (S.RECALLED, I.START): S.RUNNING,
    (S.RECALLED, I.FINISH): S.FINISHED,
    (S.RECALLED, I.RETURN): S.RETURNED,
    (S.RECALLED, I.EXPIRE): S.LOST,
    (S.RECALLED, I.CANCEL): S.CANCELLING,
    (S.RUNNING, I.REPORT): S.RUNNING,
    (S.RUNNING, I.WAIT): S.WAITING,
    (S.RUNNING, I.FINISH): S.FINISHED,
    (S.RUNNING, I.RETURN): S.RETURNED,
    (S.RUNNING, I.EXPIRE): S.LOST,
    (S.RUNNING, I.CANCEL): S.CANCELLING,
    (S.CANCELLING, I.REPORT): S.CANCELLING,
    (S.CANCELLING, I.FINISH): S.CANCELLED,
    (S.CANCELLING, I.RETURN): S.CANCELLED,
    (S.CANCELLING, I.EXPIRE): S.CANCELLED,
    (S.LOST, I.REPORT): S.RUNNING,
    (S.LOST, I.FINISH): S.FINISHED,
    (S.LOST, I.RETURN): S.RETURNED,
    (S.LOST, I.CANCEL): S.CANCELLED,
}
BACKLOG = frozenset({S.WAITING, S.RECALLED})  # beyond the slots of the worker
ACTIVE = frozenset({S.OFFERED, S.RUNNING}) | BACKLOG  # the attempt of its task
HELD = ACTIVE | {S.CANCELLING}  # a slot of the worker is taken, or a place in its backlog


class TransitionError(Exception):
    """A step that the table does not have: a bug of ours."""


@dataclass(slots=True)
class Lease:
    """`seen_at` is when the worker last reported it; seconds on the machine's clock.

    `share` pays for it while it counts as running, and was charged `cost_s` in advance. `size` is
    what is known of its kind.
    """

    id: str
    task: str
    worker: str
    attempt: int
    granted_at: float
    seen_at: float
    need: Amounts = ()
    account: Account | None = None
    share: Share | None = None
    cost_s: float = 0.0
    size: Size | None = None
    taken_from: str = ""  # the worker that had it in its backlog
    warm: bool = False  # its worker was chosen for the program that stays there
    state: LeaseState = LeaseState.OFFERED

    def step(self, received: LeaseInput) -> None:
        try:
            self.state = TABLE[self.state, received]
        except KeyError:
            raise TransitionError(f"{self} got {received}") from None
