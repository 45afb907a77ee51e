"""A config file with some of its values changed: every other byte stays as it was.

The parser tells where each value stands; only that text is exchanged. A key that is not there is
added behind the last one of its section, in the section's own style. A number in a path means an
item of a list, which has to be there.
"""

from collections.abc import Mapping

import yaml

from builder.base.document import Plain
from builder.base.errors import UsageError

KeyPath = tuple[str, ...]
INDENT = 2


def edited(text: str, changes: Mapping[KeyPath, Plain]) -> str:
    """The text with these keys set, in their order.

    `text` is a mapping, as every valid config file is, or empty. Raises UsageError where a key
    leads through something else.
    """
    for path, value in changes.items():
        text = _edited(text, path, value)
    return text


def _edited(text: str, path: KeyPath, value: Plain) -> str:
    section = yaml.compose(text, Loader=yaml.SafeLoader)
    if section is None:
        between = "" if not text or text.endswith("\n") else "\n"
        return text + between + _block(path, value, 0)
    for depth, key in enumerate(path):
        if isinstance(section, yaml.SequenceNode) and key.isdecimal():
            if int(key) >= len(section.value):
                raise UsageError(f"{'.'.join(path[:depth])} has no item {key}")
            section = section.value[int(key)]
            continue
        if not isinstance(section, yaml.MappingNode):
            raise UsageError(f"{'.'.join(path[:depth])} is no section of keys")
        found = next((pair for pair in section.value if pair[0].value == key), None)
        if found is None:
            return _added(text, section, path[depth:], value)
        name, section = found
    end = _end(text, section)
    if isinstance(section, yaml.CollectionNode) and not section.flow_style:
        return f"{text[: name.end_mark.index]}: {_flow(value)}{text[end:]}"  # from below to beside
    return text[: section.start_mark.index] + _flow(value) + text[end:]


def _added(text: str, section: yaml.MappingNode, path: KeyPath, value: Plain) -> str:
    if section.flow_style:
        place = section.end_mark.index - 1  # before the brace
        for key in reversed(path[1:]):
            value = {key: value}
        comma = ", " if section.value else ""
        kept = text[:place].rstrip()
        return f"{kept}{comma}{path[0]}: {_flow(value)}{text[place:]}"
    place = text.find("\n", _end(text, section)) + 1
    before = text if not place else text[:place]
    after = "" if not place else text[place:]
    between = "" if before.endswith("\n") else "\n"
    return before + between + _block(path, value, section.start_mark.column) + after


def _end(text: str, node: yaml.Node) -> int:
    """Where its own text ends; a block's mark is behind the comments and empty lines below it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    end = node.end_mark.index
    return end - 1 if end > node.start_mark.index and text[end - 1] == "\n" else end


def _block(path: KeyPath, value: Plain, indent: int) -> str:
    """`a:` and below it `b: value`, for ("a", "b")."""
    lines = [f"{' ' * (indent + INDENT * depth)}{key}:" for depth, key in enumerate(path)]
    return "\n".join(lines) + f" {_flow(value)}\n"


def _flow(value: Plain) -> str:
    """On one line."""
    written: str = yaml.safe_dump(value, default_flow_style=True, width=1_000_000)
    return written.removesuffix("\n").removesuffix("\n...").rstrip("\n")
