"""What is wrong in a text: where, what, the line itself with a caret, and what to do.

worker.yaml:4:3: unknown key 'slot' in 'worker'; did you mean 'slots'?
    4 |   slot: 2
      |   ^
        known here: coordinator, name, slots
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from builder.base.errors import UsageError

SHOWN_PROBLEMS = 20
SHOWN_WIDTH = 110  # columns of a source line
# A value behind a key that sounds like a secret; references to files and variables are none.
SECRET_VALUE = re.compile(
    r"""((?:token|secret|passw|credential)[\w-]*["']?\s*:\s+["']?)(?!file:|\$\{|[\[{])([^\s,}"']+)""",
    re.IGNORECASE,
)


class Position(NamedTuple):
    """A place in a text; both count from 1, columns in characters."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `hint` says what to do; a secret's line is never shown."""

    position: Position
    message: str
    hint: str = ""
    secret: bool = False


class DocumentError(UsageError):
    """What is wrong in a document: per problem `source:line:column: message`, the line, a caret."""

    def __init__(self, source: str, text: str, problems: Sequence[Problem]) -> None:
        lines = text.splitlines()
        shown = [_show(source, lines, problem) for problem in problems[:SHOWN_PROBLEMS]]
        if len(problems) > SHOWN_PROBLEMS:
            shown.append(f"{source}: and {len(problems) - SHOWN_PROBLEMS} more problems")
        super().__init__("\n".join(shown))
        self.source = source
        self.problems = tuple(problems)


def _show(source: str, lines: Sequence[str], problem: Problem) -> str:
    line, column = problem.position
    shown = [f"{source}:{line}:{column}: {problem.message}"]
    if line <= len(lines) and not problem.secret:
        start = max(0, column - SHOWN_WIDTH + 20)
        visible = redacted(lines[line - 1])[start : start + SHOWN_WIDTH].rstrip()
        visible = "".join(char if char.isprintable() else " " for char in visible)
        margin = f"{line:>5} | "
        shown.append(f"{margin}{visible}")
        shown.append(f"{' ' * (len(margin) - 2)}| {' ' * (column - 1 - start)}^")
    if problem.hint:
        shown.append(f"        {problem.hint}")
    return "\n".join(shown)


def redacted(line: str) -> str:
    """The line with what looks like a secret starred out, column for column."""
    return SECRET_VALUE.sub(lambda match: match[1] + "*" * len(match[2]), line)
