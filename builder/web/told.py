"""What builds told of themselves (Build Event Service), in words and rows."""

from dataclasses import dataclass

from builder.base.units import format_duration
from builder.builds.invocation import PASSED, Invocation, TestAttempt


def title(one: Invocation) -> str:
    """What was asked for."""
    return " ".join([one.command or "build", *one.patterns[:3]]).strip()


def sentence(one: Invocation) -> str:
    """How it stands."""
    took_s = max(one.finished_ns - one.started_ns, 0) / 1e9 if one.finished_ns else 0.0
    state = f"{one.state} in {format_duration(took_s)}" if took_s else one.state
    failed = sum(state == "failed" for state in one.targets.values())
    words = [f"{len(one.targets)} targets{f', {failed} failed' if failed else ''}"]
    if one.verdicts:
        passed = sum(verdict == PASSED for verdict in one.verdicts.values())
        words.append(f"{passed} of {len(one.verdicts)} tests passed")
    return f"{state}: {'; '.join(words)}"


@dataclass(frozen=True, slots=True)
class TestRow:
    """One test over all its runs, shards and attempts."""

    __test__ = False

    label: str
    status: str
    attempts: int
    took_s: float
    cached: bool


def rows_of_tests(told: Invocation) -> list[TestRow]:
    """Those that did not pass first."""
    attempts: dict[str, list[TestAttempt]] = {name: [] for name in told.verdicts}
    for one in told.tests.values():
        attempts.setdefault(one.label, []).append(one)
    rows = []
    for name, some in attempts.items():
        status = told.verdicts.get(name) or (some[-1].status if some else "")
        took_s = sum(one.duration_s for one in some)
        cached = bool(some) and all(one.cached for one in some)
        rows.append(TestRow(name, status, len(some), took_s, cached))
    return sorted(rows, key=lambda row: (row.status == PASSED, row.label))
