"""The graph as a picture: SVG in layers, what is needed on the left, what needs it on the right.

After Sugiyama, Tagawa and Toda 1981 in its simplest form: a target stands one layer behind the last
one that it needs; within a layer targets move to the middle of their neighbours, some sweeps to and
fro; an edge that passes other layers holds a place free in each of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from html import escape

from builder.project.graph import Graph

CHARACTER, PADDING, HEIGHT = 7.3, 12.0, 26.0  # of a name in 12 px monospace, in pixels
GAP_X, GAP_Y, MARGIN = 60.0, 14.0, 16.0
SWEEPS = 6
MOST_NAME = 48
STYLE = (
    "text{font:12px ui-monospace,monospace;fill:#1f2328}"
    "rect{fill:#f6f8fa;stroke:#57606a;rx:5}.test rect{fill:#ddf4ff}"
    ".group rect{fill:none;stroke-dasharray:4 3}path{fill:none;stroke:#8c959f}"
)

Node = tuple[str, int]  # a target and its layer; in other layers than its own it is an edge's place


def svg(graph: Graph, names: Iterable[str]) -> str:
    """These targets with all that they need."""
    chosen = graph.closure(names)
    layer = _layers(graph.needs, chosen)
    nodes, edges = _with_places(graph.needs, layer)
    columns = _ordered(nodes, edges)
    widths = [max(_width(node, layer) for node in column) for column in columns]
    at = _positions(columns, widths)
    wide = sum(widths) + GAP_X * max(0, len(widths) - 1) + 2 * MARGIN
    tall = max((y for _, y in at.values()), default=0.0) + HEIGHT + MARGIN
    size = f'width="{wide:.0f}" height="{tall:.0f}" viewBox="0 0 {wide:.0f} {tall:.0f}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>']
    parts += _lines(edges, at, layer, widths)
    parts += (_box(graph, name, at[name, n], widths[n]) for name, n in layer.items())
    return "\n".join([*parts, "</svg>"])


def _layers(needs: Mapping[str, tuple[str, ...]], chosen: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in chosen:  # needed ones first
        found[name] = 1 + max((found[needed] for needed in needs[name]), default=-1)
    return found


def _with_places(
    needs: Mapping[str, tuple[str, ...]], layer: Mapping[str, int]
) -> tuple[list[Node], list[tuple[Node, Node]]]:
    """Nodes, and edges between neighbouring layers. One chain of places serves all edges from a
    target, so that they part late."""
    nodes: dict[Node, None] = dict.fromkeys(layer.items())
    edges: dict[tuple[Node, Node], None] = {}
    for name, own in layer.items():
        for needed in needs[name]:
            for n in range(layer[needed], own - 1):
                nodes[needed, n + 1] = None
                edges[(needed, n), (needed, n + 1)] = None
            edges[(needed, own - 1), (name, own)] = None
    return list(nodes), list(edges)


def _ordered(nodes: Iterable[Node], edges: Iterable[tuple[Node, Node]]) -> list[list[Node]]:
    columns: dict[int, list[Node]] = {}
    for node in nodes:
        columns.setdefault(node[1], []).append(node)
    left: dict[Node, list[Node]] = {}
    right: dict[Node, list[Node]] = {}
    for start, end in edges:
        left.setdefault(end, []).append(start)
        right.setdefault(start, []).append(end)
    found = [columns[n] for n in sorted(columns)]
    for sweep in range(SWEEPS):
        side, order = (left, found) if sweep % 2 == 0 else (right, found[::-1])
        rank: dict[Node, float] = {}
        for column in order:
            middle = {
                node: sum(rank.get(one, 0.0) for one in side[node]) / len(side[node])
                if node in side
                else float(n)
                for n, node in enumerate(column)
            }
            column.sort(key=middle.__getitem__)
            rank = {node: float(n) for n, node in enumerate(column)}
    return found


def _positions(columns: list[list[Node]], widths: list[float]) -> dict[Node, tuple[float, float]]:
    """The upper left corner of each; columns stand in the middle of the tallest."""
    tallest = max((len(column) for column in columns), default=0)
    at: dict[Node, tuple[float, float]] = {}
    x = MARGIN
    for column, width in zip(columns, widths, strict=True):
        top = MARGIN + (tallest - len(column)) * (HEIGHT + GAP_Y) / 2
        for n, node in enumerate(column):
            at[node] = (x, top + n * (HEIGHT + GAP_Y))
        x += width + GAP_X
    return at


def _width(node: Node, layer: Mapping[str, int]) -> float:
    name, n = node
    return len(_shown(name)) * CHARACTER + 2 * PADDING if layer[name] == n else 0.0


def _lines(
    edges: Iterable[tuple[Node, Node]],
    at: Mapping[Node, tuple[float, float]],
    layer: Mapping[str, int],
    widths: list[float],
) -> Iterator[str]:
    for start, end in edges:
        (x, y), (end_x, end_y) = at[start], at[end]
        y, end_y = y + HEIGHT / 2, end_y + HEIGHT / 2
        passed = "" if layer[start[0]] == start[1] else f"L{x + widths[start[1]]:.0f} {y:.0f}"
        x_out = x + (_width(start, layer) or widths[start[1]])
        begin = f"M{x:.0f} {y:.0f}{passed}" if passed else f"M{x_out:.0f} {y:.0f}"
        turn = (x_out + end_x) / 2
        bend = f"C{turn:.0f} {y:.0f} {turn:.0f} {end_y:.0f} {end_x:.0f} {end_y:.0f}"
        yield f'<path d="{begin}{bend}"/>'


def _box(graph: Graph, name: str, place: tuple[float, float], widest: float) -> str:
    target = graph.project.targets[name]
    kind = "group" if not target.arguments else "test" if target.test else "target"
    x, y = place
    width = min(widest, len(_shown(name)) * CHARACTER + 2 * PADDING)
    title = escape(f"{name}: {target.description}" if target.description else name)
    return (
        f'<g class="{kind}"><title>{title}</title>'
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{HEIGHT:.0f}"/>'
        f'<text x="{x + PADDING:.0f}" y="{y + 17:.0f}">{escape(_shown(name))}</text></g>'
    )


def _shown(name: str) -> str:
    return name if len(name) <= MOST_NAME else f"…{name[1 - MOST_NAME :]}"
