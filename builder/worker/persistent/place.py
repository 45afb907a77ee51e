"""Where a persistent program works, and how each request's files come there and go again.

    inputs --links--> staged/N --rename--> live ...program... live --rename--> done/N --> outputs

Theory of operation. `live` is the program's work tree, and hostile ground: the program may change
anything in it at any moment. So nothing is ever made or removed inside of it. A request's tree is
made beside it, whole, and its top entries are moved in by rename(2), which follows no link and is
done at once; afterwards whatever is there is moved out, and looked at only then. A program that
takes several requests at a time has its tool in `live`, and each request in a directory of its
own below `live/__sandbox`.

As root, where actions are another user, files are hard links to the worker's own read-only ones:
that user can unlink them but never write to them. As an ordinary user the action is the same user,
so files are copied; the tool's are copied once and linked from there.
"""

import contextlib
import itertools
import os
import shutil
import stat
import threading

from builder.worker.inputs import link_file

PIPES = (".builder-stdin", ".builder-stdout")
TOGETHER = "__sandbox"
ROOT = 0
OPEN_DIRECTORY, OWN_DIRECTORY = 0o777, 0o755
OPEN_PIPE = 0o666
READABLE = 0o444
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Place:
    """`base` is an empty directory of this program's alone; `tools` are paths of its tool."""

    def __init__(self, base: str, tools: frozenset[str], together: bool) -> None:
        self.base = base
        self._tools, self._together = tools, together
        self._is_root = os.getuid() == ROOT
        self._mode = OPEN_DIRECTORY if self._is_root else OWN_DIRECTORY
        self._kept: dict[str, str] = {}
        self._keeping = threading.Lock()
        self._numbers = itertools.count(1)  # requests come in threads of their own
        self.live, self.scratch = self._beside("live"), self._beside("scratch")
        for name in ("staged", "done", "kept"):
            os.mkdir(f"{base}/{name}", 0o700)
        os.mkdir(self.live)
        os.chmod(self.live, self._mode)
        os.mkdir(self.scratch, 0o700)
        for name in PIPES:
            os.mkfifo(f"{self.live}/{name}")
            os.chmod(f"{self.live}/{name}", OPEN_PIPE)
        self._live_fd = os.open(self.live, DIRECTORY)
        self._below_fd = -1
        if together:
            os.mkdir(f"{self.live}/{TOGETHER}", OWN_DIRECTORY)
            self._below_fd = os.open(f"{self.live}/{TOGETHER}", DIRECTORY)

    def _beside(self, name: str) -> str:
        return f"{self.base}/{name}"

    def close(self) -> None:
        """Give the descriptors back; nothing else is possible then."""
        for fd in (self._live_fd, self._below_fd):
            if fd >= 0:
                os.close(fd)
        self._live_fd = self._below_fd = -1

    def open_pipes(self) -> tuple[int, int]:
        """Our ends of its stdin and stdout. Both are open both ways, so that neither opening
        waits and neither ever seems to be at its end."""
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        stdin, stdout = (os.open(name, flags, dir_fd=self._live_fd) for name in PIPES)
        return stdin, stdout

    def install(self, inputs: str) -> None:
        """The tool alone, to stay."""
        self._move_in(self._stage(next(self._numbers), inputs, self._tools, ()))

    def put(self, inputs: str, parents: tuple[str, ...]) -> int:
        """A request's tree, with the directories that its outputs go to; its number."""
        number = next(self._numbers)
        staged = self._stage(number, inputs, None, parents)
        if self._together:
            os.rename(staged, str(number), dst_dir_fd=self._below_fd)
        else:
            self._move_in(staged)
        return number

    def take(self, number: int) -> str:
        """What a request has left, moved out of the program's sight."""
        done = self._beside(f"done/{number}")
        if self._together:
            os.rename(str(number), done, src_dir_fd=self._below_fd)
            return done
        os.mkdir(done, 0o700)
        for name in os.listdir(self._live_fd):
            with contextlib.suppress(FileNotFoundError):  # the program may remove it meanwhile
                os.rename(name, f"{done}/{name}", src_dir_fd=self._live_fd)
        return done

    def sandbox_dir(self, number: int) -> str:
        """As the request tells it."""
        return f"{TOGETHER}/{number}" if self._together else ""

    def _move_in(self, staged: str) -> None:
        for name in os.listdir(staged):
            os.rename(f"{staged}/{name}", name, dst_dir_fd=self._live_fd)
        os.rmdir(staged)

    def _stage(
        self, number: int, inputs: str, only: frozenset[str] | None, parents: tuple[str, ...]
    ) -> str:
        staged = self._beside(f"staged/{number}")
        if only is None:
            self._lay_out(inputs, staged, "")
        else:
            self._directory(staged)
            for path in sorted(only):
                self._directories(staged, os.path.dirname(path))
                self._file(f"{inputs}/{path}", f"{staged}/{path}", path)
        for parent in parents:
            self._directories(staged, parent)
        return staged

    def _directory(self, path: str) -> None:
        os.mkdir(path)
        os.chmod(path, self._mode)

    def _directories(self, top: str, below: str) -> None:
        """Nobody else can change anything here, and no link is on the way (`check_parents`)."""
        here = top
        for part in below.split("/") if below else ():
            here = f"{here}/{part}"
            if not os.path.isdir(here):
                self._directory(here)

    def _lay_out(self, source: str, target: str, prefix: str) -> None:
        self._directory(target)
        with os.scandir(source) as entries:
            for entry in entries:
                place = f"{target}/{entry.name}"
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), place)
                elif entry.is_dir():
                    self._lay_out(entry.path, place, f"{prefix}{entry.name}/")
                else:
                    self._file(entry.path, place, prefix + entry.name)

    def _file(self, source: str, target: str, path: str) -> None:
        if self._is_root and stat.S_IMODE(os.lstat(source).st_mode) & READABLE == READABLE:
            link_file(source, target)
        elif path in self._tools:
            with self._keeping:  # a copy is whole before anybody links it
                if path not in self._kept:
                    self._kept[path] = self._beside(f"kept/{len(self._kept)}")
                    copy(source, self._kept[path])
            link_file(self._kept[path], target)
        else:
            copy(source, target)


def copy(source: str, target: str) -> None:
    """With its time, readable for all."""
    shutil.copyfile(source, target)
    shutil.copystat(source, target)
    os.chmod(target, stat.S_IMODE(os.stat(source).st_mode) | READABLE)
