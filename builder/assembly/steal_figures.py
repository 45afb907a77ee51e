"""Work stealing for Prometheus: what became of the calls, of the actions, and what waits where."""

from collections.abc import Iterator

from builder.schedule.snapshot import Snapshot
from builder.telemetry.metrics import Family

MOST_WORKERS = 20  # with the longest backlogs; the rest of them together, so that labels stay few


def steals(snapshot: Snapshot) -> Iterator[Family]:
    counters = snapshot.counters
    calls = {
        "attempted": counters.steals_attempted,
        "succeeded": counters.steals_succeeded,
        "empty": counters.steals_empty,
        "failed": counters.steals_failed,
    }
    yield Family(
        "builder_steals_total",
        "Calls from a worker with nothing to do to one with a backlog, by what came of them.",
        "counter",
        {(outcome,): float(count) for outcome, count in calls.items()},
        ("outcome",),
    )
    moved: dict[tuple[str, ...], float] = {
        ("moved",): float(counters.stolen),
        ("refused",): float(counters.steals_refused),
    }
    yield Family(
        "builder_stolen_actions_total",
        "Actions that a worker yielded to another, which got them, or could not have them.",
        "counter",
        moved,
        ("outcome",),
    )
    yield Family(
        "builder_recalled_actions_total",
        "Actions asked back from a backlog.",
        "counter",
        {(): float(counters.recalled)},
    )
    yield Family(
        "builder_backlog_actions",
        "Actions that wait on workers beyond their slots.",
        "gauge",
        _backlogs(snapshot),
        ("worker",),
    )


def _backlogs(snapshot: Snapshot) -> dict[tuple[str, ...], float]:
    loaded = [(one.backlog, one.info.name) for one in snapshot.workers if one.backlog]
    loaded.sort(reverse=True)
    found: dict[tuple[str, ...], float] = {
        (name,): float(count) for count, name in loaded[:MOST_WORKERS]
    }
    if rest := sum(count for count, _ in loaded[MOST_WORKERS:]):
        found["other",] = float(rest)
    return found
