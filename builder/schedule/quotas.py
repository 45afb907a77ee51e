"""How much of the farm one instance may have at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quota:
    """0 is no limit."""

    running: int = 0
    queued: int = 0


class Account:
    """What an instance with a quota has in use."""

    __slots__ = ("instance", "queued", "quota", "running")

    def __init__(self, instance: str, quota: Quota) -> None:
        self.instance = instance
        self.quota = quota
        self.running = 0
        self.queued = 0

    @property
    def may_run(self) -> bool:
        return not self.quota.running or self.running < self.quota.running

    @property
    def may_queue(self) -> bool:
        return not self.quota.queued or self.queued < self.quota.queued
