"""What can be configured but is not served by this version yet.

This is the one list of it. Who begins to serve a setting takes its line out; until then a file
that sets it is refused with a sentence, never half obeyed.
"""

from collections.abc import Callable
from typing import NamedTuple

from builder.base.document import Path
from builder.config.filling import Finding
from builder.config.settings import Settings


class Unserved(NamedTuple):
    """A setting, whether it is set, and what to do without it."""

    path: Path
    is_set: Callable[[Settings], bool]
    instead: str


UNSERVED = (
    Unserved(
        ("scheduler", "work_stealing"),
        lambda s: s.scheduler.work_stealing,
        "leave it false; the scheduler gives work to free slots only",
    ),
)


def unserved(settings: Settings) -> list[Finding]:
    """What is set and not served, each with what to do instead."""
    return [
        Finding(path, f"'{'.'.join(map(str, path))}' is not served by this version yet", instead)
        for path, is_set, instead in UNSERVED
        if is_set(settings)
    ]
