"""Why an action is where it is: a name for machines and a sentence for people.

Nothing waits silently: whatever is queued, retried, refused or cancelled has one of these.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from builder.base.errors import Code


class ReasonCode(Enum):
    __hash__ = object.__hash__  # Enum's own is a Python function

    # asked for, and not looked at yet
    ASKED = "asked"
    # waiting
    ALL_BUSY = "all-busy"
    NO_WORKER = "no-worker"
    CLIENT_AWAY = "client-away"
    RETRY_DELAY = "retry-delay"
    QUOTA_USED = "quota-used"
    # running
    IN_BACKLOG = "in-backlog"
    RUNNING = "running"
    STORING_RESULT = "storing-result"
    # run again
    WORKER_LOST = "worker-lost"
    WORKER_HEALTH = "worker-health"
    OUT_OF_MEMORY = "out-of-memory"
    LEASE_RETURNED = "lease-returned"
    PREEMPTED = "preempted"
    HEDGED = "hedged"
    INFRASTRUCTURE_FAILURE = "infrastructure-failure"
    # refused
    NO_MATCH = "no-match"
    PRIORITY_OUT_OF_RANGE = "priority-out-of-range"
    QUEUE_FULL = "queue-full"
    QUOTA_FULL = "quota-full"
    SHUTTING_DOWN = "shutting-down"
    UNKNOWN_OPERATION = "unknown-operation"
    # ended
    FINISHED = "finished"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    RETRIES_EXHAUSTED = "retries-exhausted"


CODES = {
    ReasonCode.NO_MATCH: Code.FAILED_PRECONDITION,
    ReasonCode.PRIORITY_OUT_OF_RANGE: Code.INVALID_ARGUMENT,
    ReasonCode.QUEUE_FULL: Code.RESOURCE_EXHAUSTED,
    ReasonCode.QUOTA_FULL: Code.RESOURCE_EXHAUSTED,
    ReasonCode.SHUTTING_DOWN: Code.UNAVAILABLE,
    ReasonCode.UNKNOWN_OPERATION: Code.NOT_FOUND,
    ReasonCode.CANCELLED: Code.CANCELLED,
    ReasonCode.ABANDONED: Code.CANCELLED,
    # Bazel runs UNAVAILABLE and ABORTED again by itself; this action has had its retries.
    ReasonCode.RETRIES_EXHAUSTED: Code.INTERNAL,
}


class Reason(NamedTuple):
    """`text` is the sentence, or makes it of the parts: most are made and never read."""

    code: ReasonCode
    text: str | Callable[..., str]
    parts: tuple[object, ...] = ()

    @property
    def sentence(self) -> str:
        return self.text if isinstance(self.text, str) else self.text(*self.parts)


FINISHED = Reason(ReasonCode.FINISHED, "has its result")
STORING_RESULT = Reason(ReasonCode.STORING_RESULT, "has its result; the action cache takes it")
UNKNOWN_OPERATION = Reason(
    ReasonCode.UNKNOWN_OPERATION,
    "no such operation is known here: it never was, or it ended too long ago; execute again",
)
CLIENT_AWAY = Reason(
    ReasonCode.CLIENT_AWAY, "is not started while no client waits for it; one may attach again"
)
SHUTTING_DOWN = Reason(
    ReasonCode.SHUTTING_DOWN, "the coordinator is shutting down; try again in a moment"
)


def cancelled(by: str) -> Reason:
    return Reason(ReasonCode.CANCELLED, f"was cancelled by {by}")


def abandoned(grace_s: float) -> Reason:
    return Reason(ReasonCode.ABANDONED, f"was cancelled: its client went away {grace_s:.0f} s ago")


def count(number: int, noun: str) -> str:
    """`1 worker`, `2 workers`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def about(seconds: float) -> str:
    if seconds < 100:
        return f"about {max(seconds, 1):.0f} s"
    return f"about {seconds / 60:.0f} min"


def no_worker(
    wanted: str, pools: tuple[str, ...], starting: int, about_s: float, trouble: str = ""
) -> Reason:
    """`trouble` is why the pool's provider gives it none."""
    return Reason(ReasonCode.NO_WORKER, _no_worker, (wanted, pools, starting, about_s, trouble))


def _no_worker(
    wanted: str, pools: tuple[str, ...], starting: int, about_s: float, trouble: str
) -> str:
    of = f" of pool {' or '.join(pools)}" if pools else ""
    told = f"{starting} starting" if starting else "none is connected"
    then = f", {about(about_s)}" if about_s else ""
    why = f"; {trouble}" if trouble else ""
    return f"waits for a worker{of} with {wanted}: {told}{then}{why}"


def all_busy(
    wanted: str, busy: int, resting: int, starting: int, waiting: int, about_s: float
) -> str:
    """Workers that are busy, rest after failing, or start; actions waiting; 0 s is not known."""
    told = [f"{busy} busy"]
    told += [f"{resting} resting"] if resting else []
    told += [f"{starting} starting"] if starting else []
    told += [f"{count(waiting, 'action')} waiting"]
    told += [about(about_s)] if about_s else []
    return f"waits for a worker with {wanted}: {', '.join(told)}"


def out_of_memory(had: str, gets: str) -> Reason:
    return Reason(
        ReasonCode.OUT_OF_MEMORY, f"was killed for memory with {had} and runs once more with {gets}"
    )


def instance_text(name: str) -> str:
    return f"instance {name!r}" if name else "the instance without a name"


def quota_used(instance: str, running: int) -> Reason:
    return Reason(
        ReasonCode.QUOTA_USED,
        f"waits because {instance_text(instance)} runs {running} actions, which is its quota",
    )


def quota_full(instance: str, queued: int) -> Reason:
    return Reason(
        ReasonCode.QUOTA_FULL,
        f"{instance_text(instance)} has {queued} actions waiting, which is its quota; "
        f"try again later",
    )


def preempted(by: str, running: int) -> Reason:
    return Reason(
        ReasonCode.PREEMPTED,
        f"gave its slot to {by or 'a user without a name'}, who waited with less than a fair "
        f"share; its own user has {count(running, 'action')} running; it runs again",
    )


def retry_delay(attempt: int, cause: str) -> Reason:
    return Reason(ReasonCode.RETRY_DELAY, f"waits a moment before attempt {attempt}: {cause}")


def running(worker: str, attempt: int, phase: str, taken_from: str = "", warm: bool = False) -> str:
    again = f", attempt {attempt}" if attempt > 1 else ""
    taken = f", taken from the backlog of {taken_from}" if taken_from else ""
    ready = ", which has its program ready" if warm and not taken_from else ""
    return f"{phase or 'starts'} on {worker}{again}{taken}{ready}"


def in_backlog(worker: str, taken_from: str) -> Reason:
    return Reason(ReasonCode.IN_BACKLOG, _in_backlog, (worker, taken_from))


def _in_backlog(worker: str, taken_from: str) -> str:
    taken = f", taken from that of {taken_from}" if taken_from else ""
    return (
        f"waits in the backlog of {worker} for its next slot{taken}; a worker with nothing to do "
        f"may take it from there"
    )


def retries_exhausted(faults: tuple[str, ...]) -> Reason:
    return Reason(
        ReasonCode.RETRIES_EXHAUSTED,
        f"gave up after {count(len(faults), 'attempt')} that failed through no fault of the "
        f"action itself: {'; '.join(faults)}. See the workers' logs; if the action brings its "
        f"worker down, give it a memory limit",
    )
