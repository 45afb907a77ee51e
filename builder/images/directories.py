"""The directories of one tree, as descriptors: reached part by part, and through no link."""

import os
from collections import OrderedDict

from builder.images.layers import Parts

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MOST_OPEN = 64


class Directories:
    """Those last asked for stay open, as the entries of a layer come directory by directory."""

    def __init__(self, root: str) -> None:
        self._root = os.open(root, DIRECTORY)
        self._open: OrderedDict[Parts, int] = OrderedDict()

    def at(self, place: Parts) -> int:
        """Ours to close; there until some others were asked for. Raises OSError for what is no
        directory, such as a link to one."""
        if not place:
            return self._root
        found = self._open.get(place)
        if found is None:
            found = os.open(place[-1], DIRECTORY, dir_fd=self.at(place[:-1]))
            self._open[place] = found
            if len(self._open) > MOST_OPEN:
                os.close(self._open.popitem(last=False)[1])
        else:
            self._open.move_to_end(place)
        return found

    def close(self) -> None:
        for descriptor in (self._root, *self._open.values()):
            os.close(descriptor)
        self._open.clear()
