"""The version of a directory, in its file `layout`; there is none in one of the first version."""

import os
from collections.abc import Callable

from builder.base.errors import UsageError
from builder.stores.folder import Folder


def is_first(folder: Folder, latest: str, holds_some: Callable[[], bool]) -> bool:
    """Whether the directory is of the first layout: without the file, but not empty.

    An empty one is made one of the latest. Raises UsageError for one of the future.
    """
    try:
        with open(f"{folder.root}/layout", encoding="ascii", errors="replace") as file:
            layout = file.read().strip()
    except FileNotFoundError:
        if holds_some():
            return True
        declare(folder, latest)
        return False
    if layout != latest:
        raise UsageError(
            f"store directory {folder.root} has layout {layout[:20]!r}, this version writes "
            f"{latest}: use the version that made it, or give this one another directory"
        )
    return False


def declare(folder: Folder, layout: str) -> None:
    """Write the file."""
    with folder.errors():
        temporary = folder.temporary()
        with open(temporary, "w", encoding="ascii") as file:
            file.write(f"{layout}\n")
        os.rename(temporary, f"{folder.root}/layout")
