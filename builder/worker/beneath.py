"""Opening what an action left behind, which is hostile ground.

Everything is opened beneath a directory descriptor, one name at a time, without following a link
and without blocking. A directory on the way to a file may be a symlink (an action may well write
through one); it is followed here by hand, and can never lead out of the work tree.
"""

import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from builder.sandbox.interface import WORK_TREE

MOST_LINKS = 40  # as in path_resolution(7)
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
REGULAR = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_directory(name: str, parent: int) -> int:
    """A descriptor of a real directory. Raises OSError: NotADirectoryError for anything else."""
    return _open(name, parent, DIRECTORY, 0o700)


def open_regular(name: str, parent: int) -> int:
    """A descriptor of a regular file. Raises OSError; opens no device, waits for no FIFO."""
    if not stat.S_ISREG(os.lstat(name, dir_fd=parent).st_mode):
        raise FileNotFoundError(f"{name} is no regular file")
    descriptor = _open(name, parent, REGULAR, 0o400)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(f"{name} is no regular file")
    return descriptor


def _open(name: str, parent: int, flags: int, mode: int) -> int:
    """With the rights of `mode` beside those that it has, where they are lacking."""
    try:
        return os.open(name, flags, dir_fd=parent)
    except PermissionError:  # the action may have taken the right to read from its own files
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            had = os.fstat(handle).st_mode
            if stat.S_ISLNK(had):
                raise
            os.chmod(f"/proc/self/fd/{handle}", stat.S_IMODE(had) | mode)
        finally:
            os.close(handle)
        return os.open(name, flags, dir_fd=parent)


@contextmanager
def parent_of(root: int, path: str) -> Iterator[tuple[int, str] | None]:
    """The directory in which `path` (no `..`, not empty) stands, and its last name.

    None when there is no such directory in the work tree: it is missing, or a link on the way
    leads nowhere or out of it.
    """
    way, _, name = path.rpartition("/")
    found = _walk(root, way)
    try:
        yield None if found is None else (found[-1], name)
    finally:
        for descriptor in found or ():
            os.close(descriptor)


def _walk(root: int, way: str) -> list[int] | None:
    """Descriptors of the directories from the root to `way`, the last one last."""
    stack = [os.dup(root)]
    parts = deque(part for part in way.split("/") if part)
    links = 0
    try:
        while parts:
            part = parts.popleft()
            if part == "..":
                if len(stack) == 1:
                    raise FileNotFoundError(way)
                os.close(stack.pop())
                continue
            try:
                stack.append(open_directory(part, stack[-1]))
                continue
            except NotADirectoryError:
                links += 1
            target = _link_target(part, stack[-1])
            if target is None or links > MOST_LINKS:
                raise FileNotFoundError(way)
            if target.startswith("/"):
                if not f"{target}/".startswith(f"{WORK_TREE}/"):
                    raise FileNotFoundError(way)
                _closed(stack[1:])
                del stack[1:]
                target = target[len(WORK_TREE) :]
            parts.extendleft(reversed([p for p in target.split("/") if p not in ("", ".")]))
    except OSError:
        _closed(stack)
        return None
    return stack


def _link_target(name: str, parent: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError:
        return None


def _closed(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def kind_of_target(root: int, path: str) -> int | None:
    """The file type (as in `stat.S_IFMT`) that a symlink at `path` ends at, None for nowhere."""
    for _ in range(MOST_LINKS):
        with parent_of(root, path) as place:
            if place is None:
                return None
            parent, name = place
            try:
                mode = os.lstat(name, dir_fd=parent).st_mode
            except OSError:
                return None
            if not stat.S_ISLNK(mode):
                return stat.S_IFMT(mode)
            target = os.readlink(name, dir_fd=parent)
        if target.startswith("/"):
            if not target.startswith(f"{WORK_TREE}/"):
                return None
            path = target[len(WORK_TREE) + 1 :]
        else:
            path = f"{path.rpartition('/')[0]}/{target}"
        if path.rstrip("/").endswith(("..", "/.")) or not path.strip("/"):
            return stat.S_IFDIR if _ends_in_directory(root, path) else None
        path = path.rstrip("/")
    return None


def _ends_in_directory(root: int, path: str) -> bool:
    found = _walk(root, path)
    _closed(found or [])
    return found is not None
