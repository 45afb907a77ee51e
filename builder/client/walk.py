"""The project's source files, as globs find them. Each directory is listed once."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from builder.action.tree import Entry, Folder, Link
from builder.base.errors import BuilderError
from builder.client.filestate import FileStates
from builder.client.noop import listing
from builder.project.ignore import Ignored
from builder.project.model import FILE_NAMES
from builder.project.paths import PRIVATE_NAMES, Pattern

NOTHING = Ignored()


class Walker:
    """What was looked at so far: `listed` directories by their path, `bases` of globs with all
    above them, and directories that are `absent`."""

    def __init__(self, root: Path, ignored: Ignored = NOTHING) -> None:
        self.root = str(root)
        self.ignored = ignored
        self.listed: dict[str, list[tuple[str, bool]]] = {}
        self.bases: set[str] = set()
        self.absent: set[str] = set()

    def link_above(self, base: str) -> str | None:
        """The symlink among a glob's first directories, which no glob follows."""
        above = list(_prefixes(base))
        self.bases.update(above)
        return next((path for path in above if os.path.islink(f"{self.root}/{path}")), None)

    def walk(self, pattern: Pattern, skip: Callable[[str], bool]) -> Iterator[str]:
        """The files of a wild pattern; directories to `skip` are not entered."""
        waiting = [] if self.ignored and self.ignored.hides(pattern.base) else [pattern.base]
        while waiting:
            directory = waiting.pop()
            prefix = f"{directory}/" if directory else ""
            for name, is_directory in self._list(directory):
                path = prefix + name
                if self.ignored and self.ignored.ignores(path):
                    continue
                if not is_directory:
                    if pattern.matches(path):
                        yield path
                elif pattern.enters(path) and not skip(path):
                    waiting.append(path)

    def find(self, wanted: Sequence[Pattern], excluded: Sequence[Pattern]) -> list[str]:
        """Sorted. Raises BuilderError for a directory that cannot be listed."""
        found: set[str] = set()
        for pattern in wanted:
            if not pattern.wild:
                found.update([pattern.text] if self._is_file(pattern.text) else [])
            elif self.link_above(pattern.base) is None:
                found.update(self.walk(pattern, lambda _path: False))
        return sorted(path for path in found if not any(one.matches(path) for one in excluded))

    def packages(self) -> Iterator[tuple[str, str]]:
        """(directory, file) of each Builderfile, parents first. Links are not followed."""
        waiting = [""]
        while waiting:
            directory = waiting.pop()
            prefix = f"{directory}/" if directory else ""
            names = self._list(directory)
            files = {name for name, is_directory in names if not is_directory}
            if found := next((name for name in FILE_NAMES if name in files), None):
                yield directory, found
            waiting += [
                prefix + name
                for name, is_directory in reversed(names)
                if is_directory
                and name not in PRIVATE_NAMES
                and not self.ignored.ignores(prefix + name)
            ]

    def entries(self, path: str, files: FileStates) -> dict[str, Entry]:
        """What lies at a path and beneath it now; nothing when it is not there."""
        full = f"{self.root}/{path}"
        if os.path.islink(full):
            return {path: Link(os.readlink(full))}
        if os.path.isfile(full):
            return {path: files.file(path)}
        if not os.path.isdir(full):
            return {}
        found: dict[str, Entry] = {path: Folder()}
        for name, _ in listing(full):
            found |= self.entries(f"{path}/{name}", files)
        return found

    def _is_file(self, path: str) -> bool:
        """Looked up in its directory's listing, so that its coming and going is noticed."""
        directory, _, name = path.rpartition("/")
        return (name, False) in self._list(directory)

    def _list(self, directory: str) -> list[tuple[str, bool]]:
        listed = self.listed.get(directory)
        if listed is None:
            try:
                listed = listing(f"{self.root}/{directory}")
            except (FileNotFoundError, NotADirectoryError):
                self.absent.add(directory)
                return []  # nothing beneath it: the caller says that nothing matches
            except OSError as error:
                raise BuilderError(f"cannot list {directory or '.'}: {error.strerror}") from error
            self.listed[directory] = listed
        return listed


def _prefixes(path: str) -> Iterator[str]:
    """`a/b` -> `a`, `a/b`."""
    parts = path.split("/") if path else []
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])
