"""Questions about a graph: what is needed, by whom, and by which way."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from builder.project.graph import Graph


def needed_by(graph: Graph) -> dict[str, list[str]]:
    """For each target those that need it directly, in the order of the file."""
    found: dict[str, list[str]] = {name: [] for name in graph.project.targets}
    for name in graph.project.targets:
        for needed in graph.needs[name]:
            found[needed].append(name)
    return found


def members(graph: Graph, names: Iterable[str]) -> list[str]:
    """These targets, with each group replaced by what it stands for."""
    found: dict[str, None] = {}
    waiting = list(reversed(list(names)))
    while waiting:
        name = waiting.pop()
        if graph.project.targets[name].arguments:
            found[name] = None
        else:
            waiting += reversed(graph.needs[name])
    return list(found)


def dependents(graph: Graph, names: Iterable[str]) -> list[str]:
    """All that need one of these, directly or not, nearest first; without these themselves."""
    back = needed_by(graph)
    start = list(names)
    reached = dict.fromkeys(start)
    waiting = deque(start)
    while waiting:
        for later in back[waiting.popleft()]:
            if later not in reached:
                reached[later] = None
                waiting.append(later)
    return [name for name in reached if name not in start]


def some_path(graph: Graph, start: str, end: str) -> list[str]:
    """A shortest way by which `start` needs `end`, both included; empty when it does not."""
    came: dict[str, str] = {start: ""}
    waiting = deque([start])
    while waiting and end not in came:
        name = waiting.popleft()
        for needed in graph.needs[name]:
            if needed not in came:
                came[needed] = name
                waiting.append(needed)
    way: list[str] = []
    at = end if end in came else ""
    while at:
        way.append(at)
        at = came[at]
    return way[::-1]


def tree_lines(graph: Graph, names: Iterable[str]) -> Iterator[str]:
    """The graph as a tree of text. What was shown before is named again, and not unfolded."""
    shown: set[str] = set()
    for name in names:
        yield from _branch(graph.needs, name, "", "", shown)


def _branch(
    needs: Mapping[str, tuple[str, ...]], root: str, first: str, rest: str, shown: set[str]
) -> Iterator[str]:
    stack = [(root, first, rest)]
    while stack:
        name, first, rest = stack.pop()
        again = name in shown and bool(needs[name])
        yield f"{first}{name}{' (above)' if again else ''}"
        if again:
            continue
        shown.add(name)
        children = needs[name]
        for child in reversed(children):
            last = child == children[-1]
            branch = ("└─ ", "   ") if last else ("├─ ", "│  ")
            stack.append((child, rest + branch[0], rest + branch[1]))


def dot_lines(graph: Graph, names: Iterable[str]) -> Iterator[str]:
    """The graph in Graphviz's language; groups are drawn as plain text."""
    yield "digraph build {"
    yield "  rankdir=LR;"
    yield "  node [shape=box];"
    chosen = graph.closure(names)
    for name in chosen:
        kind = "" if graph.project.targets[name].arguments else " [shape=plaintext]"
        yield f"  {_quoted(name)}{kind};"
    for name in chosen:
        for needed in graph.needs[name]:
            yield f"  {_quoted(name)} -> {_quoted(needed)};"
    yield "}"


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
