"""What has happened since the start, in numbers that only grow."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    submitted: int = 0  # operations taken
    merged: int = 0  # of them, those that joined an action in flight
    refused: int = 0
    granted: int = 0  # attempts
    succeeded: int = 0  # actions with exit code 0
    failed: int = 0  # actions with another result
    gave_up: int = 0  # actions that ran out of retries, or of workers
    cancelled: int = 0  # actions
    preempted: int = 0  # attempts that gave way to those of others
    enlarged: int = 0  # actions killed for memory that ran again on a larger slot
    hedged: int = 0  # second attempts beside slow ones
    hedges_won: int = 0  # of them, those that were first
    stolen: int = 0  # actions that went from one worker's backlog to another worker
    steals_refused: int = 0  # actions that a worker yielded to another which could not have them
    recalled: int = 0  # actions that were asked back from a backlog
    steals_attempted: int = 0  # calls from worker to worker, as the callers tell
    steals_succeeded: int = 0
    steals_empty: int = 0
    steals_failed: int = 0
    workers_lost: int = 0
    leases_lost: int = 0
    leases_returned: int = 0
    infrastructure_failures: int = 0
    late_results: int = 0  # taken from leases that were thought lost
    wait_s: float = 0.0  # from asking to the first attempt, summed
    served: int = 0  # leases that brought a result
    held_s: float = 0.0  # that those held their slots, summed
    execution_s: float = 0.0  # of the action's own processes, summed over results


@dataclass(slots=True)
class PoolCounters:
    """Of the actions that one configured pool is the first to serve."""

    arrived: int = 0  # actions that were not merged into another
    finished: int = 0  # leases that brought a result
    held_s: float = 0.0  # that those held their slots, summed
