"""Countable resources: what an action needs, what a worker has, and whether it fits.

Amounts are whole numbers: `cpu` in thousandths of a core, `memory` and `disk` in bytes, everything
else (gpu, licences) in pieces. Who does not say how much cpu, memory or disk there is has enough of
it; any other resource is there only where it is announced.
"""

from collections.abc import Iterable, Mapping

Amounts = tuple[tuple[str, int], ...]  # sorted by name, each once

CPU, MEMORY, DISK = "cpu", "memory", "disk"
MEASURED = frozenset({CPU, MEMORY, DISK})
MILLI = 1000
UNITS = ("", "K", "M", "G", "T")


def amounts(pairs: Iterable[tuple[str, int]]) -> Amounts:
    """Canonical; what is asked for twice counts once, the larger one."""
    found: dict[str, int] = {}
    for name, amount in pairs:
        found[name] = max(amount, found.get(name, 0))
    return tuple(sorted(found.items()))


def lacking(need: Amounts, free: Mapping[str, int]) -> Amounts:
    """What does not fit."""
    return tuple((name, amount) for name, amount in need if not _has(free, name, amount))


def fits(need: Amounts, free: Mapping[str, int]) -> bool:
    return all(_has(free, name, amount) for name, amount in need)


def _has(free: Mapping[str, int], name: str, amount: int) -> bool:
    there = free.get(name)
    return name in MEASURED if there is None else there >= amount


def take(free: dict[str, int], need: Amounts) -> None:
    for name, amount in need:
        if name in free:
            free[name] -= amount


def give_back(free: dict[str, int], need: Amounts) -> None:
    for name, amount in need:
        if name in free:
            free[name] += amount


def amount_text(name: str, amount: int) -> str:
    """`cpu=1.5`, `memory=2GiB`, `gpu=1`."""
    if name == CPU:
        return f"{name}={amount / MILLI:g}"
    if name not in (MEMORY, DISK):
        return f"{name}={amount}"
    size, unit = float(amount), 0
    while size >= 1024 and unit < len(UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{name}={round(size, 1):g}{UNITS[unit]}{'iB' if unit else 'B'}"
