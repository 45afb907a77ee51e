"""A target's inputs as entries: globs expanded, files hashed, other targets' outputs added.

Globs see source files only: what any target declares as its output is left out, so it does not
matter whether an earlier build has put it there. A symlink within the project stays one; a link
that leads out of it is taken as the file that it leads to, because the worker has no other way
to see it.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from builder.action.tree import Entry, Link
from builder.base.errors import BuilderError, UsageError
from builder.client.filestate import FileStates
from builder.client.noop import listing
from builder.client.receipt import Looked
from builder.project.graph import Graph
from builder.project.model import Input, Target
from builder.project.paths import Pattern, is_within

Made = Mapping[str, Mapping[str, Entry]]  # by target: its outputs' entries by path


class Scanner:
    """One per build: each directory is listed once."""

    def __init__(self, graph: Graph, root: Path, files: FileStates) -> None:
        self._graph = graph
        self._root = str(root)
        self._files = files
        self._listed: dict[str, list[tuple[str, bool]]] = {}
        self._entries: dict[str, Entry] = {}
        self._bases: set[str] = set()
        self._found: dict[tuple[str | int, ...], list[str]] = {}

    def looked(self) -> Looked:
        """All that was looked at so far."""
        return Looked(self._entries, self._listed, self._bases)

    def check(self, target: Target) -> None:
        """Raises what `inputs` would raise for source files, before anything is built."""
        for item in target.inputs:
            if item.pattern and not item.excluded:
                if not item.pattern.wild and self._graph.maker(item.pattern.text):
                    continue
                self._sources(target, item, item.pattern)

    def inputs(self, target: Target, made: Made) -> dict[str, Entry]:
        """Raises UsageError, with its place in the Builderfile, for an input that is not there."""
        found: dict[str, Entry] = {}
        for depend in target.depends:
            found.update(self._outputs(depend.target, made))
        for item in target.inputs:
            if item.target:
                found.update(self._outputs(item.target, made))
            elif item.pattern and not item.excluded:
                found.update(self._matches(target, item, item.pattern, made))
        return found

    def _outputs(self, name: str, made: Made) -> dict[str, Entry]:
        """What a label stands for; of a group, the outputs of its members."""
        entries: dict[str, Entry] = {}
        for output in self._graph.outputs(name):
            of_maker = made[self._graph.makers[output.path]]
            entries |= {p: e for p, e in of_maker.items() if is_within(p, output.path)}
        return entries

    def _matches(
        self, target: Target, item: Input, pattern: Pattern, made: Made
    ) -> dict[str, Entry]:
        maker = None if pattern.wild else self._graph.maker(pattern.text)
        if maker is not None:
            entries = {p: e for p, e in made[maker].items() if is_within(p, pattern.text)}
            if not entries:
                message = f"target {maker!r} was to make {pattern.text!r}, and did not"
                raise self._error(item, message, f"look at what {maker!r} writes")
            return entries
        return {path: self._entry(item, path) for path in self._sources(target, item, pattern)}

    def _sources(self, target: Target, item: Input, pattern: Pattern) -> list[str]:
        paths = self._found.get(item.where)
        if paths is None:
            excluded = [one.pattern for one in target.inputs if one.excluded and one.pattern]
            paths = [
                path
                for path in self._expand(target, item, pattern)
                if not any(exclusion.matches(path) for exclusion in excluded)
            ]
            if not paths:
                raise self._nothing(item, pattern, bool(excluded))
            self._found[item.where] = paths
        return paths

    def _expand(self, target: Target, item: Input, pattern: Pattern) -> list[str]:
        if pattern.wild:
            self._check_base(item, pattern.base)
            return [
                path
                for path in self._walk(pattern)
                if pattern.matches(path) and self._graph.maker(path) is None
            ]
        full = f"{self._root}/{pattern.text}"
        if os.path.isdir(full) and not os.path.islink(full):
            raise self._error(
                item,
                f"input {item.text!r} of target {target.name!r} is a directory",
                f"write '{pattern.text}/' for everything beneath it",
            )
        return [pattern.text] if os.path.lexists(full) else []

    def _check_base(self, item: Input, base: str) -> None:
        self._bases.update(_prefixes(base))
        link = next((p for p in _prefixes(base) if os.path.islink(f"{self._root}/{p}")), None)
        if link is not None:
            message = f"{link!r} is a symlink, and globs follow none"
            hint = f"it leads to {os.path.realpath(f'{self._root}/{link}')}: name that directory"
            raise self._error(item, message, hint)

    def _walk(self, pattern: Pattern) -> Iterator[str]:
        waiting = [pattern.base]
        while waiting:
            directory = waiting.pop()
            prefix = f"{directory}/" if directory else ""
            for name, is_directory in self._list(directory):
                path = prefix + name
                if not is_directory:
                    yield path
                elif pattern.enters(path) and path not in self._graph.makers:
                    waiting.append(path)

    def _list(self, directory: str) -> list[tuple[str, bool]]:
        """(name, whether it is a directory) of what an action could see: no sockets and such."""
        listed = self._listed.get(directory)
        if listed is None:
            try:
                listed = listing(f"{self._root}/{directory}")
            except (FileNotFoundError, NotADirectoryError):
                return []  # nothing beneath it: the caller says that nothing matches
            except OSError as error:
                raise BuilderError(f"cannot list {directory or '.'}: {error.strerror}") from error
            self._listed[directory] = listed
        return listed

    def _entry(self, item: Input, path: str) -> Entry:
        entry = self._entries.get(path)
        if entry is None:
            try:
                entry = self._link(path) or self._files.file(path)
            except OSError as error:
                reason = error.strerror or "it is neither a file nor a symlink"
                raise self._error(item, f"input {path!r} cannot be read: {reason}", "") from None
            self._entries[path] = entry
        return entry

    def _link(self, path: str) -> Link | None:
        """None for a file, and for a link that leads out of the project."""
        full = f"{self._root}/{path}"
        if not os.path.islink(full):
            return None
        target = os.readlink(full)
        if target.startswith("/"):
            return None
        parts = os.path.normpath(os.path.join(os.path.dirname(path), target)).split("/")
        return None if parts[0] == ".." else Link(target)

    def _nothing(self, item: Input, pattern: Pattern, excluded: bool) -> UsageError:
        if not pattern.wild:
            return self._error(
                item,
                f"input {item.text!r} does not exist",
                "correct the path (it is relative to the Builderfile), or name the target that "
                "makes it by ':name'",
            )
        made = [path for path in self._graph.makers if pattern.matches(path)]
        if made:
            maker = self._graph.makers[made[0]]
            return self._error(
                item,
                f"input {item.text!r} matches outputs only, and globs find source files",
                f"write ':{maker}' for the outputs of target {maker!r}",
            )
        why = " that is not excluded" if excluded else ""
        return self._error(
            item,
            f"input {item.text!r} matches no file{why}",
            "correct the glob (it is relative to the Builderfile), or remove it",
        )

    def _error(self, item: Input, message: str, hint: str) -> UsageError:
        return self._graph.project.source.error(item.where, message, hint)


def _prefixes(path: str) -> Iterator[str]:
    """`a/b` -> `a`, `a/b`."""
    parts = path.split("/") if path else []
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])
