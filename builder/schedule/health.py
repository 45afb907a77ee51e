"""How well a worker does, and how much it is trusted with.

    HEALTHY --fault, strained--> DEGRADED --fault--> FAILING --fault--> FAILED
       ^                            |                   |                 |  ^
       `-------good, eased----------'<------good--------'       rested, good |
       `----------------------------good---------------- RECOVERING <-----'  |
                                                             `-----fault-----'

Theory of operation. A fault is an attempt that failed through no fault of its action; the same
action again, or one that has failed elsewhere too, says nothing about the worker. A DEGRADED worker
is the last choice, a FAILING one gets one action at a time, a FAILED one gets none until it has
rested, longer each time, and then a RECOVERING one has to bring one good result. A worker is
strained while its host's memory is nearly full.
"""

from enum import Enum, auto


class Health(Enum):
    __hash__ = object.__hash__  # Enum's own is a Python function, and these are keys of tables

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    FAILING = "failing"
    FAILED = "failed"
    RECOVERING = "recovering"


class HealthInput(Enum):
    __hash__ = object.__hash__

    GOOD = auto()
    FAULT = auto()
    STRAINED = auto()
    EASED = auto()
    RESTED = auto()


S, I = Health, HealthInput  # noqa: E741 - the table reads as one
TABLE = {  # what is not here changes nothing
    (S.HEALTHY, I.FAULT): S.DEGRADED,
    (S.HEALTHY, I.STRAINED): S.DEGRADED,
    (S.DEGRADED, I.GOOD): S.HEALTHY,
    (S.DEGRADED, I.EASED): S.HEALTHY,
    (S.DEGRADED, I.FAULT): S.FAILING,
    (S.FAILING, I.GOOD): S.DEGRADED,
    (S.FAILING, I.FAULT): S.FAILED,
    (S.FAILED, I.GOOD): S.RECOVERING,
    (S.FAILED, I.RESTED): S.RECOVERING,
    (S.RECOVERING, I.GOOD): S.HEALTHY,
    (S.RECOVERING, I.FAULT): S.FAILED,
}
ONE_AT_A_TIME = frozenset({S.FAILING, S.RECOVERING})
STRAINED_FROM = 0.95  # of the host's memory
EASED_FROM = 0.90


def after(state: Health, received: HealthInput) -> Health:
    return TABLE.get((state, received), state)


def room(state: Health, slots: int, backlog: int = 0) -> int:
    """How many leases such a worker may hold, those in its backlog included."""
    if state is Health.FAILED:
        return 0
    if state is Health.HEALTHY:
        return slots + backlog
    return 1 if state in ONE_AT_A_TIME else slots
