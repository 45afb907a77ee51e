"""What runs now, beneath the lines of a build, on a terminal.

It comes when a build has lasted long enough to be waited for, and leaves nothing behind.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from builder.base.shown import format_duration
from builder.client.events import Event

if TYPE_CHECKING:
    from rich.console import RenderableType

PATIENCE_S = 0.3
REFRESH_S = 0.1
MOST_ROWS = 10
OVER = ("hit", "built", "failed")


@dataclass(slots=True)
class Live:
    """A listener that remembers; `started`: time.monotonic() of the command.

    `above` prints above what is shown, while something is.
    """

    started: float
    total: int = 0
    done: int = 0
    hits: int = 0
    failed: int = 0
    ended: bool = False
    above: Callable[[str], None] | None = None
    _running: dict[str, float] = field(default_factory=dict)
    _where: dict[str, str] = field(default_factory=dict)
    _expected_s: Mapping[str, float] = field(default_factory=dict)
    _left: dict[str, None] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        target = event.target
        if event.kind == "build_started":
            self._left = dict.fromkeys(event.more["targets"])
            self._expected_s = event.more["expected_s"]
            self.total = len(self._left)
        elif event.kind == "target_started":
            self._running[target] = event.at_s
        elif event.kind == "executing":
            self._where[target] = event.more["where"]
        elif event.kind in OVER:
            self.done += 1
            self.hits += event.kind == "hit"
            self.failed += event.kind == "failed"
            self._running.pop(target, None)
            self._left.pop(target, None)
        elif event.kind == "build_ended":
            self.ended = True

    def headline(self) -> str:
        """`3 of 8 targets, 2 from the cache, 1 failed, about 12s left`."""
        parts = [f"{self.done} of {self.total} targets"]
        if self.hits:
            parts.append(f"{self.hits} from the cache")
        if self.failed:
            parts.append(f"{self.failed} failed")
        left_s = self._left_s()
        if left_s is not None:
            parts.append(f"about {format_duration(max(1.0, left_s))} left")
        return ", ".join(parts)

    def rows(self, now_s: float) -> Iterator[tuple[str, str, str]]:
        """(target, how long, where) of what runs, longest first."""
        for target, began_s in list(self._running.items())[:MOST_ROWS]:
            where = self._where.get(target, "waiting for a worker")
            yield target, format_duration(max(0.0, now_s - began_s)), where
        if len(self._running) > MOST_ROWS:
            yield f"and {len(self._running) - MOST_ROWS} more", "", ""

    async def show(self) -> None:
        """Until it is cancelled or the build ends."""
        await trio.sleep(PATIENCE_S)
        from rich.live import Live as Display  # late: most builds are over by now

        with Display(
            auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        ) as display:

            def above(text: str) -> None:
                display.console.print(
                    text, end="", soft_wrap=True, markup=False, highlight=False, emoji=False
                )

            self.above = above
            try:
                while not self.ended:
                    display.update(self._shown(), refresh=True)
                    await trio.sleep(REFRESH_S)
            finally:
                self.above = None

    def _left_s(self) -> float | None:
        """From the times of earlier builds, if there were any of what is left."""
        known = [self._expected_s[name] for name in self._left if name in self._expected_s]
        if not known:
            return None
        at_once = max(1, len(self._running))
        return sum(known) / len(known) * len(self._left) / at_once

    def _shown(self) -> "RenderableType":
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", style="dim")
        for row in self.rows(time.monotonic() - self.started):
            table.add_row(*(Text(cell) for cell in row))
        return Group(table, Text(self.headline(), style="bold", no_wrap=True))
