"""Tests as targets: retries, flaky ones, and the two reports."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from builder.base.errors import UsageError
from builder.client import testing
from builder.project.graph import graph
from tests.client.fakes import World
from tests.project.sample import graph_of, project

BUILDERFILE = """\
target lib: {inputs: [a], outputs: [lib], command: [%s]}
target good: {inputs: [":lib"], command: [loud], test: true}
target flaky: {command: [flaky, "2"], test: true, retries: 3}
target bad: {command: [fail, "3", "wrong \\e[1m"], test: true, retries: 1}
target all: {depends: [good, flaky, bad]}
"""
NAMES = ["good", "flaky", "bad"]
WORKS = "cat, lib, a"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_how_tests_went(world: World) -> None:
    """Passed, passed after retries, failed after retries; a hit the second time."""
    world.write({"Builderfile": BUILDERFILE % WORKS, "a": "A"})
    summary = await world.build("all", keep_going=True)
    lines = [line.partition(" in ")[0] for line in testing.report(testing.tested(summary, NAMES))]
    assert lines == [
        "good: passed",
        "flaky: flaky, passed at attempt 3",
        "bad: failed after 2 attempts",
        "Tests: 2 passed (1 flaky), 1 failed",
    ]
    assert world.executor.ran.count("flaky") == 3
    assert world.executor.ran.count("bad") == 2
    assert world.errors.count("[WARN] Test flaky failed: exit code 1; retry ") == 2
    again = await world.build("all", keep_going=True)
    assert list(testing.report(testing.tested(again, NAMES)))[:2] == [
        "good: passed (cached)",
        "flaky: passed (cached)",
    ]


async def test_what_was_not_run(world: World) -> None:
    """A test whose library cannot be built is neither passed nor failed."""
    world.write({"Builderfile": BUILDERFILE % 'fail, "1", no', "a": "A"})
    summary = await world.build("good")
    assert list(testing.report(testing.tested(summary, ["good"]))) == [
        "good: not run: what it needs was not built",
        "Tests: 0 passed, 1 not run",
    ]


async def test_junit(world: World) -> None:
    """One suite, a case for each test, with its reason and what it wrote."""
    world.write({"Builderfile": BUILDERFILE % WORKS, "a": "A"})
    summary = await world.build("all", keep_going=True)
    suite = ElementTree.fromstring(
        testing.junit(testing.tested(summary, [*NAMES, "gone"]), "proj")
    ).find("*")
    assert suite is not None
    counts = {key: suite.attrib[key] for key in ("name", "tests", "failures", "skipped")}
    assert counts == {"name": "proj", "tests": "4", "failures": "1", "skipped": "1"}
    cases = {case.attrib["name"]: case for case in suite}
    assert [(one.tag, one.text) for one in cases["good"]] == [
        ("system-out", "out"),
        ("system-err", "err"),
    ]
    assert [one.tag for one in cases["flaky"]] == ["flakyFailure"]
    failure, out, err = cases["bad"]
    assert failure.attrib["message"] == "exit code 3"
    assert (out.text, err.text) == ("some output\n", "wrong \ufffd[1m")  # XML has no escape
    assert cases["gone"][0].tag == "skipped"


def test_which_are_tests() -> None:
    """Of groups their members; what is no test is left out."""
    found = graph_of(BUILDERFILE % WORKS)
    assert testing.tests_of(found, ["all"]) == NAMES
    assert testing.tests_of(found, ["lib", "bad"]) == ["bad"]


def test_retries_are_for_tests() -> None:
    """Anything else that fails now and then needs a cure, not another try."""
    with pytest.raises(UsageError, match="'t' has retries and is no test"):
        graph(project("target t: {command: [x], retries: 2}"))
