"""Hits by look-up, summed up for each invocation."""

from collections.abc import Iterator
from itertools import count

import pytest

from builder.base.digest import Digest
from builder.builds import lookups
from builder.builds.lookups import LookUps, Run
from builder.reapi.pb.remote_execution_pb2 import RequestMetadata, ToolDetails

ASKED = ("main", Digest("a" * 64, 1))
RESULT = b"a result"


def metadata(invocation: str, target: str = "") -> bytes:
    return RequestMetadata(
        tool_details=ToolDetails(tool_name="bazel"),
        tool_invocation_id=invocation,
        target_id=target,
    ).SerializeToString()


@pytest.fixture
def made() -> Iterator[LookUps]:
    """At the first call it is 100, then 101 and so on."""
    clock = count(100)
    found = LookUps(lambda: float(next(clock)), most=2)
    yield found
    found.check()


def test_hits_of_an_invocation_are_summed_up(made: LookUps) -> None:
    """Runs of equal metadata, and others between them; asking in between changes nothing."""
    for target in ("//a", "//a", "//b", "//a"):
        made.hit(metadata("one", target), ASKED, RESULT)
    assert made.found()["one"].hits == 4
    made.hit(metadata("two"), ASKED, RESULT)
    made.hit(metadata("one", "//c"), ASKED, RESULT)
    found = made.found()
    assert list(found) == ["two", "one"]  # who asked last stands last
    one = found["one"]
    assert (one.tool, one.hits, list(one.targets)) == ("bazel", 5, ["//a", "//b", "//c"])
    assert (one.first_s, one.last_s) == (100.0, 104.0)


def test_a_long_run_does_not_stand_still(made: LookUps) -> None:
    """A client whose calls all look alike is seen to go on."""
    for _ in range(2 * lookups.LONGEST_RUN + 1):
        made.hit(metadata("one"), ASKED, RESULT)
    one = made.found()["one"]
    assert (one.hits, one.last_s) == (2 * lookups.LONGEST_RUN + 1, 102.0)


def test_what_is_kept_is_bounded(made: LookUps) -> None:
    """By invocations, by targets of each, and by what waits to be read."""
    for number in range(2 * lookups.MOST_TARGETS):
        made.hit(metadata("many", f"//t{number}"), ASKED, RESULT)
        made.check()
    for name in ("b", "c"):
        made.hit(metadata(name), ASKED, RESULT)
    assert {id_: one.hits for id_, one in made.found().items()} == {"b": 1, "c": 1}


def test_runs_are_told_of_one_by_one() -> None:
    """One for each action that was asked for in a row, with its result, when somebody asks."""
    told: list[tuple[str, Run]] = []
    made = LookUps(lambda: 5.0, told.extend)
    other = ("main", Digest("b" * 64, 1))
    for asked in (ASKED, ASKED, other):
        made.hit(metadata("one"), asked, RESULT)
    made.hit(metadata(""), ASKED, RESULT)
    assert (told, made.version) == ([], 3)
    made.catch_up()
    assert told == [
        ("one", (metadata("one"), ASKED, RESULT, 2, 5.0)),
        ("one", (metadata("one"), other, RESULT, 1, 5.0)),
    ]
    made.hit(metadata("one"), other, RESULT)
    made.catch_up()
    assert (len(told), made.version) == (3, 4)


def test_who_says_no_invocation_is_not_counted(made: LookUps) -> None:
    """Nor who says nothing that can be read."""
    for raw in (metadata(""), b"\xff\xff", b"x"):
        made.hit(raw, ASKED, RESULT)
    assert made.found() == {}
