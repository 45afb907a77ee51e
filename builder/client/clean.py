"""Removing what builds made, and nothing else."""

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from builder.client.state import StateDirectory
from builder.host.lock import owned
from builder.project.model import Output
from builder.project.paths import parents


def clean(root: Path, outputs: Iterable[Output], *, everything: bool) -> tuple[int, int]:
    """The number of files and bytes that were removed; with `everything` our own state goes too.

    Raises UsageError while another build of this project runs.
    """
    state = StateDirectory(root)
    with owned(state.path / "local", "the project's build state"):
        made = state.made()
        paths = [path for output in outputs for path in _ours(root, output, made)]
        found = [_remove(root / path) for path in dict.fromkeys(paths)]
        for path in paths:
            for parent in parents(path):
                with suppress(OSError):  # it holds something else
                    (root / parent).rmdir()
        if everything:
            found.append(_remove(state.path))
    return sum(count for count, _ in found), sum(size for _, size in found)


def _ours(root: Path, output: Output, made: set[str]) -> list[str]:
    """A directory that stands where an output is declared may be somebody's sources, and so may a
    file that a glob matches."""
    if output.pattern:
        return sorted(p for p in made if output.holds(p) and os.path.lexists(root / p))
    place = root / output.path
    if place.is_symlink() or not place.is_dir():
        return [output.path] if os.path.lexists(place) else []
    return [output.path] if output.path in made else []


def _remove(path: Path) -> tuple[int, int]:
    if path.is_symlink() or not path.is_dir():
        size_bytes = path.lstat().st_size
        path.unlink()
        return 1, size_bytes
    files = [one for one in path.rglob("*") if one.is_symlink() or not one.is_dir()]
    size_bytes = sum(one.lstat().st_size for one in files)
    shutil.rmtree(path)
    return len(files), size_bytes
