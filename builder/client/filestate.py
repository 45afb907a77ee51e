"""Digests of files, remembered for as long as the files look the same.

A file is taken as unchanged when its size, modification and change times and inode are. A change
within the same tick of the file system's clock would not show, so a file that changed just before
it was hashed is not remembered. The memory is a JSON file that may be deleted at any time.
"""

import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.action.tree import File
from builder.base.digest import Digest, hasher
from builder.base.errors import BuilderError

VERSION = 1
TICK_NS = 50_000_000  # coarser than the clock of any local file system
PIECE = 1024 * 1024

# A plain list, not a class: ten thousand of them are read on each start.
# [hash, size, mtime_ns, ctime_ns, inode]
Memory = list[str | int]


class FileStates:
    """`memory` is the JSON file, None for no memory. Not for several threads at once.

    `pause` is called now and then while a large file is read, and may raise to stop it.
    """

    def __init__(
        self,
        root: Path,
        memory: Path | None = None,
        function: str = "sha256",
        pause: Callable[[], object] = lambda: None,
    ) -> None:
        self._root = str(root)
        self._memory = memory
        self._pause = pause
        self._function = function
        self._known: dict[str, Memory] = _read(memory, function)
        self._changed = False
        self.hashed_bytes = 0

    def file(self, path: str) -> File:
        """A regular file's entry; `path` is relative to the root, links are followed.

        Raises OSError, also for what is no regular file.
        """
        full = f"{self._root}/{path}"
        status = os.stat(full)
        if not stat.S_ISREG(status.st_mode):
            raise IsADirectoryError(f"{path} is no regular file")
        executable = bool(status.st_mode & 0o111)
        known = self._known.get(path)
        if known is not None and known[1:] == _looks(status):
            return File(Digest(str(known[0]), status.st_size, self._function), executable)
        now_ns = time.time_ns()
        with open(full, "rb") as file:
            before = os.fstat(file.fileno())
            digest = self._hash(file.fileno(), path, before)
        if now_ns - max(before.st_mtime_ns, before.st_ctime_ns) > TICK_NS:
            self._keep(path, digest, before)
        else:
            self._forget(path)
        return File(digest, bool(before.st_mode & 0o111))

    def is_known(self, path: str, status: os.stat_result) -> bool:
        """Whether the digest of a file that looks like this is remembered."""
        known = self._known.get(path)
        return known is not None and known[1:] == _looks(status)

    def record(self, path: str, digest: Digest) -> None:
        """This file was just written by us and holds these bytes."""
        self._keep(path, digest, os.stat(f"{self._root}/{path}"))

    def save(self) -> None:
        """Best effort: without the memory the next build hashes again."""
        if self._memory is None or not self._changed:
            return
        content = {"version": VERSION, "function": self._function, "files": self._known}
        with replaced(self._memory) as temporary:
            temporary.write_text(json.dumps(content, separators=(",", ":")))
        self._changed = False

    def _hash(self, descriptor: int, path: str, before: os.stat_result) -> Digest:
        state = hasher(self._function, before.st_size)
        size_bytes = 0
        while piece := os.read(descriptor, PIECE):
            state.update(piece)
            size_bytes += len(piece)
            self._pause()
        self.hashed_bytes += size_bytes
        if size_bytes != before.st_size or _looks(os.fstat(descriptor)) != _looks(before):
            raise BuilderError(f"{path} changed while it was read; build again when it is at rest")
        return Digest(state.hexdigest(), size_bytes, self._function)

    def _keep(self, path: str, digest: Digest, status: os.stat_result) -> None:
        self._known[path] = [digest.hash, *_looks(status)]
        self._changed = True

    def _forget(self, path: str) -> None:
        if self._known.pop(path, None) is not None:
            self._changed = True


def _looks(status: os.stat_result) -> list[str | int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _read(memory: Path | None, function: str) -> dict[str, Memory]:
    if memory is None:
        return {}
    try:
        content = json.loads(memory.read_bytes())
        if content["version"] == VERSION and content["function"] == function:
            files = content["files"]
            if isinstance(files, dict) and all(_is_memory(item) for item in files.values()):
                return files
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no memory, or none that we wrote: the files are hashed again
    return {}


def _is_memory(item: object) -> bool:
    return isinstance(item, list) and len(item) == 5 and isinstance(item[0], str)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
