"""Unpacked layers seen as one tree, as the overlay will show them: without mounting anything."""

import os
import stat
from collections.abc import Sequence

from builder.images.layers import Parts

OPAQUE = "user.overlay.opaque"
MOST_LINKS = 40  # as the kernel follows


def is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: str) -> bool:
    return OPAQUE in os.listxattr(directory)


class Merged:
    """`layers` are directories that nobody changes, topmost first."""

    def __init__(self, layers: Sequence[str]) -> None:
        self._layers = layers

    def path(self, parts: Parts) -> str | None:
        """Where the file of this name is, no link followed; None where none is to be seen."""
        for layer in self._layers:
            found, goes_on = _within(layer, parts)
            if found is not None or not goes_on:
                return found
        return None

    def look(self, parts: Parts) -> os.stat_result | None:
        """Its status, of a link its own."""
        found = self.path(parts)
        return None if found is None else os.lstat(found)

    def directory(self, parts: Parts) -> Parts | None:
        """The real place of a directory that links may lead to; None for what is none."""
        place: Parts = ()
        todo, links = list(parts), 0
        while todo:
            part = todo.pop(0)
            if part == "..":
                place = place[:-1]
                continue
            found = self.path((*place, part))
            if found is None:
                return None
            mode = os.lstat(found).st_mode
            if stat.S_ISDIR(mode):
                place = (*place, part)
                continue
            links += 1
            if not stat.S_ISLNK(mode) or links > MOST_LINKS:
                return None
            target = os.readlink(found)
            place = () if target.startswith("/") else place
            todo = [one for one in target.split("/") if one not in ("", ".")] + todo
        return place


def _within(layer: str, parts: Parts) -> tuple[str | None, bool]:
    """The path in one layer, and whether the layers below it may have it instead."""
    here, goes_on = layer, True
    for count, part in enumerate(parts, 1):
        goes_on = goes_on and not is_opaque(here)
        here = f"{here}/{part}"
        try:
            status = os.lstat(here)
        except FileNotFoundError:
            return None, goes_on
        if is_whiteout(status) or (count < len(parts) and not stat.S_ISDIR(status.st_mode)):
            return None, False
    return here, False
