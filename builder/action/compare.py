"""What differs between two actions: why the second was no hit on the result of the first.

An action's key is the digest of everything that it says, so each difference listed here is enough
for a miss. Inputs are compared by path; who reads the trees may leave out what lies in equal
directories.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher, unified_diff
from itertools import zip_longest

MOST_ALIGNED = 500  # arguments between the equal ends that are aligned and not just counted
MOST_DIFF_LINES = 60
MOST_LINE = 300


@dataclass(frozen=True, slots=True)
class Described:
    """An action in words. `inputs` has a digest (`hash/size`) or `-> target` for each path."""

    arguments: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """`before` or `after` is None where the action has no such thing."""

    kind: str
    name: str
    before: str | None
    after: str | None


def differences(before: Described, after: Described) -> list[Difference]:
    """All of them: settings, arguments, variables, platform, outputs, then inputs by path."""
    return [
        *_mapped("setting", before.settings, after.settings),
        *_arguments(before.arguments, after.arguments),
        *_mapped("variable", before.variables, after.variables),
        *_mapped("platform", before.platform, after.platform),
        *_mapped("output", _named(before.outputs), _named(after.outputs)),
        *_mapped("input", before.inputs, after.inputs),
    ]


def _named(names: Sequence[str]) -> dict[str, str]:
    return dict.fromkeys(names, "declared")


def _mapped(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[Difference]:
    return [
        Difference(kind, name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _arguments(before: Sequence[str], after: Sequence[str]) -> Iterator[Difference]:
    """By position in the newer command (from 0, the program); equal ends are left out first."""
    start = 0
    shorter = min(len(before), len(after))
    while start < shorter and before[start] == after[start]:
        start += 1
    end = 0
    while end < shorter - start and before[-1 - end] == after[-1 - end]:
        end += 1
    old = before[start : len(before) - end]
    new = after[start : len(after) - end]
    if max(len(old), len(new)) > MOST_ALIGNED:
        yield Difference(
            "argument", f"{start} and on", f"{len(old)} arguments", f"{len(new)} other arguments"
        )
        return
    for tag, i, j, k, n in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for offset, pair in enumerate(zip_longest(old[i:j], new[k:n])):
            yield Difference("argument", str(start + k + offset), *pair)


def text_diff(before: bytes, after: bytes) -> str:
    """A unified diff of two small texts; empty where one of them is no text."""
    try:
        old, new = before.decode().splitlines(), after.decode().splitlines()
    except UnicodeDecodeError:
        return ""
    if any("\0" in line for line in (*old, *new)):
        return ""
    lines = [line[:MOST_LINE] for line in unified_diff(old, new, "before", "after", lineterm="")]
    if len(lines) > MOST_DIFF_LINES:
        left = len(lines) - MOST_DIFF_LINES
        lines = [*lines[:MOST_DIFF_LINES], f"... {left} lines more"]
    return "\n".join(lines)


def summary(found: Sequence[Difference]) -> str:
    """`1 argument and 2 inputs`."""
    counts: dict[str, int] = {}
    for difference in found:
        counts[difference.kind] = counts.get(difference.kind, 0) + 1
    plural = {"platform": "platform properties"}
    singular = {"platform": "platform property"}
    words = [
        f"{number} {singular.get(kind, kind) if number == 1 else plural.get(kind, kind + 's')}"
        for kind, number in counts.items()
    ]
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
