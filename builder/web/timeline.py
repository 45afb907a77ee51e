"""The actions of an invocation as bars of a timeline."""

from collections.abc import Iterable

from builder.reapi.pb import control_pb2 as pb
from builder.telemetry.telling import label, short, state
from builder.web.charts import MOST_BARS, Bar


def at(stamp: object) -> float:
    """Seconds of a Timestamp (since 1970) or of a Duration."""
    return stamp.seconds + stamp.nanos / 1e9  # type: ignore[attr-defined,no-any-return]  # generated


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
