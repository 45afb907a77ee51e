"""Paths and globs of a Builderfile: relative to it, with `/`, on every system.

    *       any characters of one name, `?` one of them, `[abc]` `[!abc]` `[a-z]` one of a set
    **      as a whole segment: any number of directories, none included
            (at the end: everything beneath); `dir/` is the same as `dir/**`

Names that start with a dot match like others, but a wildcard never enters the directories of
version control or our own state: name them if you mean them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from builder.base.errors import UsageError

WILD = frozenset("*?[")
# What a wildcard does not enter by itself.
PRIVATE_NAMES = frozenset({".builder", ".git", ".hg", ".svn"})


class PathError(UsageError):
    """A path that cannot be used; `hint` says what to write."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def normalise(text: str) -> str:
    """Without `.`, doubled and trailing slashes. Raises PathError for what leaves the project."""
    if not text:
        raise PathError("the path is empty", "write a path relative to the Builderfile")
    if "\0" in text or "\\" in text:
        raise PathError(
            f"{text!r} holds a character that no path may hold", "use '/' between names"
        )
    if text.startswith(("/", "~")):
        raise PathError(
            f"{text!r} is absolute: an action sees only what lies in the project",
            "write it relative to the Builderfile; programs of the system are found by PATH",
        )
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise PathError(
            f"{text!r} holds '..': an action sees only what lies in the project",
            "move the Builderfile up to the directory that holds all of it",
        )
    if not parts:
        raise PathError(f"{text!r} is the project itself", "name the files: for example src/**")
    return "/".join(parts)


def is_within(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies beneath it."""
    return path == root or path.startswith(root + "/")


def parents(path: str) -> Iterator[str]:
    """`a/b/c` -> `a/b`, `a`."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


@dataclass(frozen=True, slots=True)
class Pattern:
    """A glob or a plain path, normalised. `base` is the directory above the first wildcard."""

    text: str
    base: str
    wild: bool

    def matches(self, path: str) -> bool:
        """Whether it means this file."""
        if not self.wild:
            return path == self.text
        return _regex(self.text).fullmatch(path) is not None

    def enters(self, directory: str) -> bool:
        """Whether a file beneath this directory could match."""
        reached = {0}
        parts = self.text.split("/")
        for name in directory.split("/"):
            reached = {n for at in reached for n in _step(parts, at, name)}
        return any(at < len(parts) for at in reached)


def pattern(text: str) -> Pattern:
    """Raises PathError."""
    path = normalise(text)
    if text.endswith("/"):
        path += "/**"
    parts = path.split("/")
    if any("**" in part and part != "**" for part in parts):
        raise PathError(
            f"{text!r} mixes '**' with other characters in one name",
            "write '**' between slashes: for example src/**/*.cpp",
        )
    if parts[-1] == "**":
        parts.append("*")
    try:
        _regex("/".join(parts))
    except re.error as error:
        raise PathError(f"{text!r} is no glob: {error.msg}", "write sets as [a-z]") from None
    still = next((n for n, part in enumerate(parts) if WILD & set(part)), len(parts))
    return Pattern("/".join(parts), "/".join(parts[:still]), still < len(parts))


def within(package: str, found: Pattern) -> Pattern:
    """A package's own pattern as one of the whole workspace."""
    if not package:
        return found
    base = f"{package}/{found.base}" if found.base else package
    return Pattern(f"{package}/{found.text}", base, found.wild)


def plain(path: str) -> Pattern:
    """This very file, whatever characters its name has."""
    return Pattern(path, path, False)


def _step(parts: list[str], at: int, name: str) -> Iterator[int]:
    """Where matching may stand after one directory's name, having stood before `parts[at]`."""
    if at >= len(parts):
        return
    if parts[at] == "**":
        if name not in PRIVATE_NAMES:
            yield at
        yield from _step(parts, at + 1, name)
    elif name == parts[at] or (name not in PRIVATE_NAMES and _regex(parts[at]).fullmatch(name)):
        yield at + 1


@lru_cache(maxsize=4096)
def _regex(text: str) -> re.Pattern[str]:
    parts = text.split("/")
    regex = "".join("(?:[^/]+/)*" if part == "**" else _segment(part) + "/" for part in parts[:-1])
    return re.compile(regex + _segment(parts[-1]), re.DOTALL)


SET = re.compile(r"\[(!?)(\]?[^\]]*)\]")


def _segment(part: str) -> str:
    """One name's pattern as a regular expression; a `[` that is never closed is itself."""
    regex = ""
    at = 0
    while at < len(part):
        char = part[at]
        if char == "[" and (found := SET.match(part, at)) and found[2]:
            members = re.sub(r"([\[\]^&~|])", r"\\\1", found[2])
            regex += f"[^/{members}]" if found[1] else f"[{members}]"
            at = found.end()
            continue
        regex += {"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char)
        at += 1
    return regex
