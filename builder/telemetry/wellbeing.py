"""What is wrong with a service, from facts about it: the judgement alone, without looking.

A problem is *grave* when new work would fail (no disk, no descriptors, no memory, storage down):
then the service is not ready. The others make work slow and are told.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from builder.base.shown import ago
from builder.base.units import format_duration, format_size


class Problem(NamedTuple):
    """`component` is one of COMPONENTS; `sentence` says what, how much, and what to do."""

    component: str
    sentence: str
    grave: bool


COMPONENTS = ("storage", "disk", "memory", "descriptors", "workers", "queue", "provider")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Numbers that the judgement depends on."""

    least_disk: float = 0.02  # of the file system that has the storage
    least_memory: float = 0.03  # of the machine's
    least_descriptors: float = 0.05  # of those this process may have
    most_waiting_per_slot: int = 50
    longest_wait_s: float = 60.0  # of the oldest action, with so many waiting
    lost_within_s: float = 60.0
    most_lost: float = 0.33  # of the workers, within that time; one alone is no sign


@dataclass(frozen=True, slots=True)
class Silence:
    """A worker, and how long it has said nothing."""

    worker: str
    silent_s: float


@dataclass(frozen=True, slots=True)
class Facts:
    """Zero totals mean that nobody knows."""

    storage_error: str = ""
    disk_path: str = ""
    disk_free_bytes: int = 0
    disk_total_bytes: int = 0
    memory_free_bytes: int = 0
    memory_total_bytes: int = 0
    descriptors: int = 0
    most_descriptors: int = 0
    heartbeat_interval_s: float = 5.0
    silences: tuple[Silence, ...] = ()
    workers: int = 0
    workers_lost: int = 0  # of late
    waiting: int = 0
    slots: int = 0
    oldest_wait_s: float = 0.0
    provider: tuple[str, ...] = ()
    tiers_down: tuple[str, ...] = ()  # a sentence for each
    tiers_serve: bool = True  # the others stand in for them


def judge(facts: Facts, thresholds: Thresholds | None = None) -> list[Problem]:
    """The grave ones first."""
    limits = thresholds or Thresholds()
    found = [*_storage(facts, limits), *_machine(facts, limits), *_work(facts, limits)]
    return sorted(found, key=lambda problem: not problem.grave)


def _storage(facts: Facts, limits: Thresholds) -> Iterator[Problem]:
    if facts.storage_error:
        yield Problem("storage", f"the storage is down: {facts.storage_error}", True)
    for sentence in facts.tiers_down:
        yield Problem("storage", sentence, not facts.tiers_serve)
    if facts.disk_free_bytes < limits.least_disk * facts.disk_total_bytes:
        free = format_size(facts.disk_free_bytes)
        yield Problem(
            "disk",
            f"the disk of {facts.disk_path} has {free} left of "
            f"{format_size(facts.disk_total_bytes)}: free some, or lower store.max_size",
            True,
        )


def _machine(facts: Facts, limits: Thresholds) -> Iterator[Problem]:
    if facts.memory_free_bytes < limits.least_memory * facts.memory_total_bytes:
        free = format_size(facts.memory_free_bytes)
        yield Problem(
            "memory",
            f"this machine has {free} of memory left of "
            f"{format_size(facts.memory_total_bytes)}: run fewer workers here, or limit them",
            True,
        )
    left = facts.most_descriptors - facts.descriptors
    if left < limits.least_descriptors * facts.most_descriptors:
        yield Problem(
            "descriptors",
            f"{facts.descriptors} of {facts.most_descriptors} file descriptors are in use: "
            f"raise the limit (ulimit -n), or close connections",
            True,
        )


def _work(facts: Facts, limits: Thresholds) -> Iterator[Problem]:
    for silence in facts.silences:
        if silence.silent_s > 2 * facts.heartbeat_interval_s:
            yield Problem(
                "workers",
                f"{silence.worker} has not been heard of for {format_duration(silence.silent_s)}",
                False,
            )
    lost, left = facts.workers_lost, facts.workers
    if lost > 1 and lost > limits.most_lost * (lost + left):
        yield Problem(
            "workers",
            f"{lost} workers were lost within {ago(limits.lost_within_s)}, and {left} "
            f"are left: look at the network between them and this coordinator",
            False,
        )
    crowded = facts.waiting > limits.most_waiting_per_slot * facts.slots
    if facts.slots and crowded and facts.oldest_wait_s > limits.longest_wait_s:
        yield Problem(
            "queue",
            f"{facts.waiting} actions wait for {facts.slots} slots, the oldest for "
            f"{format_duration(facts.oldest_wait_s)}: raise pool.max, or add workers",
            False,
        )
    for sentence in facts.provider:
        yield Problem("provider", sentence, False)
