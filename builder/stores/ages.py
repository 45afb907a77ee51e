"""How long what is stored was not used: bytes by age, for people who size a store."""

from collections.abc import Iterable

WITHIN_S = (3600.0, 86_400.0, 604_800.0)  # an hour, a day, a week; what is older comes last


def by_age(used: Iterable[tuple[float, int]], now: float) -> tuple[int, ...]:
    """Bytes last used within each of WITHIN_S but not within the one before, and the rest.

    `used` tells moments of last use, on the clock of `now`, and the bytes of each.
    """
    found = [0] * (len(WITHIN_S) + 1)
    for at, size in used:
        age_s = now - at
        place = next((n for n, within_s in enumerate(WITHIN_S) if age_s < within_s), -1)
        found[place] += size
    return tuple(found)
