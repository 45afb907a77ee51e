"""How much an action has written to the disk: looked at while it runs, and at its end.

A disk that many actions share has no quota of its own for each, so what is in the action's layer
is counted, on the janitor's thread, the less often the longer it takes. Between two looks an
action may pass its limit; it is then ended. What is counted are blocks, as du(1) does.
"""

import os
import time

INTERVAL_S = 0.25
SHARE = 20  # of the time at most one part is spent looking
BLOCK_BYTES = 512
MAX_DEPTH = 256  # deeper than any tree that is meant well
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Iterator


def entries(fd: int) -> "Iterator[os.DirEntry[str]]":
    try:
        with os.scandir(fd) as found:
            yield from found
    except FileNotFoundError:
        return


def exceeds(path: str, max_bytes: "int | None", max_files: "int | None") -> bool:
    """Whether more is below a directory than this. Directories that cannot be opened count as
    one file; a hard link counts each time. Raises OSError when the directory is not there."""
    used = files = 0
    fds = [os.open(path, DIRECTORY)]
    walks = [entries(fds[0])]
    try:
        while walks:
            entry = next(walks[-1], None)
            if entry is None:
                walks.pop()
                os.close(fds.pop())
                continue
            try:
                used += entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
                files += 1
                if entry.is_dir(follow_symlinks=False):
                    fds.append(os.open(entry.name, DIRECTORY, dir_fd=fds[-1]))
                    walks.append(entries(fds[-1]))
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue  # it changes while we look
            if max_bytes is not None and used > max_bytes:
                return True
            if (max_files is not None and files > max_files) or len(walks) > MAX_DEPTH:
                return True
        return False
    finally:
        for fd in fds:
            os.close(fd)


class Quota:
    """One running action's. `next` is when to look again."""

    def __init__(self, path: str, max_bytes: "int | None", max_files: "int | None") -> None:
        self._path, self._bytes, self._files = path, max_bytes, max_files
        self.over = False
        self.next = time.monotonic() + INTERVAL_S

    def look(self) -> None:
        """Raises nothing for a directory that is there no more: the action has ended."""
        started = time.monotonic()
        try:
            self.over = self.over or exceeds(self._path, self._bytes, self._files)
        except FileNotFoundError:
            return
        now = time.monotonic()
        self.next = now + max(INTERVAL_S, SHARE * (now - started))
