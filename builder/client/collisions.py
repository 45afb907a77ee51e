"""Inputs and outputs of one target that are in each other's place.

No input is an output or lies in one, and no output lies beneath an input that is a file; a
directory may hold both, as sources and what is made of them often lie together, and a glob takes
no outputs. Names are compared when the Builderfile is read (`project.graph`); here links are
followed. An output may lie behind one, as in a build directory on another disk, but not where an
input is.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

from builder.action.tree import Entry, File, Link
from builder.base.errors import UsageError
from builder.project.model import Output, Target
from builder.project.paths import is_within, parents, pattern


def check(root: str, target: Target, found: Mapping[str, Entry]) -> None:
    """`found` are the target's inputs. Raises UsageError that names both paths."""
    for output in target.outputs:
        for parent in (*parents(output.path), *parents(output.place)):
            if isinstance(found.get(parent), File):
                raise _beneath(target, output, parent)
        place = real_path(root, output.path)  # of a glob, too: none of its directories is wild
        if place is not None:
            there = replace(output, path=place, pattern=output.pattern and pattern(place))
            for path in filter(there.holds, found):
                raise _collision(target, output, path, path)
    for path in _linked(root, target, found):
        place = _relative(root, os.path.realpath(f"{root}/{path}"))
        for output in target.outputs:
            if place is not None and output.holds(place):
                raise _collision(target, output, path, place)


def _linked(root: str, target: Target, found: Mapping[str, Entry]) -> Iterator[str]:
    """Inputs that are links, and those that lie behind one, which no glob follows."""
    yield from (path for path, entry in found.items() if isinstance(entry, Link))
    for item in target.inputs:
        named = item.pattern and not item.excluded and not item.pattern.wild
        if named and item.pattern and real_path(root, item.pattern.text) is not None:
            yield item.pattern.text


def real_path(root: str, path: str) -> str | None:
    """Where a path that lies behind a symlink is in the project; None for all others."""
    if not any(os.path.islink(f"{root}/{parent}") for parent in parents(path)):
        return None
    directory, _, name = path.rpartition("/")
    return _relative(root, f"{os.path.realpath(f'{root}/{directory}')}/{name}")


def _relative(root: str, path: str) -> str | None:
    """None for what is not in the project."""
    base = os.path.realpath(root)
    return os.path.relpath(path, base) if is_within(path, base) else None


def _beneath(target: Target, output: Output, path: str) -> UsageError:
    return target.source.error(
        output.where,
        f"output {output.path!r} of target {target.name!r} overlaps: it lies beneath the input "
        f"{path!r}, which is a file",
        "a file is no directory: write beside it",
    )


def _collision(target: Target, output: Output, path: str, place: str) -> UsageError:
    return target.source.error(
        output.where,
        f"input {path!r} overlaps the output {output.path!r} of the same target {target.name!r}: "
        f"by way of a symlink both are {place!r}",
        "a command cannot read what it has yet to make: write to another path",
    )
