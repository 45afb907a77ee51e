"""The picture of a graph."""

import re
from xml.etree import ElementTree

from builder.project.drawing import HEIGHT, svg
from tests.project.sample import chain, graph_of

SVG = "{http://www.w3.org/2000/svg}"


def boxes(text: str) -> dict[str, tuple[float, float, float]]:
    """(x, y, width) by name."""
    found = {}
    for group in ElementTree.fromstring(text).iter(f"{SVG}g"):
        rect, label = group.find(f"{SVG}rect"), group.find(f"{SVG}text")
        assert rect is not None
        assert label is not None
        x, y, width = (float(rect.attrib[key]) for key in ("x", "y", "width"))
        found[str(label.text)] = (x, y, width)
    return found


def ends(text: str) -> list[tuple[float, float, float, float]]:
    """Of each line."""
    found = []
    for path in ElementTree.fromstring(text).iter(f"{SVG}path"):
        numbers = [float(one) for one in re.findall(r"-?[\d.]+", path.attrib["d"])]
        found.append((numbers[0], numbers[1], numbers[-2], numbers[-1]))
    return found


def test_what_is_needed_stands_before() -> None:
    """On the left of all that need it; nothing overlaps."""
    graph = chain({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["a", "d"]})
    found = boxes(svg(graph, ["e"]))
    assert list(found) == ["a", "b", "c", "d", "e"]
    for name, needs in graph.needs.items():
        for needed in needs:
            x, _, width = found[needed]
            assert x + width < found[name][0]
    places = [(x, y) for x, y, _ in found.values()]
    assert len(set(places)) == len(places)
    assert all(
        abs(one[1] - other[1]) >= HEIGHT
        for one in places
        for other in places
        if one != other and one[0] == other[0]
    )


def test_lines_meet_boxes() -> None:
    """Each edge ends at the left side of what needs, in the middle of its height."""
    text = svg(chain({"first": [], "second": ["first"]}), ["second"])
    found = boxes(text)
    (line,) = ends(text)
    x, y, width = found["first"]
    assert line[:2] == (x + width, y + HEIGHT / 2)
    assert line[2:] == (found["second"][0], found["second"][1] + HEIGHT / 2)


def test_few_crossings() -> None:
    """Two ladders that are written crosswise stand side by side."""
    needs = {"a1": [], "b1": [], "b2": ["b1"], "a2": ["a1"], "a3": ["a2"], "b3": ["b2"]}
    found = boxes(svg(chain(needs), ["a3", "b3"]))
    above = [found[f"a{n}"][1] < found[f"b{n}"][1] for n in (1, 2, 3)]
    assert above in ([True] * 3, [False] * 3)


def test_names_and_kinds() -> None:
    """Characters of XML are escaped; groups and tests look different; long names are cut."""
    long = "x" * 60
    text = svg(
        graph_of(
            "target a: {command: [x], description: 'less < more & \"so\"'}\n"
            "target t: {command: [x], test: true, depends: [a]}\n"
            f"target {long}: {{depends: [t]}}\n"
        ),
        [long],
    )
    kinds = [group.attrib["class"] for group in ElementTree.fromstring(text).iter(f"{SVG}g")]
    assert kinds == ["target", "test", "group"]
    assert "less &lt; more &amp; " in text
    assert max(len(name) for name in boxes(text)) == 48


def test_many() -> None:
    """A thousand targets are no trouble."""
    needs = {f"t{n}": [f"t{n // 3}"] if n else [] for n in range(1000)}
    assert len(boxes(svg(chain(needs), list(needs)))) == 1000
