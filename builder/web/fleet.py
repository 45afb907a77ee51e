"""A fleet of a thousand workers as a page shows it: some of them, in the order of their names."""

import re
from collections import Counter
from collections.abc import Iterable

from builder.reapi.pb import control_pb2 as pb

DIGITS = re.compile(r"(\d+)")
UNWELL = "unwell"


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts worker-10 after worker-9."""
    parts = DIGITS.split(name)
    return [(int(part) if n % 2 else 0, part) for n, part in enumerate(parts)]


def states(workers: Iterable[pb.Worker]) -> dict[str, int]:
    """How many are in each state, and how many of all are not well."""
    found = Counter(one.state for one in workers)
    ill = sum(1 for one in workers if one.ailment)
    return {**dict(sorted(found.items())), **({UNWELL: ill} if ill else {})}


def shown(workers: Iterable[pb.Worker], which: str) -> list[pb.Worker]:
    """Those of a state, those that are not well, or all; by name."""
    if which == UNWELL:
        workers = (one for one in workers if one.ailment)
    elif which:
        workers = (one for one in workers if one.state == which)
    return sorted(workers, key=lambda one: natural(one.name))
