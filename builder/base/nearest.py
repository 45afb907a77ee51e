"""What was probably meant by a name that nobody knows."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The closest of the known names, if one is close at all. Case and `-` for `_` are free."""
    by_fold = {known_name.lower(): known_name for known_name in known}
    folded = name.lower().replace("-", "_")
    close = difflib.get_close_matches(folded, by_fold, n=1, cutoff=0.6)
    return by_fold[close[0]] if close else None
