"""Where an action's inputs lie already: who had the same input root.

One look-up of a hash, and only the newest are kept: a worker that is gone, or that has thrown the
inputs away, costs nothing but a fetch. Who ran an action's like is known to `sizes`.
"""

MOST = 20_000  # and between this and twice as many are kept
SLACK = 1  # leases that the nearer worker may hold beyond the least loaded


class Nearness:
    __slots__ = ("_before", "_newest")

    def __init__(self) -> None:
        self._newest: dict[str, str] = {}
        self._before: dict[str, str] = {}

    def ran(self, root: str, worker: str) -> None:
        """The worker gets an action with these inputs."""
        newest = self._newest
        newest[root] = worker
        if len(newest) > MOST:
            self._before, self._newest = newest, {}

    def holder(self, root: str) -> str | None:
        return (self._newest.get(root) or self._before.get(root)) if root else None
