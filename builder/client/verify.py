"""Whether a target makes the same bytes each time: it is run again and again, and compared.

Each run has another worker where there are several, begins in another second, since a time of day
in an output is the most common difference, and has other seeds if they are asked for.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.action.tree import Entry, File
from builder.base.digest import Digest
from builder.client.target import Built

CONTEXT_BYTES = 8
SEEDS = ("PYTHONHASHSEED", "PERL_HASH_SEED", "BUILDER_SEED")


@dataclass(frozen=True, slots=True)
class Difference:
    """What the first run and another one made at `path`; None is nothing."""

    path: str
    run: int
    first: Entry | None
    other: Entry | None


def differences(runs: list[Built]) -> Iterator[Difference]:
    """Of each later run from the first one, by path."""
    for number, run in enumerate(runs[1:], 2):
        for path in sorted(runs[0].entries.keys() | run.entries.keys()):
            first, other = runs[0].entries.get(path), run.entries.get(path)
            if first != other:
                yield Difference(path, number, first, other)


def keep(root: Path, built: Iterable[Built], folder: Path, kept: dict[Digest, Path]) -> None:
    """The files that were just made, under another name: the next run replaces them."""
    for one in built:
        for path, entry in one.entries.items():
            if isinstance(entry, File) and entry.digest not in kept:
                kept[entry.digest] = folder / str(len(kept))
                os.link(root / path, kept[entry.digest])


def seeds(run: int) -> dict[str, str]:
    """Variables by which programs choose the order of what has none; other ones in each run."""
    return dict.fromkeys(SEEDS, str(run))


def await_another_second(ended: float) -> None:
    """Until the clock shows another one than when a run `ended`, in seconds since 1970: its last
    action may have read that."""
    while int(time.time()) == int(ended):
        time.sleep(1 - time.time() % 1)


def workers(runs: Iterable[Mapping[str, Built]]) -> tuple[str, ...]:
    """Those that ran any of it, each once."""
    ran = (built.proof.partition(" (")[0] for run in runs for built in run.values())
    return tuple(dict.fromkeys(filter(None, ran)))


def conclusion(runs: Sequence[Mapping[str, Built]], found: Collection[str]) -> str:
    """Of all runs, with the differences that were `found`."""
    if found:
        places = [", ".join(workers([run])) for run in runs]
        return "; ".join(f"run {number} was on {place}" for number, place in enumerate(places, 1))
    proofs = (built.proof for run in runs for built in run.values())
    where = ", ".join(dict.fromkeys(filter(None, proofs)))
    if not any(built.entries for built in runs[0].values()):
        return f"{len(runs)} runs succeeded (on {where}); there are no outputs to compare"
    return f"{len(runs)} runs made the same bytes (on {where})"


def first_difference(one: bytes, other: bytes) -> int:
    """The offset of the first byte that differs."""
    shorter = min(len(one), len(other))
    low, high = 0, shorter
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def described(found: Difference, contents: Callable[[Digest], bytes]) -> str:
    """In words; of two files also where they begin to differ."""
    if not isinstance(found.first, File) or not isinstance(found.other, File):
        kinds = [type(e).__name__.lower() if e else "nothing" for e in (found.first, found.other)]
        return f"{found.path}: run 1 made {kinds[0]}, run {found.run} made {kinds[1]}"
    if found.first.digest == found.other.digest:
        return f"{found.path}: executable in one of the runs 1 and {found.run} only"
    one, other = contents(found.first.digest), contents(found.other.digest)
    at = first_difference(one, other)
    return (
        f"{found.path}: run 1 and run {found.run} differ from byte {at} on "
        f"({one[at : at + CONTEXT_BYTES].hex(' ')} and {other[at : at + CONTEXT_BYTES].hex(' ')}; "
        f"{len(one)} and {len(other)} bytes)"
    )
