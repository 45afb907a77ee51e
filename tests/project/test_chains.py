"""The chain of targets that took longest."""

from builder.project.chains import longest_chain

NEEDS = {
    "gen": (),
    "a": ("gen",),
    "b": ("gen",),
    "objs": ("a", "b"),
    "app": ("objs", "quick"),
    "quick": (),
}
ORDER = ["gen", "a", "b", "objs", "quick", "app"]


def test_the_longest_chain() -> None:
    """By time, not by the number of targets; groups and hits are left out."""
    seconds = {"gen": 1.0, "a": 2.0, "b": 3.0, "app": 1.0, "quick": 3.5}
    assert longest_chain(ORDER, NEEDS, seconds) == ["gen", "b", "app"]
    assert longest_chain(ORDER, NEEDS, {**seconds, "quick": 6.0}) == ["quick", "app"]
    assert longest_chain(ORDER, NEEDS, {"a": 1.0}) == ["a"]


def test_nothing_ran() -> None:
    """No chain."""
    assert longest_chain(ORDER, NEEDS, {}) == []
    assert longest_chain([], {}, {}) == []
