"""Work that is to be done later, by name, in order: in memory, or also in a file that survives us.

The file is a log: `+NAME` or `-NAME` a line. It is written anew when most of it is of the past.
An entry is in the file when `add` returns, so it outlives the death of the process; the last
moments before a loss of power may be missing.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from builder.base.errors import UnavailableError, UsageError
from builder.stores.folder import write_all

SLACK = 10_000  # lines of the past that are no reason to write anew


class Backlog:
    """Each name once, the oldest first. Raises UsageError for a file that cannot be used."""

    def __init__(self, path: Path | None = None) -> None:
        self._names: dict[str, None] = {}
        self._path = path
        self._descriptor = -1
        self._lines = 0
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._restore(path)
            except OSError as error:
                raise UsageError(f"queue file {path}: {error.strerror}") from error

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._names))

    def first(self, count: int) -> list[str]:
        return list(islice(self._names, count))

    def add(self, name: str) -> None:
        """Raises UnavailableError when it cannot be written down."""
        if name not in self._names:
            self._log(f"+{name}\n")
            self._names[name] = None

    def postpone(self, name: str) -> None:
        """The others first."""
        if name in self._names:
            del self._names[name]
            self._names[name] = None

    def done(self, name: str) -> None:
        """Forget it. That this is not written down does no harm: it is done again."""
        if name not in self._names:
            return
        del self._names[name]
        try:
            self._log(f"-{name}\n")
            if self._lines > SLACK + 2 * len(self._names):
                self._rewrite()
        except (OSError, UnavailableError):
            return

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _log(self, line: str) -> None:
        if self._path is None:
            return
        try:
            write_all(self._descriptor, line.encode())
        except OSError as error:
            message = f"queue file {self._path} cannot be written: {error.strerror}"
            raise UnavailableError(message) from error
        self._lines += 1

    def _restore(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for line in text.split("\n")[:-1]:  # what has no end was cut by the death of its writer
            if line.startswith("+"):
                self._names[line[1:]] = None
            elif line.startswith("-"):
                self._names.pop(line[1:], None)
        self._rewrite()

    def _rewrite(self) -> None:
        assert self._path is not None
        aside = self._path.with_name(f"{self._path.name}.new")
        aside.write_text("".join(f"+{name}\n" for name in self._names), encoding="utf-8")
        descriptor = os.open(aside, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        os.replace(aside, self._path)
        self.close()
        self._descriptor = descriptor
        self._lines = len(self._names)
