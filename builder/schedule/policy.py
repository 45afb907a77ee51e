"""The numbers that the scheduler's decisions depend on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from builder.schedule.quotas import Quota


@dataclass(frozen=True, slots=True)
class Policy:
    """Plain values; the defaults suit a service for people who wait for their builds."""

    # A worker says what it runs at least this often.
    heartbeat_interval_s: float = 5.0
    # A worker that says nothing for so long is lost, and so are its leases.
    heartbeat_timeout_s: float = 15.0
    # A worker whose stream ended may come back within this time and keep its leases.
    reconnect_grace_s: float = 5.0
    # A client that went away may attach again (WaitExecution) within this time. Its running
    # action runs on; its queued action keeps its place but is not started for nobody.
    abandon_grace_s: float = 30.0
    # How many leases a worker gets beyond its slots, if it offers that and can be asked for them by
    # others: they wait in its backlog, and a worker with nothing to do takes some. 0: none.
    backlog: int = 0
    # How often one action may lose its worker or meet an infrastructure failure and run again.
    infrastructure_retries: int = 3
    # Whether an attempt that takes longer than hardly any of its kind ever did (twice that long;
    # once, if several clients wait for it), and no less than `hedge_after_s`, gets a second one
    # beside it, where a worker is free that nobody waits for. The first result counts.
    hedge: bool = False
    hedge_after_s: float = 10.0
    # What waits for so long for room gets a worker that takes nothing else until there is room.
    hold_after_s: float = 10.0
    # How long a failed worker gets nothing; doubles with each time in a row, up to 16 times.
    failed_rest_s: float = 30.0
    # Whether needs of memory and CPU are learned from the results of like actions, and an action
    # that was killed for memory runs once more on a larger slot.
    learn_sizes: bool = True
    # Before the first retry after an infrastructure failure; doubles with each one.
    retry_delay_s: float = 0.5
    # Lower runs sooner. One step of priority is worth this much waiting: an action of
    # priority p stands in the queue as if it had come p times as many seconds later, so
    # nothing starves and the order of one invocation's actions never changes.
    priorities: tuple[int, int] = (-100, 100)
    age_s_per_priority: float = 10.0
    # The weights of users, by name, where they are not 1. Among what is equally urgent users
    # get slots by their weights, and the invocations of one user get equal parts.
    shares: Mapping[str, float] = field(default_factory=dict)
    # What one instance may have at once, by name.
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    # An action of a user who has less than a fair share of the slots, and that has waited for so
    # long, may take one of a user who has more. 0: never.
    preempt_after_s: float = 0.0
    # How often one action may lose its slot so; then it runs to its end.
    preemptions: int = 3
    # Finished operations that GetOperation and WaitExecution still know.
    finished_kept_s: float = 3600.0
    finished_kept: int = 16_384
    finished_kept_bytes: int = 64 * 1024 * 1024
    # How long an action waits when the last worker that could serve it left and no configured
    # pool promises another.
    unserved_timeout_s: float = 300.0
    # Whether a property that no pool knows refuses the action; else it is ignored.
    strict_platform: bool = False
    most_queued: int = 1_000_000
    # Whether to say what a restart would have to know (effects Remember and Forget).
    remember: bool = False
