"""YAML text as plain values, and where in the text each of them stands.

The scalars are those of YAML 1.2's core schema, narrowed to what cannot surprise: `yes`, `on`,
`1:30`, `010`, `.inf` and dates are text. Keys are always text. Aliases and `<<` merges work;
a cycle or an expansion without bounds is an error. Source: YAML 1.2.2, chapters 3, 7 and 10.3.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.resolver import BaseResolver

from builder.base.problems import DocumentError, Position, Problem

try:
    from yaml.cyaml import CParser as Parser  # type: ignore[attr-defined]  # its stub hides it
except ImportError:  # PyYAML without libyaml: the same language, some ten times slower
    from yaml.composer import Composer
    from yaml.parser import Parser as EventParser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class Parser(Reader, Scanner, EventParser, Composer):  # type: ignore[no-redef]
        def __init__(self, stream: str) -> None:
            Reader.__init__(self, stream)
            Scanner.__init__(self)
            EventParser.__init__(self)
            Composer.__init__(self)


Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
Path: TypeAlias = tuple[str | int, ...]

MAX_DEPTH = 64
SAFE_DEPTH = 2_000  # what libyaml's recursion certainly survives
MAX_VALUES = 1_000_000  # after the expansion of aliases
TAG = "tag:yaml.org,2002:"
NO_TAG = "remove it; quote a text value that begins with '!'"
MERGE = "<<"

# What libyaml says, in words that help; the first match wins. CONTEXT: point at where the
# construct begins, because the parser notices only behind it.
CONTEXT, HERE = True, False
WORDS = (
    ("cannot start any token", HERE, "this character cannot stand here", "quote a text value"),
    (
        "mapping values are not allowed",
        HERE,
        "a ':' cannot stand here",
        "quote a value that holds ': ', or end the line above with ':'",
    ),
    ("find expected ':'", CONTEXT, "a ':' is missing after the key", "write 'key: value'"),
    ("find expected key", HERE, "a key was expected here", "check the indentation"),
    (
        "expected <block end>",
        HERE,
        "this is not in line with what is above",
        "check the indentation",
    ),
    (
        "expected whitespace or line break",
        CONTEXT,
        "'!' begins a tag, which has no meaning here",
        "quote a text value that begins with '!'",
    ),
    ("expected '-'", HERE, "a list item ('- value') was expected here", "check the indentation"),
    ("expected ',' or ']'", CONTEXT, "this '[' is never closed", "close it with ']'"),
    ("expected ',' or '}'", CONTEXT, "this '{' is never closed", "close it with '}'"),
    ("unexpected end of stream", CONTEXT, "this quote is never closed", "close it"),
    ("undefined alias", HERE, "this alias has no anchor above it", "quote it if '*' is text"),
    (
        "expected alphabetic or numeric character",
        HERE,
        "'*' begins an alias, which has no anchor above it",
        "quote it if '*' is text",
    ),
    ("another document", HERE, "a second document starts here", "keep one document in a file"),
)


@dataclass(frozen=True, slots=True)
class Document:
    """`value` is made of None, bool, int, float, str, list and dict; `source` names the text."""

    value: Plain
    source: str
    text: str = field(repr=False)
    root: Node | None = field(repr=False, compare=False)

    def position(self, path: Sequence[str | int], *, key: bool = False) -> Position:
        """Where the value at this path stands, or its key; for a path that does not exist,
        where the nearest value above it stands."""
        node = self.root
        found = _position(node)
        for step in path:
            pair = _child(node, step)
            if pair is None:
                break
            name, node = pair
            found = _position(name if key and name is not None else node)
        return found

    def error(
        self, path: Sequence[str | int], message: str, hint: str = "", *, key: bool = False
    ) -> DocumentError:
        """A DocumentError at this path, for the caller to raise."""
        problem = Problem(self.position(path, key=key), message, hint)
        return DocumentError(self.source, self.text, [problem])


def parse(text: str | bytes, source: str) -> Document:
    """Raises DocumentError for anything that is not one well-formed document."""
    if isinstance(text, bytes):
        text = _decode(text, source)
    text = text.removeprefix("\ufeff")
    root = _compose(text, source)
    try:
        value = None if root is None else _Values().plain(root, 0)
    except _RefusedError as refused:
        raise DocumentError(source, text, [refused.problem]) from None
    return Document(value, source, text, root)


def _decode(data: bytes, source: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        problem = Problem(_end(before), "this is not UTF-8 text", "save the file as UTF-8")
        raise DocumentError(source, before, [problem]) from None


def _end(text: str) -> Position:
    return Position(text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1)


class _Loader(Parser, BaseResolver):
    """Composes nodes; scalars are resolved by the rules below alone."""

    def __init__(self, text: str) -> None:
        Parser.__init__(self, text)
        BaseResolver.__init__(self)


SCALARS = {  # kind: pattern, and the characters that it can start with ("" is the empty scalar)
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+", list("-+0123456789")),
    "float": (
        r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
}
for _kind, (_pattern, _starts) in SCALARS.items():
    _Loader.add_implicit_resolver(TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), _starts)


def _compose(text: str, source: str) -> Node | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # a lone surrogate
        problem = Problem(_end(text[: error.start]), "this is not a character", "save it as UTF-8")
        shown = text.encode(errors="replace").decode()
        raise DocumentError(source, shown, [problem]) from None
    try:
        _refuse_abyss(text, source)
        node: Node | None = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise DocumentError(source, text, [_problem(error, text)]) from None
    except yaml.reader.ReaderError as error:
        position = _end(text[: error.position])
        code = error.character if isinstance(error.character, int) else ord(error.character)
        message = f"the character U+{code:04X} is not allowed in YAML"
        raise DocumentError(source, text, [Problem(position, message, "remove it")]) from None
    return node


def _refuse_abyss(text: str, source: str) -> None:
    """libyaml composes nodes by recursion and dies of a few ten thousand levels. Events do not
    nest, so they are counted first where the text could possibly nest that deep."""
    brackets = text.count("[") + text.count("{")
    if brackets < SAFE_DEPTH and max(map(len, text.splitlines()), default=0) < SAFE_DEPTH:
        return
    depth = 0
    events = _Loader(text)
    while events.check_event():
        event = events.get_event()
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            message = f"nested deeper than {MAX_DEPTH} levels"
            mark = event.start_mark if event else None
            problem = Problem(_marked(mark), message, "flatten it")
            raise DocumentError(source, text, [problem])


def _problem(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    position = _marked(mark)
    said = str(error.problem or error.context or error)
    line = (text.splitlines() or [""])[min(position.line, text.count("\n") + 1) - 1 :][:1]
    if line and "\t" in line[0][: len(line[0]) - len(line[0].lstrip())]:
        column = line[0].index("\t") + 1
        message = "a tab cannot indent a line in YAML"
        return Problem(Position(position.line, column), message, "indent with spaces")
    for phrase, where, message, hint in WORDS:
        if phrase in said:
            start = error.context_mark if where is CONTEXT and error.context_mark else mark
            return Problem(_marked(start), message, hint)
    return Problem(position, f"this is not YAML: {said}")


class _RefusedError(Exception):
    def __init__(self, node: Node, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(_position(node), message, hint)


class _Values:
    """Builds plain values from nodes and counts them."""

    def __init__(self) -> None:
        self._count = 0
        self._open: set[int] = set()

    def plain(self, node: Node, depth: int) -> Plain:
        self._count += 1
        if self._count > MAX_VALUES:
            raise _RefusedError(node, f"more than {MAX_VALUES} values", "use fewer aliases")
        if isinstance(node, ScalarNode):
            return _scalar(node)
        if id(node) in self._open:
            raise _RefusedError(node, "this anchor contains itself", "remove the alias inside it")
        if depth >= MAX_DEPTH:
            raise _RefusedError(node, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        if node.tag not in (TAG + "map", TAG + "seq"):
            raise _RefusedError(node, f"the tag {_tag(node)} has no meaning here", NO_TAG)
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.plain(item, depth + 1) for item in node.value]
            return {name.value: self.plain(value, depth + 1) for name, value in _unique(node)}
        finally:
            self._open.discard(id(node))


def _scalar(node: ScalarNode) -> Plain:
    text: str = node.value
    match node.tag.removeprefix(TAG):
        case "str":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int" | "float" as kind:
            return _number(node, kind)
    raise _RefusedError(node, f"the tag {_tag(node)} has no meaning here", NO_TAG)


def _number(node: ScalarNode, kind: str) -> int | float:
    try:
        value = int(node.value, 0) if kind == "int" else float(node.value)
    except ValueError:
        raise _RefusedError(node, f"{node.value[:40]!r} is not a number") from None
    if not math.isfinite(value):
        raise _RefusedError(node, f"the number {node.value[:40]} is too large")
    return value


def _tag(node: Node) -> str:
    tag: str = node.tag
    return "!!" + tag.removeprefix(TAG) if tag.startswith(TAG) else tag


def _unique(node: Node) -> Iterator[tuple[ScalarNode, Node]]:
    """The pairs of a mapping. Raises for a key that stands twice in the same block."""
    seen: dict[str, Node] = {}
    for name, _ in node.value:
        if not isinstance(name, ScalarNode):
            raise _RefusedError(name, "a key must be text", "quote it")
        if name.value in seen:
            first = _position(seen[name.value])
            message = f"the key {name.value!r} stands twice; the first is in line {first.line}"
            raise _RefusedError(name, message, "remove one of the two")
        seen[name.value] = name
    return _pairs(node)


def _pairs(node: Node, trail: tuple[int, ...] = ()) -> Iterator[tuple[ScalarNode, Node]]:
    """The pairs of a mapping with `<<` merged in; own keys win, then the first that was merged."""
    own = {name.value: (name, value) for name, value in node.value if not _is_merge(name)}
    for name, value in node.value:
        if _is_merge(name):
            for merged in value.value if isinstance(value, SequenceNode) else [value]:
                if not isinstance(merged, MappingNode):
                    raise _RefusedError(name, "'<<' merges blocks of keys only")
                if id(merged) in (*trail, id(node)):
                    raise _RefusedError(name, "this block merges itself", "remove the '<<'")
                for pair in _pairs(merged, (*trail, id(node))):
                    own.setdefault(pair[0].value, pair)
    return iter(own.values())


def _is_merge(name: Node) -> bool:
    return isinstance(name, ScalarNode) and name.value == MERGE and not name.style


def _child(node: Node | None, step: str | int) -> tuple[ScalarNode | None, Node] | None:
    if isinstance(node, MappingNode):
        return next((pair for pair in _pairs(node) if pair[0].value == step), None)
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None


def _position(node: Node | None) -> Position:
    return _marked(node.start_mark if node is not None else None)


def _marked(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
