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
from builder.schedule.quotas import Account
from builder.schedule.shares import Shares
from builder.schedule.spec import ActionKey, ActionSpec
from builder.schedule.task import Task


class Books:
    __slots__ = (
        "accounts",
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
        "shares",
        "shutting_down",
        "tasks",
    )

    def __init__(self, policy: Policy, pools: Iterable[Offer]) -> None:
        self.policy = policy
        self.fleet = Fleet()
        self.lanes = Lanes(pools, policy.strict_platform)
        self.shares = Shares(policy.shares)
        self.accounts = {name: Account(name, quota) for name, quota in policy.quotas.items()}
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
        return self.lanes.numbered[task.lane]

    def add_task(self, name: str, spec: ActionSpec, now: float) -> Task:
        """A new one, which is QUEUED and in no queue yet."""
        requirement, _ = self.lanes.requirement(spec.properties)
        lane = self.lanes.lane(requirement, spec.need, self.accounts.get(spec.key.instance))
        lane.tasks += 1
        self.sequence += 1
        task = Task(
            name,
            spec,
            lane.number,
            self.shares.of(spec.client),
            self.sequence,
            now,
            now + spec.priority * self.policy.age_s_per_priority,
            spec.priority,
        )
        self.tasks[name] = task
        if not spec.do_not_cache:
            self.in_flight.setdefault(spec.key, task)
        return task

    def remove_task(self, task: Task) -> None:
        del self.tasks[task.id]
        self.lane_of(task).tasks -= 1
        if self.in_flight.get(task.spec.key) is task:
            del self.in_flight[task.spec.key]
