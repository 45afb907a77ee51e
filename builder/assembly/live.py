"""What `builder remote watch` shows: a box of figures, and a view below it."""

import time
from collections import deque

from builder.assembly.status import pool_title, sections, service_line
from builder.base.units import format_duration
from builder.reapi.pb import control_pb2 as pb
from builder.telemetry import telling

WIDTH = 52  # of the box, inside
WINDOW_S = 60.0
VIEWS = {"o": "overview", "w": "workers", "u": "queue", "a": "actions", "p": "pool"}


class Rates:
    """Actions per minute, from the counts of the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def per_minute(self, status: pb.Status, now: float) -> float:
        """None has been seen before the first two."""
        done = status.queue.completed
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # the service has started anew
        self._seen.append((now, done))
        while self._seen[0][0] < now - WINDOW_S:
            self._seen.popleft()
        first_at, first = self._seen[0]
        return (done - first) * 60 / (now - first_at) if now > first_at else 0.0


def hit_rate(status: pb.Status) -> str:
    figures = status.executions
    lookups = figures.cache_hits + figures.cache_misses
    return f"{figures.cache_hits / lookups:.1%}" if lookups else "-"


def plain_line(status: pb.Status, per_minute: float) -> str:
    workers, queue = status.workers, status.queue
    words = [
        time.strftime("%H:%M:%S"),
        f"workers={workers.busy}/{workers.total}",
        f"pending={queue.pending}",
        f"executing={queue.executing}",
        f"completed={queue.completed}",
        f"throughput={per_minute:.0f}/min",
        f"hits={hit_rate(status)}",
        "healthy" if not status.problems else f"problems={len(status.problems)}",
    ]
    return " ".join(words)


def box(status: pb.Status, per_minute: float) -> list[str]:
    workers, queue = status.workers, status.queue
    rows = [
        ("Workers", f"{workers.busy} busy, {workers.idle} idle, {workers.total} in all"),
        ("Queue", f"{queue.pending} pending, {queue.executing} executing"),
        ("Throughput", f"{per_minute:.0f} actions/min"),
        ("Cache hit rate", hit_rate(status)),
    ]
    title = " Builder: remote execution "
    lines = [f"┌─{title}{'─' * (WIDTH - len(title) - 1)}┐"]
    lines += [f"│ {f'{name}:':<16}{value:<{WIDTH - 18}} │" for name, value in rows]
    return [*lines, f"└{'─' * WIDTH}┘"]


def screen(
    view: str,
    status: pb.Status,
    actions: pb.ListActionsResponse,
    per_minute: float,
    size: tuple[int, int],
) -> list[str]:
    """Lines that fit the terminal of (columns, lines)."""
    keys = "  ".join(
        f"[{key}] {name}" if key != view else f"<{name}>" for key, name in VIEWS.items()
    )
    lines = [*box(status, per_minute), f"{keys}  [q] quit", ""]
    lines += [f"! {telling.line(problem)}" for problem in status.problems]
    lines += _view(view, status, actions)
    columns, rows = size
    return [line[:columns] for line in lines[: max(rows - 1, 1)]]


def _view(view: str, status: pb.Status, actions: pb.ListActionsResponse) -> list[str]:
    if view == "w":
        return telling.workers(status)
    if view == "u":
        return _queue(status)
    if view == "a":
        return telling.actions(actions, time.time_ns())
    found = dict(sections(status))
    names = [name for name in found if name != "Problems"]
    if view == "p":
        names = [pool_title(status, pool) for pool in status.pools] or ["Autoscaling"]
    lines = [f"Service: {service_line(status)}"]
    for name in names:
        lines += ["", f"{name}:"]
        lines += [f"  {label}: {figure}" for label, figure in found.get(name, [("Pool", "none")])]
    return lines


def _queue(status: pb.Status) -> list[str]:
    if not status.queues:
        return ["Nothing waits."]
    lines = []
    for queue in status.queues:
        oldest = format_duration(telling.seconds(queue.oldest))
        lines.append(
            f"{telling.line(queue.platform)}: {queue.waiting} waiting, the oldest for {oldest}; "
            f"{queue.workers} workers with {queue.slots} slots"
        )
    waiting = [one for one in status.action if one.stage == "queued"]
    return lines + [f"  {telling.label(one)}: {telling.line(one.reason)}" for one in waiting]
