"""The actions of an invocation in time: bars for a chart, and the path that mattered."""

from bisect import bisect_right
from collections.abc import Iterable
from heapq import nlargest

from builder.reapi.pb import control_pb2 as pb
from builder.telemetry.telling import label, short, state, took
from builder.web.charts import MOST_BARS, Bar


def at(stamp: object) -> float:
    """Seconds of a Timestamp (since 1970) or of a Duration."""
    return stamp.seconds + stamp.nanos / 1e9  # type: ignore[attr-defined,no-any-return]  # generated


def critical_path(actions: Iterable[pb.Action]) -> list[pb.Action]:
    """The chain that the build's end has waited for, the first one first.

    Who needs whom is not known here, but when: from the last one to end, each time the one that
    had ended last when it was asked for. A hit costs nothing and is left out.
    """
    ended = sorted((at(a.ended), number, a) for number, a in enumerate(_ran(actions)))
    found: list[pb.Action] = []
    place = len(ended) - 1
    while place >= 0:
        found.append(ended[place][2])
        asked_s = at(found[-1].queued)
        place = min(bisect_right(ended, asked_s, hi=place, key=lambda one: one[0]), place) - 1
    return found[::-1]


def longest(path: list[pb.Action], most: int) -> list[pb.Action]:
    """Those of a path that took longest, in its order."""
    numbered = nlargest(most, enumerate(path), key=lambda one: took(one[1], 0))
    return [action for _, action in sorted(numbered, key=lambda one: one[0])]


def _ran(actions: Iterable[pb.Action]) -> Iterable[pb.Action]:
    return (a for a in actions if a.HasField("ended") and a.outcome != "cached")


def bars(actions: Iterable[pb.Action], now_s: float) -> list[Bar]:
    """Of those that a worker has run, or runs."""
    found: list[Bar] = []
    for action in actions:
        if not action.HasField("started") or len(found) >= MOST_BARS:
            continue
        end_s = at(action.ended) if action.outcome else now_s
        title = f"{label(action)}: {state(action)}, {end_s - at(action.started):.2f} s"
        kind = action.outcome or "executing"
        href = f"/actions/{short(action)}"
        found.append(Bar(action.worker, at(action.started), end_s, kind, title, href))
    return found
