"""Waiting until a project's sources change.

Files are looked at again and again instead of asking the system to tell: that works on every file
system, in containers too, and ten thousand looks take some 30 ms.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from builder.base.errors import BuilderError
from builder.client.builderfile import Schema, read, walker_of
from builder.client.noop import STATE, listing, looks
from builder.project.graph import graph
from builder.project.paths import PRIVATE_NAMES, parents

Seen = dict[str, tuple[int, ...]]


class Watcher:
    """`pause_s` between two looks. The outputs of targets are no sources."""

    def __init__(self, builderfile: Path, schema: Schema, pause_s: float) -> None:
        self._schema = schema
        self._builderfile = builderfile
        self._root = str(builderfile.parent)
        self._pause_s = pause_s
        self._ignored = walker_of(builderfile.parent).ignored
        self._outputs = self._declared()
        self._seen = self._look()

    def wait(self) -> None:
        """Until something is other than when this was called last, or made."""
        while not self.changed():
            time.sleep(self._pause_s)

    def changed(self) -> bool:
        """Whether something is; from then on, that is how it was."""
        now = self._look()
        if now == self._seen:
            return False
        self._outputs = self._declared()
        self._seen = {path: seen for path, seen in now.items() if not self._is_output(path)}
        return True

    def _is_output(self, path: str) -> bool:
        return path in self._outputs or any(above in self._outputs for above in parents(path))

    def _declared(self) -> frozenset[str]:
        """Outputs of all targets; none when the Builderfile is wrong just now."""
        try:
            walker = walker_of(self._builderfile.parent)
            self._ignored = walker.ignored
            project = read(self._builderfile, self._schema, walker=walker)
            return frozenset(graph(project).makers)
        except (BuilderError, OSError):
            return frozenset()

    def _look(self) -> Seen:
        return dict(self._files(""))

    def _files(self, directory: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        prefix = f"{directory}/" if directory else ""
        try:
            entries = listing(f"{self._root}/{directory}")
        except OSError:
            return  # it has just gone
        for name, is_directory in entries:
            path = prefix + name
            if path in self._outputs or name in PRIVATE_NAMES or self._ignored.ignores(path):
                continue
            if is_directory:
                yield from self._files(path)
                continue
            try:
                yield path, looks(os.lstat(f"{self._root}/{path}"))
            except OSError:
                continue


assert STATE in PRIVATE_NAMES  # what we write ourselves is no change
