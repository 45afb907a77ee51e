"""Builds, from their actions: whoever sends RequestMetadata has one."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest

from builder.reapi.pb import control_pb2 as pb
from builder.telemetry.telling import label, short, state
from builder.web.charts import MOST_BARS, Bar

BAD = ("failed", "refused", "lost")


@dataclass(frozen=True, slots=True)
class Invocation:
    """`ended_s` is None while something of it goes on. Times are seconds since 1970."""

    id: str
    tool: str
    actions: int
    outcomes: Counter[str]
    targets: int
    started_s: float
    ended_s: float | None

    @property
    def failed(self) -> int:
        return sum(self.outcomes[outcome] for outcome in BAD)

    @property
    def hits(self) -> int:
        return self.outcomes["cached"]

    @property
    def took_s(self) -> float | None:
        return None if self.ended_s is None else self.ended_s - self.started_s


def grouped(actions: Iterable[pb.Action]) -> list[Invocation]:
    """The newest first; actions come the newest first, too."""
    found: dict[str, list[pb.Action]] = {}
    for action in actions:
        if action.invocation:
            found.setdefault(action.invocation, []).append(action)
    return [summed(id_, some) for id_, some in found.items()]


def summed(id_: str, actions: Sequence[pb.Action]) -> Invocation:
    """Of at least one action, the newest first."""
    outcomes = Counter([action.outcome for action in actions])
    return Invocation(
        id=id_,
        tool=actions[0].tool,
        actions=len(actions),
        outcomes=outcomes,
        targets=len({action.target for action in actions} - {""}),
        started_s=at(actions[-1].queued),
        ended_s=None if outcomes[""] else max([at(action.ended) for action in actions]),
    )


def at(stamp: object) -> float:
    """Seconds of a Timestamp (since 1970) or of a Duration."""
    return stamp.seconds + stamp.nanos / 1e9  # type: ignore[attr-defined,no-any-return]  # generated


def slowest(actions: Iterable[pb.Action], most: int = 10) -> list[pb.Action]:
    return nlargest(most, actions, key=lambda action: at(action.execution))


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
