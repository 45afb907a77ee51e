"""Builds that told of themselves, as rows for the page."""

from itertools import islice

from builder.assembly.status import Section
from builder.base.units import format_duration
from builder.builds.index import Builds
from builder.builds.invocation import PASSED, Invocation

SHOWN = 10


def build_section(builds: Builds) -> list[Section]:
    """The latest first; nothing where none has told."""
    rows = [(_name(one), _row(one)) for one in islice(builds.invocations(), SHOWN)]
    return [("Builds", rows)] if rows else []


def _name(one: Invocation) -> str:
    return " ".join([one.command or "build", *one.patterns[:3]]).strip()


def _row(one: Invocation) -> str:
    took_s = max(one.finished_ns - one.started_ns, 0) / 1e9 if one.finished_ns else 0.0
    state = f"{one.state} in {format_duration(took_s)}" if took_s else one.state
    failed = sum(state == "failed" for state in one.targets.values())
    words = [f"{len(one.targets)} targets{f', {failed} failed' if failed else ''}"]
    if one.verdicts:
        passed = sum(verdict == PASSED for verdict in one.verdicts.values())
        words.append(f"{passed} of {len(one.verdicts)} tests passed")
    return f"{state}: {'; '.join(words)}"
