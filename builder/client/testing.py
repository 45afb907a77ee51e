"""How the tests of a build went: for people, and as JUnit XML for programs.

A test that failed and then passed is flaky: it counts as passed, and is named.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from xml.etree import ElementTree

from builder.base.shown import format_duration
from builder.client.build import Summary
from builder.client.console import NOTHING, Streams
from builder.project.graph import Graph
from builder.project.query import members

NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Outcome(Enum):
    PASSED = "passed"
    CACHED = "passed (cached)"
    FLAKY = "flaky"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Tested:
    """`attempts`: how often it ran; `reason` why it failed or was not run."""

    name: str
    outcome: Outcome
    seconds: float = 0.0
    attempts: int = 1
    reason: str = ""
    streams: Streams = NOTHING


def tests_of(graph: Graph, names: Iterable[str]) -> list[str]:
    """Those of these targets, or of their members, that are tests."""
    return [name for name in members(graph, names) if graph.project.targets[name].test]


def tested(summary: Summary, names: Iterable[str]) -> list[Tested]:
    return [_tested(summary, name) for name in names]


def _tested(summary: Summary, name: str) -> Tested:
    seconds = summary.seconds.get(name, 0.0)
    if failure := summary.failures.get(name):
        attempts, streams = failure.attempts, failure.streams
        return Tested(name, Outcome.FAILED, seconds, attempts, failure.reason, streams)
    built = summary.built.get(name)
    if built is None:
        return Tested(name, Outcome.NOT_RUN, reason="what it needs was not built")
    outcome = Outcome.FLAKY if built.attempts > 1 else Outcome.PASSED
    if built.cached:
        return Tested(name, Outcome.CACHED, 0.0, streams=built.streams)
    return Tested(name, outcome, seconds, built.attempts, streams=built.streams)


def report(results: list[Tested]) -> Iterator[str]:
    """One line for each test, and one for all."""
    for one in results:
        took = f" in {format_duration(one.seconds)}" if one.seconds else ""
        flaky = one.outcome is Outcome.FLAKY
        text = f"passed at attempt {one.attempts}" if flaky else one.outcome.value
        after = f" after {one.attempts} attempts" if one.attempts > 1 and not flaky else ""
        reason = f": {one.reason}" if one.reason else ""
        yield f"{one.name}: {'flaky, ' if flaky else ''}{text}{after}{took}{reason}"
    counts = {outcome: sum(one.outcome is outcome for one in results) for outcome in Outcome}
    passed = counts[Outcome.PASSED] + counts[Outcome.CACHED] + counts[Outcome.FLAKY]
    notes = [
        f"{counts[outcome]} {word}"
        for outcome, word in ((Outcome.CACHED, "from the cache"), (Outcome.FLAKY, "flaky"))
        if counts[outcome]
    ]
    parts = [f"{passed} passed" + (f" ({', '.join(notes)})" if notes else "")]
    parts += [
        f"{counts[outcome]} {outcome.value}"
        for outcome in (Outcome.FAILED, Outcome.NOT_RUN)
        if counts[outcome]
    ]
    yield f"Tests: {', '.join(parts)}"


def junit(results: list[Tested], suite: str) -> bytes:
    """JUnit's XML as Jenkins and GitLab read it: one suite, a case for each test."""
    root = ElementTree.Element("testsuites")
    element = ElementTree.SubElement(
        root,
        "testsuite",
        name=suite,
        tests=str(len(results)),
        failures=str(sum(one.outcome is Outcome.FAILED for one in results)),
        skipped=str(sum(one.outcome is Outcome.NOT_RUN for one in results)),
        errors="0",
        time=f"{sum(one.seconds for one in results):.3f}",
    )
    for one in results:
        case = ElementTree.SubElement(
            element, "testcase", name=one.name, classname=suite, time=f"{one.seconds:.3f}"
        )
        if one.outcome is Outcome.FAILED:
            ElementTree.SubElement(case, "failure", message=_xml(one.reason))
        elif one.outcome is Outcome.NOT_RUN:
            ElementTree.SubElement(case, "skipped", message=_xml(one.reason))
        elif one.outcome is Outcome.FLAKY:
            ElementTree.SubElement(case, "flakyFailure", message="it failed before it passed")
        for tag, data in (("system-out", one.streams.stdout), ("system-err", one.streams.stderr)):
            if data:
                ElementTree.SubElement(case, tag).text = _xml(data.decode(errors="replace"))
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _xml(text: str) -> str:
    """XML has no way to write most control characters."""
    return NOT_XML.sub("\ufffd", text)
