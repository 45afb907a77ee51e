"""Questions about a graph."""

from builder.project.query import dependents, dot_lines, members, needed_by, some_path, tree_lines
from tests.project.sample import chain, graph_of

GRAPH = chain({"lib": [], "gen": ["lib"], "app": ["gen", "lib"], "test": ["app"], "docs": []})


def test_who_needs_it() -> None:
    """Directly, and by way of others, nearest first."""
    assert needed_by(GRAPH)["lib"] == ["gen", "app"]
    assert dependents(GRAPH, ["lib"]) == ["gen", "app", "test"]
    assert dependents(GRAPH, ["gen", "docs"]) == ["app", "test"]
    assert dependents(GRAPH, ["test"]) == []


def test_a_shortest_way() -> None:
    """From one to the other, or none."""
    assert some_path(GRAPH, "test", "lib") == ["test", "app", "lib"]
    assert some_path(GRAPH, "app", "app") == ["app"]
    assert some_path(GRAPH, "lib", "test") == []


def test_a_group_stands_for_its_members() -> None:
    """Groups of groups too, each member once."""
    graph = graph_of("""\
        target a: {command: [x]}
        target b: {command: [x]}
        target both: {depends: [a, b]}
        target all: {depends: [both, a]}
        """)
    assert members(graph, ["all", "b"]) == ["a", "b"]


def test_the_tree() -> None:
    """What was unfolded above is only named again."""
    assert list(tree_lines(GRAPH, ["test", "docs"])) == [
        "test",
        "└─ app",
        "   ├─ gen",
        "   │  └─ lib",
        "   └─ lib",
        "docs",
    ]
    twice = chain({"a": [], "b": ["a"], "c": ["b"], "d": ["b", "c"]})
    assert list(tree_lines(twice, ["d"])) == [
        "d",
        "├─ b",
        "│  └─ a",
        "└─ c",
        "   └─ b (above)",
    ]


def test_graphviz() -> None:
    """Nodes and edges of what was asked for; groups have no box."""
    graph = graph_of("target a: {command: [x]}\ntarget g: {depends: [a]}\ntarget z: {command: [x]}")
    assert list(dot_lines(graph, ["g"])) == [
        "digraph build {",
        "  rankdir=LR;",
        "  node [shape=box];",
        '  "a";',
        '  "g" [shape=plaintext];',
        '  "g" -> "a";',
        "}",
    ]
