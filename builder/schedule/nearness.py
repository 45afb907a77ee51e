"""Where an action's inputs lie already: who had the same input root, or ran the same target.

Two look-ups of a hash each, and both tables keep the newest only: a worker that is gone, or that
has thrown the inputs away, costs nothing but a fetch.
"""

from collections import OrderedDict

from builder.schedule.spec import ActionSpec

MOST = 20_000
SLACK = 1  # leases that the nearer worker may hold beyond the least loaded


class Nearness:
    __slots__ = ("_kinds", "_roots")

    def __init__(self) -> None:
        self._roots: OrderedDict[str, str] = OrderedDict()
        self._kinds: OrderedDict[str, str] = OrderedDict()

    def ran(self, spec: ActionSpec, worker: str) -> None:
        """The worker gets the action, and with it its inputs."""
        roots, kinds = self._roots, self._kinds
        if spec.root:
            roots[spec.root] = worker
            if len(roots) > MOST:
                roots.popitem(last=False)
        if spec.kind:
            kinds[spec.kind] = worker
            if len(kinds) > MOST:
                kinds.popitem(last=False)

    def candidates(self, spec: ActionSpec) -> tuple[str | None, str | None]:
        """The names of those who have the inputs, and who have like ones."""
        return self._roots.get(spec.root), self._kinds.get(spec.kind)
