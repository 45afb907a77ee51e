"""Invocations summed up from their actions."""

from builder.builds.lookups import Found
from builder.builds.tally import Tally


def test_an_invocation_is_the_sum_of_its_actions() -> None:
    """Hits, failures and targets are counted; it takes from its first request to its last end."""
    one = Tally("inv", "bazel")
    assert (one.actions, one.targets) == (0, 0)
    one.add("cached", "//a", queued_s=12.0, ended_s=12.0)
    one.add("failed", "//a", queued_s=10.0, ended_s=20.0)
    one.add("lost", "", queued_s=11.0, ended_s=15.0)
    one.add("succeeded", "//b", queued_s=13.0, ended_s=14.0)
    assert (one.actions, one.hits, one.failed, one.targets) == (4, 1, 2, 2)
    assert (one.started_s, one.took_s) == (10.0, 10.0)


def test_an_invocation_of_which_something_goes_on_has_no_end() -> None:
    one = Tally("inv")
    one.add("succeeded", "//a", queued_s=1.0, ended_s=2.0)
    one.add("", "//b", queued_s=1.0, ended_s=1.5)
    assert one.took_s is None


def test_hits_by_look_up_are_actions_too() -> None:
    """They count as hits, name targets and the tool, and stretch the time."""
    one = Tally("inv")
    one.add("succeeded", "//a", queued_s=12.0, ended_s=20.0)
    found = Found("bazel", 10.0, 11.0, hits=7, targets={"//a": None, "//b": None})
    one.add_lookups(found, listed=5)
    assert (one.tool, one.actions, one.rows, one.hits, one.targets) == ("bazel", 8, 6, 7, 2)
    assert (one.ran, one.started_s, one.took_s) == (1, 10.0, 10.0)
    one.add_lookups(found, listed=1, offset_s=100.0)
    assert (one.actions, one.rows, one.took_s) == (15, 7, 101.0)
