"""On which workers the programs stay that serve many actions (Bazel's persistent workers).

Workers name them with each heartbeat, by names that `reapi.persistent.known_as` makes of what both
sides know of an action. One that an action was given to counts as having its program from then on,
until it has said something else with nothing left that could still start it.
"""

from collections.abc import Collection, Iterable

MOST_OF_ONE = 64  # programs of a worker that are remembered


class Warmth:
    __slots__ = ("_by_program", "_by_worker")

    def __init__(self) -> None:
        self._by_program: dict[str, dict[str, None]] = {}
        self._by_worker: dict[str, dict[str, None]] = {}

    def workers(self, program: str) -> Collection[str]:
        """Those that have it, by name."""
        return self._by_program.get(program, ())

    def starts(self, worker: str, program: str) -> None:
        """The worker gets an action for it."""
        if len(self._by_worker.setdefault(worker, {})) < MOST_OF_ONE:
            self._by_worker[worker][program] = None
            self._by_program.setdefault(program, {})[worker] = None

    def has(self, worker: str, programs: Iterable[str]) -> None:
        """It has these, and no others; none when it is gone."""
        for program in self._by_worker.pop(worker, ()):
            holders = self._by_program[program]
            del holders[worker]
            if not holders:
                del self._by_program[program]
        for program in programs:
            self.starts(worker, program)

    def is_cold(self, worker: str) -> bool:
        return worker not in self._by_worker

    def check(self, known: Collection[str]) -> None:
        """Both sides say the same, and only of workers that are known."""
        pairs = {(w, p) for w, programs in self._by_worker.items() for p in programs}
        assert pairs == {(w, p) for p, workers in self._by_program.items() for w in workers}
        assert self._by_worker.keys() <= set(known), self._by_worker
        assert all(self._by_program.values())
