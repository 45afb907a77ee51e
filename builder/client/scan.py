"""A target's inputs as entries: globs expanded, files hashed, other targets' outputs added.

Globs see source files only: what any target declares as its output is left out, so it does not
matter whether an earlier build has put it there. A symlink within the project stays one; a link
that leads out of it is taken as the file that it leads to, because the worker has no other way
to see it.
"""

import os
from collections.abc import Mapping

from builder.action.tree import Entry, Folder, Link
from builder.base.errors import UsageError
from builder.client import collisions
from builder.client.filestate import FileStates
from builder.client.receipt import Looked
from builder.client.walk import Walker
from builder.project.graph import Graph
from builder.project.ignore import FILE_NAME
from builder.project.model import Input, Target
from builder.project.paths import Pattern, is_within

Made = Mapping[str, Mapping[str, Entry]]  # by target: its outputs' entries by path


class Scanner:
    """One per build."""

    def __init__(self, graph: Graph, walker: Walker, files: FileStates) -> None:
        self._graph = graph
        self._root = walker.root
        self._files = files
        self._walker = walker
        self._entries: dict[str, Entry] = {}
        self._found: dict[tuple[str, tuple[str, ...]], list[str]] = {}

    def looked(self) -> Looked:
        """All that was looked at so far."""
        return Looked(self._entries, self._walker.listed, self._walker.bases, self._walker.absent)

    def check(self, target: Target) -> None:
        """Raises what `inputs` would raise for source files, before anything is built."""
        self.sources(target)

    def sources(self, target: Target) -> list[str]:
        """Paths of the source files that a target reads itself. Raises UsageError."""
        found: dict[str, None] = {}
        for item in target.inputs:
            if item.pattern and not item.excluded:
                if not item.pattern.wild and self._graph.maker(item.pattern.text):
                    continue
                found.update(dict.fromkeys(self._sources(target, item, item.pattern)))
        return list(found)

    def inputs(self, target: Target, made: Made) -> dict[str, Entry]:
        """Raises UsageError, with its place in the Builderfile, for an input that is not there, or
        that is an output by another name."""
        found: dict[str, Entry] = {}
        for depend in target.depends:
            found.update(self._outputs(depend.target, made))
        for item in target.inputs:
            if item.target:
                found.update(self._outputs(item.target, made))
            elif item.pattern and not item.excluded:
                found.update(self._matches(target, item, item.pattern, made))
        collisions.check(str(self._root), target, found)
        if target.package:
            found.setdefault(target.package, Folder())  # where the command starts
        for output in target.outputs:
            if output.pattern:
                found.setdefault(output.place, Folder())  # as parents of other outputs exist
        return found

    def _outputs(self, name: str, made: Made) -> dict[str, Entry]:
        """What a label stands for; of a group, the outputs of its members."""
        entries: dict[str, Entry] = {}
        for output in self._graph.outputs(name):
            of_maker = made[self._graph.makers[output.path]]
            entries |= {p: e for p, e in of_maker.items() if output.holds(p)}
        return entries

    def _matches(
        self, target: Target, item: Input, pattern: Pattern, made: Made
    ) -> dict[str, Entry]:
        maker = None if pattern.wild else self._graph.maker(pattern.text)
        if maker is not None:
            entries = {p: e for p, e in made[maker].items() if is_within(p, pattern.text)}
            if not entries:
                message = f"target {maker!r} was to make {pattern.text!r}, and did not"
                raise self._error(target, item, message, f"look at what {maker!r} writes")
            return entries
        return {
            path: self._entry(target, item, path) for path in self._sources(target, item, pattern)
        }

    def _sources(self, target: Target, item: Input, pattern: Pattern) -> list[str]:
        excluded = [one.pattern for one in target.inputs if one.excluded and one.pattern]
        key = (pattern.text, tuple(one.text for one in excluded))
        paths = self._found.get(key)
        if paths is None:
            paths = [
                path
                for path in self._expand(target, item, pattern)
                if not any(exclusion.matches(path) for exclusion in excluded)
            ]
            if not paths:
                raise self._nothing(target, item, pattern, bool(excluded))
            self._found[key] = paths
        return paths

    def _expand(self, target: Target, item: Input, pattern: Pattern) -> list[str]:
        if pattern.wild:
            self._check_base(target, item, pattern.base)
            return [
                path
                for path in self._walker.walk(pattern, self._graph.makers.__contains__)
                if self._graph.maker(path) is None
            ]
        full = f"{self._root}/{pattern.text}"
        if os.path.isdir(full) and not os.path.islink(full):
            raise self._error(
                target,
                item,
                f"input {item.text!r} of target {target.name!r} is a directory",
                f"write '{pattern.text}/' for everything beneath it",
            )
        return [pattern.text] if os.path.lexists(full) else []

    def _check_base(self, target: Target, item: Input, base: str) -> None:
        link = self._walker.link_above(base)
        if link is not None:
            message = f"{link!r} is a symlink, and globs follow none"
            hint = f"it leads to {os.path.realpath(f'{self._root}/{link}')}: name that directory"
            raise self._error(target, item, message, hint)

    def _entry(self, target: Target, item: Input, path: str) -> Entry:
        entry = self._entries.get(path)
        if entry is None:
            try:
                entry = self._link(path) or self._files.file(path)
            except OSError as error:
                reason = error.strerror or "it is neither a file nor a symlink"
                raise self._error(
                    target, item, f"input {path!r} cannot be read: {reason}", ""
                ) from None
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

    def _nothing(self, target: Target, item: Input, pattern: Pattern, excluded: bool) -> UsageError:
        if not pattern.wild:
            return self._error(
                target,
                item,
                f"input {item.text!r} does not exist",
                "correct the path (it is relative to the Builderfile), or name the target that "
                "makes it by ':name'",
            )
        made = [path for path in self._graph.makers if pattern.matches(path)]
        if made:
            maker = self._graph.makers[made[0]]
            return self._error(
                target,
                item,
                f"input {item.text!r} matches outputs only, and globs find source files",
                f"write ':{maker}' for the outputs of target {maker!r}",
            )
        why = " that is not excluded" if excluded else ""
        if not excluded and self._walker.ignored.hides(pattern.base):
            why = f": {FILE_NAME} hides {pattern.base!r}"
        return self._error(
            target,
            item,
            f"input {item.text!r} matches no file{why}",
            "correct the glob (it is relative to the Builderfile), or remove it",
        )

    def _error(self, target: Target, item: Input, message: str, hint: str) -> UsageError:
        return target.source.error(item.where, message, hint)
