"""What an action wrote beside its outputs, and nobody will ever see: told, since it may be a
mistake. It is looked for where people lose things, which is where the command began and where its
outputs lie; an audit finds it anywhere.
"""

import os
from collections.abc import Iterator

from builder.worker.beneath import open_directory, parent_of
from builder.worker.command import Plan
from builder.worker.tree import InputTree

MOST_NAMES = 2000  # in one directory
MOST_TOLD = 20
USUAL = frozenset({"__pycache__"})


def undeclared(root: int, todo: Plan, tree: InputTree) -> list[str]:
    """Paths from the work tree that `root` is a descriptor of; those of directories end in `/`.

    Blocking, but short.
    """
    declared = {output.path for output in todo.outputs}
    begun = (todo.working_directory, *todo.output_parents)
    places = {"", *(way for path in begun for way in _ways(path))}
    found: list[str] = []
    for place in places:
        if "" in declared or not declared.isdisjoint(_ways(place)):
            continue  # all of it is an output
        inputs = tree.names(place)
        for name, is_directory in _entries(root, place):
            path = f"{place}/{name}" if place else name
            if not (name in inputs or name in USUAL or path in declared or path in places):
                found.append(f"{path}/" if is_directory else path)
    return sorted(found)[:MOST_TOLD]


def _ways(path: str) -> Iterator[str]:
    """The path itself, and the directories that lead to it."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _entries(root: int, place: str) -> Iterator[tuple[str, bool]]:
    """Names, and whether they are directories; of a very large directory not all."""
    try:
        descriptor = _open(root, place)
    except OSError:  # it took it away, or made something else of it
        return
    try:
        with os.scandir(descriptor) as entries:
            for entry, _ in zip(entries, range(MOST_NAMES), strict=False):
                yield entry.name, entry.is_dir(follow_symlinks=False)
    finally:
        os.close(descriptor)


def _open(root: int, place: str) -> int:
    if not place:
        return os.dup(root)
    with parent_of(root, place) as found:
        if found is None:
            raise FileNotFoundError(place)
        return open_directory(found[1], found[0])
