"""What happens in a build, one value for each happening, for whoever listens.

    build_started   targets (names of all), expected_s by name
    target_started
    uploading       size_bytes
    executing       where: worker and isolation
    hit             age_s, or null
    built           seconds, stored
    wrote           stdout, stderr: what the command wrote
    unkept          paths: what it wrote beside its outputs
    audited         lines: what was used beyond the declaration
    retried         reason, attempt
    failed          reason, where
    fell_back       reason: the coordinator is away, and the rest is built here
    spent           chain: what no number of workers shortens; longest: seconds by target
    build_ended     ok, seconds, hits, built, failed, skipped

`at_s` counts from the start of the command. The same names and fields are the lines of `--json`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    kind: str
    at_s: float
    target: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        named = {"target": self.target} if self.target else {}
        return {"event": self.kind, "at_s": round(self.at_s, 4), **named, **self.more}


Listener = Callable[[Event], None]
