"""Everything that the scheduler knows, in one place; and the effects of the event in hand.

The modules beside this one change it: `clients` for what clients do, `workers` for what workers do,
`dispatch` for who gets what, `attempts` for what comes of it. Nothing else does.
"""

from collections.abc import Iterable

from builder.schedule.counters import Counters
from builder.schedule.deadlines import Deadlines
from builder.schedule.effects import Effect
from builder.schedule.finished import Finished
from builder.schedule.fleet import Fleet
from builder.schedule.lanes import Lane, Lanes
from builder.schedule.lease import Lease
from builder.schedule.operation import Operation
from builder.schedule.platform import Offer
from builder.schedule.policy import Policy
from builder.schedule.spec import ActionKey
from builder.schedule.task import Task


class Books:
    __slots__ = (
        "counters",
        "deadlines",
        "dirty",
        "effects",
        "finished",
        "fleet",
        "in_flight",
        "lanes",
        "leases",
        "operations",
        "policy",
        "queued",
        "sequence",
        "shutting_down",
        "tasks",
    )

    def __init__(self, policy: Policy, pools: Iterable[Offer]) -> None:
        self.policy = policy
        self.fleet = Fleet()
        self.lanes = Lanes(pools, policy.strict_platform)
        self.tasks: dict[str, Task] = {}  # those without an end
        self.in_flight: dict[ActionKey, Task] = {}  # of them, those that others may join
        self.operations: dict[str, Operation] = {}
        self.finished = Finished(
            policy.finished_kept_s, policy.finished_kept, policy.finished_kept_bytes
        )
        self.leases: dict[str, Lease] = {}  # held by workers, or lost and perhaps still run
        self.deadlines = Deadlines()
        self.counters = Counters()
        self.effects: list[Effect] = []
        self.dirty: list[Lane] = []  # that something has come into, and nobody has looked yet
        self.queued = 0
        self.sequence = 0
        self.shutting_down = False

    def lane_of(self, task: Task) -> Lane:
        return self.lanes.lane(task.requirement)
