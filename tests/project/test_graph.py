"""Which target needs which."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.base.errors import UsageError
from tests.project.sample import chain, graph_of


def test_needs_come_from_labels_depends_and_paths() -> None:
    """A label, a `depends` and the path of an output make the same edge, each once."""
    found = graph_of("""\
        target gen: {command: [x], outputs: [gen/a.h, tree/]}
        target one: {command: [x], inputs: [":gen", gen/a.h]}
        target two: {command: [x], depends: [gen, one]}
        target three: {command: [x], inputs: [tree/deep/file.txt]}
        target four: {command: [x], inputs: ["gen/*.h", "!gen/a.h"]}
        """)
    assert found.needs == {
        "gen": (),
        "one": ("gen",),
        "two": ("gen", "one"),
        "three": ("gen",),
        "four": (),
    }
    assert found.maker("tree/deep/file.txt") == "gen"
    assert found.maker("gen/b.h") is None
    assert found.closure(["two"]) == ["gen", "one", "two"]


def test_a_group_stands_for_the_outputs_of_its_members() -> None:
    """Labels of groups lead to the outputs of real targets, also through groups of groups."""
    found = graph_of("""\
        target a: {command: [x], outputs: [a.o]}
        target b: {command: [x], outputs: [b.o, c.o]}
        target inner: {depends: [b]}
        target all: {depends: [a, inner]}
        """)
    assert [output.path for output in found.outputs("all")] == ["a.o", "b.o", "c.o"]
    twice = graph_of("""\
        target a: {command: [x], outputs: [a.o]}
        target inner: {depends: [a]}
        target left: {depends: [inner]}
        target all: {depends: [left, inner, a]}
        """)
    assert [output.path for output in twice.outputs("all")] == ["a.o"]


def test_selection() -> None:
    """Names as given, else `default`, else everything; an unknown name gets the nearest one."""
    assert chain({"a": [], "b": ["a"]}).select([]) == ["a", "b"]
    assert chain({"a": [], "default": []}).select([]) == ["default"]
    assert chain({"a": [], "b": []}).select([":b", "b", "a"]) == ["b", "a"]
    with pytest.raises(UsageError, match="no target 'parralel'; did you mean 'parallel'"):
        chain({"parallel": []}).select(["parralel"])


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Graphs without cycles, targets in any order of the file."""
    count = draw(st.integers(1, 8))
    names = [f"t{n}" for n in range(count)]
    needs = {
        name: draw(st.lists(st.sampled_from(names[:n]), unique=True)) if n else []
        for n, name in enumerate(names)
    }
    return {name: needs[name] for name in draw(st.permutations(names))}


@given(graphs(), st.data())
def test_order(needs: dict[str, list[str]], data: st.DataObject) -> None:
    """A closure holds all that is needed, each once, and always before what needs it."""
    root = data.draw(st.sampled_from(sorted(needs)))
    order = chain(needs).closure([root])
    reached = {root}
    while more := {d for name in reached for d in needs[name]} - reached:
        reached |= more
    assert set(order) == reached
    assert len(order) == len(reached)
    for name in order:
        assert all(order.index(needed) < order.index(name) for needed in needs[name])


@given(graphs(), st.data())
def test_every_cycle_is_found(needs: dict[str, list[str]], data: st.DataObject) -> None:
    """Turning one edge around a path of needs is always told, with a true cycle."""
    name = data.draw(st.sampled_from(sorted(needs)))
    below = chain(needs).closure([name])[:-1]
    if not below:
        return
    closing = data.draw(st.sampled_from(below))
    with pytest.raises(UsageError) as caught:
        chain({**needs, closing: [*needs[closing], name]})
    shown = str(caught.value).splitlines()[0].partition("each other: ")[2].split(" -> ")
    assert shown[0] == shown[-1]
    edges = {**needs, closing: [*needs[closing], name]}
    assert all(later in edges[one] for one, later in itertools.pairwise(shown))
