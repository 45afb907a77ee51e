"""Everything that the scheduler knows, in one place; and the effects of the event in hand.

The modules beside this one change it: `clients` for what clients do, `workers` for what workers do,
`dispatch` for who gets what, `attempts` for what comes of it. Nothing else does.
"""

from collections.abc import Iterable
from typing import NamedTuple

from builder.schedule.counters import Counters
from builder.schedule.deadlines import Deadlines
from builder.schedule.effects import Effect
from builder.schedule.finished import Finished
from builder.schedule.fleet import Fleet
from builder.schedule.lanes import Lane, Lanes
from builder.schedule.lease import Lease
from builder.schedule.nearness import Nearness
from builder.schedule.operation import Operation
from builder.schedule.platform import Offer
from builder.schedule.policy import Policy
from builder.schedule.quotas import Account
from builder.schedule.resources import MEMORY, Amounts, amounts
from builder.schedule.shares import Shares
from builder.schedule.sizes import Sizes
from builder.schedule.spec import ActionKey, ActionSpec
from builder.schedule.task import Task
from builder.schedule.warmth import Warmth


class Starting(NamedTuple):
    """Workers of one pool that are on their way, and when the first may be there; or why none."""

    workers: int
    ready_at: float
    trouble: str


class Books:
    __slots__ = (
        "accounts",
        "awake_at",
        "counters",
        "deadlines",
        "dirty",
        "effects",
        "finished",
        "fleet",
        "in_flight",
        "lanes",
        "leases",
        "least_urgent",
        "nearness",
        "now",
        "operations",
        "policy",
        "queued",
        "sequence",
        "shares",
        "shutting_down",
        "sizes",
        "starting",
        "tasks",
        "warmth",
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
        self.deadlines = Deadlines()
        self.finished = Finished(
            policy.finished_kept_s,
            policy.finished_kept,
            policy.finished_kept_bytes,
            self.deadlines,
        )
        self.leases: dict[str, Lease] = {}  # held by workers, or lost and perhaps still run
        self.least_urgent = 0  # the highest number of a priority that went into a backlog
        self.nearness = Nearness()
        self.warmth = Warmth()
        self.sizes = Sizes()
        self.counters = Counters()
        self.effects: list[Effect] = []
        self.dirty: list[Lane] = []  # that something has come into, and nobody has looked yet
        self.now = 0.0
        self.awake_at = 0.0  # when this process last came back from being held up
        self.starting: dict[str, Starting] = {}  # by pool
        self.queued = 0
        self.sequence = 0
        self.shutting_down = False

    def lane_of(self, task: Task) -> Lane:
        return self.lanes.numbered[task.lane]

    def add_task(self, name: str, spec: ActionSpec, lane: Lane, now: float) -> Task:
        """A new one, which is QUEUED and in no queue yet."""
        lane.tasks += 1
        self.sequence = sequence = self.sequence + 1
        priority = spec.priority
        order_s = now + priority * self.policy.age_s_per_priority
        share = self.shares.of(spec.client)
        task = Task(name, spec, lane.number, share, sequence, now, order_s, priority)
        if spec.avoid:
            task.avoid = spec.avoid
        self.tasks[name] = task
        return task

    def lane_for(self, spec: ActionSpec) -> Lane:
        """What is learned adds to what the client says, where somebody has as much."""
        size = self.sizes.known(spec.kind)
        if size is not None and size.need and self.policy.learn_sizes:
            said = {name for name, _ in spec.need}
            added = tuple(pair for pair in size.need if pair[0] not in said)
            return self._lane_with(spec, added)
        account = self.accounts.get(spec.key.instance) if self.accounts else None
        return self.lanes.of(spec.properties, spec.need, account)

    def _lane_with(self, spec: ActionSpec, added: Amounts) -> Lane:
        account = self.accounts.get(spec.key.instance)
        requirement, _ = self.lanes.requirement(spec.properties)
        lane = self.lanes.lane(requirement, amounts((*spec.need, *added)), account)
        if lane.classes:  # a pool only promises, and not how much
            return lane
        return self.lanes.of(spec.properties, spec.need, account)

    def make_do(self, task: Task) -> Lane:
        """Nobody is there for its lane: what is only learned may not keep it waiting."""
        account = self.accounts.get(task.spec.key.instance)
        return self._move(task, self.lanes.of(task.spec.properties, task.spec.need, account))

    def _move(self, task: Task, lane: Lane) -> Lane:
        self.lane_of(task).tasks -= 1
        lane.tasks += 1
        task.lane = lane.number
        return lane

    def enlarge(self, task: Task, memory_bytes: int) -> bool:
        """Give a task that is in no queue a lane with so much memory; false if nobody has it."""
        learned = self.sizes.need(task.spec.kind) if self.policy.learn_sizes else ()
        lane = self._lane_with(task.spec, (*learned, (MEMORY, memory_bytes)))
        said = (dict(kind.offer.capacity).get(MEMORY, 0) for kind in lane.classes)
        if dict(lane.need).get(MEMORY, 0) < memory_bytes or max(said, default=0) < memory_bytes:
            return False  # a worker that does not say how much it has promises no more than usual
        self._move(task, lane)
        return True

    def remove_task(self, task: Task) -> None:
        del self.tasks[task.id]
        self.lanes.numbered[task.lane].tasks -= 1
        key = task.spec.key
        last = self.in_flight.pop(key, None)
        if last is not None and last is not task:
            self.in_flight[key] = last
