"""How much an action has written to the disk: looked at while it runs, and at its end.

A disk that many actions share has no quota of its own for each, so what is in the action's layer
is counted, on the janitor's thread, the less often the longer it takes. Between two looks an
action may pass its limit; it is then ended. What is counted are blocks, as du(1) does; and of
files that have no name any more, those that one of the action's processes has open.
"""

import os
import stat
import time

INTERVAL_S = 0.25
SHARE = 20  # of a processor at most one part is spent looking
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
    if max_bytes is not None and max_bytes < 0:
        return True
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


def family(pid: int) -> "Iterator[int]":
    """A process and all that descend from it, as far as the kernel tells."""
    yield pid
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                for child in file.read().split():
                    yield from family(int(child))
    except OSError:
        return  # it has gone


def held_open(init: int, devices: "frozenset[int]") -> int:
    """Bytes of files on these devices that a sandbox's processes have open and that have no
    name. Those that are mapped only, or in a message, are not seen."""
    found: dict[tuple[int, int], int] = {}
    for pid in family(init):
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                info = os.stat(f"/proc/{pid}/fd/{fd}")
                if not info.st_nlink and info.st_dev in devices and stat.S_ISREG(info.st_mode):
                    found[info.st_dev, info.st_ino] = info.st_blocks * BLOCK_BYTES
        except OSError:
            continue  # it changes while we look
    return sum(found.values())


class Quota:
    """One running action's. `next` is when to look again; `init` is the process that all of its
    own descend from, and `devices` are those that its work tree is on."""

    def __init__(
        self,
        path: str,
        max_bytes: "int | None",
        max_files: "int | None",
        init: int,
        devices: "frozenset[int]",
    ) -> None:
        self._path, self._bytes, self._files = path, max_bytes, max_files
        self._init, self._devices = init, devices
        self.over = self._looking = False
        self.next = time.monotonic() + INTERVAL_S  # who waits for it asks `due` then

    def due(self, now: float) -> bool:
        """Whether `look` is to be called, on another thread. While that goes on, who asks comes
        again soon: nobody wakes it when the thread has found something."""
        if now < self.next or self.over:
            return False
        was_looking, self._looking = self._looking, True
        self.next = now + INTERVAL_S
        return not was_looking

    def look(self) -> None:
        """Raises nothing for a directory that is there no more: the action has ended."""
        started = time.thread_time()  # not what it waits for an action that keeps a directory busy
        try:
            left = self._bytes
            if left is not None:
                left -= held_open(self._init, self._devices)
            self.over = self.over or exceeds(self._path, left, self._files)
        except FileNotFoundError:
            return
        took_s = time.thread_time() - started
        self.next = time.monotonic() + max(INTERVAL_S, SHARE * took_s)
        self._looking = False
