"""Where the time of a build went, in the format of Chrome's tracing.

Each row is a lane in which one target at a time was built; open the file in chrome://tracing or
https://ui.perfetto.dev. Source: the Trace Event Format, complete events, times in microseconds.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from builder.client.events import Event

ENDS = {"hit": "from the cache", "built": "built", "failed": "failed"}


@dataclass(slots=True)
class Profile:
    """A listener that collects."""

    _events: list[dict[str, Any]] = field(default_factory=list)
    _began: dict[str, tuple[int, float]] = field(default_factory=dict)
    _ran: dict[str, tuple[float, str]] = field(default_factory=dict)
    _lanes: list[str] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        if event.kind == "target_started":
            self._began[event.target] = (self._lane(event.target), event.at_s)
        elif event.kind == "executing":
            self._ran[event.target] = (event.at_s, event.more["where"])
        elif event.kind in ENDS and event.target in self._began:
            self._end(event)
        elif event.kind == "build_ended":
            self._add("build", "build", 0, 0.0, event.at_s, dict(event.more))

    def text(self) -> str:
        """The file's contents."""
        names = [
            {"name": "thread_name", "ph": "M", "pid": 1, "tid": lane + 1, "args": {"name": name}}
            for lane, name in enumerate(f"lane {n}" for n in range(1, len(self._lanes) + 1))
        ]
        return json.dumps({"displayTimeUnit": "ms", "traceEvents": [*names, *self._events]})

    def _lane(self, target: str) -> int:
        """The first that is free."""
        if "" not in self._lanes:
            self._lanes.append("")
        lane = self._lanes.index("")
        self._lanes[lane] = target
        return lane + 1

    def _end(self, event: Event) -> None:
        lane, began_s = self._began.pop(event.target)
        self._lanes[lane - 1] = ""
        details = {"how": ENDS[event.kind], **event.more}
        self._add(event.target, "target", lane, began_s, event.at_s, details)
        if event.target in self._ran:
            ran_s, where = self._ran.pop(event.target)
            self._add("executing", "action", lane, ran_s, event.at_s, {"where": where})

    def _add(
        self, name: str, kind: str, lane: int, began_s: float, ended_s: float, args: dict[str, Any]
    ) -> None:
        self._events.append(
            {
                "name": name,
                "cat": kind,
                "ph": "X",
                "pid": 1,
                "tid": lane,
                "ts": round(began_s * 1e6),
                "dur": round((ended_s - began_s) * 1e6),
                "args": args,
            }
        )
