"""How a build goes along its graph."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.project.progress import (
    BuildStarted,
    EndBuild,
    Progress,
    SkipTarget,
    StartTarget,
    State,
    TargetFailed,
    TargetSucceeded,
    TransitionError,
)
from tests.project.sample import chain, graph_of
from tests.project.test_graph import graphs


def test_a_diamond() -> None:
    """What needs nothing starts; what needs two waits for both; the end is told once."""
    progress = Progress(chain({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}), ["d"], jobs=8)
    assert progress.handle(BuildStarted(), 0) == [StartTarget("a")]
    assert progress.handle(TargetSucceeded("a"), 1) == [StartTarget("b"), StartTarget("c")]
    assert progress.handle(TargetSucceeded("c"), 2) == []
    assert progress.handle(TargetSucceeded("b"), 3) == [StartTarget("d")]
    assert progress.handle(TargetSucceeded("d"), 4) == [EndBuild((), ())]
    assert progress.snapshot().ended == 4
    progress.check()


def test_only_what_was_asked_for_is_built() -> None:
    """Targets outside of the closure never start."""
    progress = Progress(chain({"a": [], "b": ["a"], "c": []}), ["b"], jobs=8)
    assert progress.handle(BuildStarted(), 0) == [StartTarget("a")]
    assert set(progress.snapshot().states) == {"a", "b"}


def test_the_longest_way_goes_first() -> None:
    """Of two ready targets the one with more expected time behind it starts first."""
    needs = {"short": [], "long": [], "after": ["long"], "all": ["short", "after"]}
    progress = Progress(chain(needs), ["all"], jobs=1)
    assert progress.handle(BuildStarted(), 0) == [StartTarget("long")]
    known = {"short": 60.0}
    progress = Progress(chain(needs), ["all"], jobs=1, expected_s=known)
    assert progress.handle(BuildStarted(), 0) == [StartTarget("short")]


def test_priority_is_stronger_and_inherited() -> None:
    """A high priority beats the longer way, and pulls along what it needs."""
    needs = {"long": [], "after": ["long"], "base": [], "urgent": ["base"], "low": []}
    priority = {"urgent": {"priority": "high"}, "low": {"priority": "low"}}
    progress = Progress(chain(needs, **priority), list(needs), jobs=1)
    started = []
    effects = progress.handle(BuildStarted(), 0)
    while isinstance(effects[-1], StartTarget):
        started.append(effects[-1].name)
        effects = progress.handle(TargetSucceeded(started[-1]), 0)
    assert started == ["base", "urgent", "long", "after", "low"]


def test_the_first_failure_stops_what_has_not_started() -> None:
    """What runs may end; nothing else starts; the end names failed and skipped."""
    needs = {"a": [], "b": [], "c": [], "d": ["a"]}
    progress = Progress(chain(needs), list(needs), jobs=2)
    progress.handle(BuildStarted(), 0)
    assert progress.handle(TargetFailed("a"), 1) == [
        SkipTarget("c", "a"),
        SkipTarget("d", "a"),
    ]
    assert progress.handle(TargetSucceeded("b"), 2) == [EndBuild(("a",), ("c", "d"))]
    progress.check()


def test_keeping_going() -> None:
    """With -k only what needs the failed target is skipped."""
    needs = {"a": [], "b": [], "c": ["a"], "d": ["c"], "e": ["b"]}
    progress = Progress(chain(needs), list(needs), jobs=1, keep_going=True)
    assert progress.handle(BuildStarted(), 0) == [StartTarget("a")]
    assert progress.handle(TargetFailed("a"), 1) == [
        SkipTarget("c", "a"),
        SkipTarget("d", "a"),
        StartTarget("b"),
    ]
    assert progress.handle(TargetSucceeded("b"), 2) == [StartTarget("e")]
    assert progress.handle(TargetSucceeded("e"), 3) == [EndBuild(("a",), ("c", "d"))]


def test_a_group_runs_nothing() -> None:
    """Groups are done with their members, also groups of groups, also when that ends the build."""
    progress = Progress(
        graph_of("""\
            target a: {command: [x]}
            target g: {depends: [a]}
            target h: {depends: [g]}
            """),
        ["h"],
        jobs=4,
    )
    assert progress.handle(BuildStarted(), 0) == [StartTarget("a")]
    assert progress.handle(TargetSucceeded("a"), 1) == [EndBuild((), ())]


def test_parallelism_holds_a_closure() -> None:
    """At most so many of what a target needs run at once; others are not held by it."""
    needs = {"a": [], "b": [], "c": [], "link": ["a", "b", "c"], "other": []}
    progress = Progress(chain(needs, link={"parallelism": 2}), list(needs), jobs=8)
    started = progress.handle(BuildStarted(), 0)
    assert started == [StartTarget("a"), StartTarget("b"), StartTarget("other")]
    assert progress.handle(TargetSucceeded("b"), 1) == [StartTarget("c")]
    progress.check()


def test_events_that_cannot_be() -> None:
    """An event out of turn is our bug and raises."""
    progress = Progress(chain({"a": [], "b": ["a"]}), ["b"], jobs=1)
    with pytest.raises(TransitionError):
        progress.handle(TargetSucceeded("a"), 0)
    progress.handle(BuildStarted(), 0)
    for event in (BuildStarted(), TargetSucceeded("b"), TargetFailed("x")):
        with pytest.raises(TransitionError):
            progress.handle(event, 0)
    assert progress.next_deadline() is None


@given(graphs(), st.data())
def test_any_build(needs: dict[str, list[str]], data: st.DataObject) -> None:
    """Whatever fails and in whatever order targets end: limits hold, no target starts before what
    it needs, each ends in one of three ways, and the end is told exactly once."""
    jobs = data.draw(st.integers(1, 3))
    keep_going = data.draw(st.booleans())
    limits = {n: {"parallelism": data.draw(st.integers(1, 2))} for n in list(needs)[::3]}
    progress = Progress(chain(needs, **limits), list(needs), jobs=jobs, keep_going=keep_going)
    running: list[str] = []
    done: set[str] = set()
    failed: set[str] = set()
    skipped: set[str] = set()
    ends = 0
    effects = progress.handle(BuildStarted(), 0)
    while True:
        for effect in effects:
            match effect:
                case StartTarget(name):
                    assert done.issuperset(needs[name])
                    running.append(name)
                case SkipTarget(name, because):
                    assert because in failed
                    skipped.add(name)
                case EndBuild():
                    ends += 1
        progress.check()
        assert len(running) <= jobs
        if not running:
            break
        name = running.pop(data.draw(st.integers(0, len(running) - 1)))
        if data.draw(st.integers(0, 4)) == 0:
            failed.add(name)
            effects = progress.handle(TargetFailed(name), 1)
        else:
            done.add(name)
            effects = progress.handle(TargetSucceeded(name), 1)
    assert ends == 1
    assert done | failed | skipped == set(needs)
    states = progress.snapshot().states
    assert {name for name, state in states.items() if state is State.DONE} == done
    if not failed:
        assert not skipped
