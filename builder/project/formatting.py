"""A Builderfile in its usual form: `bldr fmt`.

One blank line between blocks and none within them, no blanks at the ends of lines, a target's keys
in the order of the schema and indented by two columns; each comment stays above what it stands
above. Scripts, and what is written in one line, stay as they are. Whole lines are moved and none is
rewritten; what then says something else than before is refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from yaml.nodes import MappingNode, Node, ScalarNode

from builder.base.document import parse
from builder.base.errors import UsageError
from builder.project.model import TARGET_PREFIX

INDENT = 2
BLOCK_STYLES = ("|", ">")
BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class _Part:
    """One key of a mapping: its lines `start` to `end`, inclusive, and the comments above it."""

    key: str
    value: Node
    start: int
    end: int
    comments: list[str]


def formatted(text: str, source: str, key_order: Sequence[str]) -> str:
    """Raises UsageError for what is no YAML, or cannot be formatted faithfully."""
    text = text.removeprefix(BOM).replace("\r\n", "\n")
    document = parse(text, source)
    lines = text.split("\n")
    if not isinstance(document.root, MappingNode) or document.root.flow_style:
        return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"
    kept = set(_within_scalars(document.root))
    parts, tail = _parts(lines, document.root, 0, len(lines))
    rank = {key: n for n, key in enumerate(key_order)}
    blocks = ["\n".join([*part.comments, *_block(lines, part, kept, rank)]) for part in parts]
    end = "\n".join(tail).rstrip("\n")
    result = "\n\n".join([*blocks, end] if end else blocks) + "\n"
    same = _words(result) == _words(text) and parse(result, source).value == document.value
    if not same:
        message = f"{source} cannot be formatted without changing what it says"
        raise UsageError(f"{message}; it is left alone (are there anchors within a target?)")
    return result


def _words(text: str) -> list[str]:
    """Every line, whatever its place and indentation."""
    return sorted(line.strip() for line in text.split("\n") if line.strip())


def _block(lines: list[str], part: _Part, kept: set[int], rank: dict[str, int]) -> Iterator[str]:
    """A block at the top of the file without the comments above it."""
    value = part.value
    if (
        not part.key.startswith(TARGET_PREFIX)
        or not isinstance(value, MappingNode)
        or value.flow_style
        or not value.value
        or value.value[0][0].start_mark.line == part.start
    ):
        yield from _tidy(lines, part.start, part.end, kept, 0)
        return
    inner, tail = _parts(lines, value, part.start + 1, part.end + 1)
    yield lines[part.start].rstrip()
    for one in sorted(inner, key=lambda one: rank.get(one.key, -1)):
        column = len(lines[one.start]) - len(lines[one.start].lstrip())
        yield from (" " * INDENT + comment for comment in one.comments if comment)
        yield from _tidy(lines, one.start, one.end, kept, INDENT - column)
    yield from (" " * INDENT + comment for comment in tail if comment)


def _parts(
    lines: list[str], node: MappingNode, start: int, end: int
) -> tuple[list[_Part], list[str]]:
    """The keys of a mapping in lines from `start` to before `end`, and the comments behind them."""
    found: list[_Part] = []
    at = start
    pairs = node.value
    for number, (name, value) in enumerate(pairs):
        first, column = name.start_mark.line, name.start_mark.column
        last = (pairs[number + 1][0].start_mark.line if number + 1 < len(pairs) else end) - 1
        while last > first and _is_above(lines[last], column):
            last -= 1
        comments = _paragraphs(lines[at:first])
        found.append(_Part(name.value, value, first, last, comments))
        at = last + 1
    return found, _paragraphs(lines[at:end])


def _paragraphs(lines: Iterable[str]) -> list[str]:
    """Comments with what was at least one empty line between and behind them."""
    found: list[str] = []
    for line in lines:
        bare = line.strip()
        if bare or (found and found[-1]):
            found.append(bare)
    return found


def _is_above(line: str, column: int) -> bool:
    """Whether it is empty, or a comment on what follows and not within what it follows."""
    bare = line.lstrip()
    return not bare or (bare[0] == "#" and len(line) - len(bare) <= column)


def _tidy(lines: list[str], start: int, end: int, kept: set[int], shift: int) -> Iterator[str]:
    """These lines moved by some columns; a text's own lines are `kept` as they are, but moved."""
    for number in range(start, end + 1):
        line = lines[number]
        if number not in kept:
            line = line.rstrip()
            if not line:
                continue
        if shift > 0 and line:
            line = " " * shift + line
        elif shift < 0:
            line = line[min(-shift, len(line) - len(line.lstrip(" "))) :]
        yield line


def _within_scalars(node: Node) -> Iterator[int]:
    """Numbers of lines that a text goes on in, where blanks and empty lines count."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, ScalarNode):
            yield from range(one.start_mark.line + 1, _last_line(one) + 1)
        elif isinstance(one, MappingNode):
            waiting += [item for pair in one.value for item in pair]
        else:
            waiting += one.value


def _last_line(node: ScalarNode) -> int:
    """The mark of a block stands at the beginning of the line behind it."""
    mark = node.end_mark
    return int(mark.line) - (node.style in BLOCK_STYLES and mark.column == 0)
