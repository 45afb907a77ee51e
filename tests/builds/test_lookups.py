"""Hits by look-up, summed up for each invocation."""

from collections.abc import Iterator
from itertools import count

import pytest

from builder.builds import lookups
from builder.builds.lookups import LookUps
from builder.reapi.pb.remote_execution_pb2 import RequestMetadata, ToolDetails


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
        made.hit(metadata("one", target))
    assert made.found()["one"].hits == 4
    made.hit(metadata("two"))
    made.hit(metadata("one", "//c"))
    found = made.found()
    assert list(found) == ["two", "one"]  # who asked last stands last
    one = found["one"]
    assert (one.tool, one.hits, list(one.targets)) == ("bazel", 5, ["//a", "//b", "//c"])
    assert (one.first_s, one.last_s) == (100.0, 104.0)


def test_a_long_run_does_not_stand_still(made: LookUps) -> None:
    """A client whose calls all look alike is seen to go on."""
    for _ in range(2 * lookups.LONGEST_RUN + 1):
        made.hit(metadata("one"))
    one = made.found()["one"]
    assert (one.hits, one.last_s) == (2 * lookups.LONGEST_RUN + 1, 102.0)


def test_what_is_kept_is_bounded(made: LookUps) -> None:
    """By invocations, by targets of each, and by what waits to be read."""
    for number in range(2 * lookups.MOST_TARGETS):
        made.hit(metadata("many", f"//t{number}"))
        made.check()
    for name in ("b", "c"):
        made.hit(metadata(name))
    assert {id_: one.hits for id_, one in made.found().items()} == {"b": 1, "c": 1}


def test_who_says_no_invocation_is_not_counted(made: LookUps) -> None:
    """Nor who says nothing that can be read."""
    for raw in (metadata(""), b"\xff\xff", b"x"):
        made.hit(raw)
    assert made.found() == {}
