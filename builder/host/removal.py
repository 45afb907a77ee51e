"""Removing what others have left: directories of any depth, with any permissions, at any time.

A tree may be deeper than there are descriptors, and than a path can say. What is more than
`MOST_LEVELS` below is therefore moved up to the top, where it is no deeper than anything else.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count

MOST_LEVELS = 64
TRIES = 100  # with somebody who removes it, too, or still writes to it
EVERYTHING = stat.S_IRWXU
NO_ROOM = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove a file, or a directory with all that is in it; links are not followed. Absence is no
    error, nor is that somebody else removes it, too. Raises OSError."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        for left in reversed(range(TRIES)):
            with opened(path, None) as top:
                while empty(top, top, count(), 1):
                    pass  # what was moved up
            try:
                os.rmdir(path)
            except OSError as error:
                if error.errno not in NO_ROOM or not left:
                    raise
    except FileNotFoundError:
        return


def empty(here: int, top: int, numbers: "count[int]", level: int) -> bool:
    """Remove all that is in `here`; whether something was moved to the top instead."""
    moved = False
    with os.scandir(here) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        with suppress(FileNotFoundError):
            if not is_directory:
                os.unlink(name, dir_fd=here)
                continue
            with opened(name, here) as child:
                if level < MOST_LEVELS:
                    moved |= empty(child, top, numbers, level + 1)
                else:  # who moves a directory must be able to write to it
                    move_up(name, here, top, numbers)
                    moved = True
                    continue
            remove_empty(name, here)
    return moved


def remove_empty(name: str, here: int) -> None:
    """Somebody may have put something in; then it is met again."""
    try:
        os.rmdir(name, dir_fd=here)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise


def move_up(name: str, here: int, top: int, numbers: "count[int]") -> None:
    """By a name that is free there."""
    while True:
        try:
            os.rename(name, f"deep-{next(numbers)}", src_dir_fd=here, dst_dir_fd=top)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
        else:
            return


@contextmanager
def opened(name: str, parent: int | None) -> Iterator[int]:
    """A directory as a descriptor, in which its owner may do everything."""
    try:
        directory = os.open(name, DIRECTORY, dir_fd=parent)
    except PermissionError:
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if not stat.S_ISDIR(os.fstat(handle).st_mode):
                raise
            os.chmod(f"/proc/self/fd/{handle}", EVERYTHING)
        finally:
            os.close(handle)
        directory = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        if os.getuid() != 0 and os.fstat(directory).st_mode & EVERYTHING != EVERYTHING:
            os.fchmod(directory, EVERYTHING)
        yield directory
    finally:
        os.close(directory)
