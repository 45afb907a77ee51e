"""A layer as a directory, as the overlay takes it above the layers below.

Whatever a layer says, nothing is touched but what stands below its own new directory: every path
is walked from there, part by part, through real directories only, and links are never followed.
Everything belongs to us, and we may read all of it; the sandbox shows it as the action's own.

What a layer removes is a device 0:0, and a directory that hides what is below it has an attribute
(Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").

A layer may name what only the layers below have: its directories there, which keep their modes, a
link to a directory (which is followed in the image, as the name says), the target of a hard link.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence

from builder.images.directories import Directories
from builder.images.errors import HostileLayerError
from builder.images.layers import (
    DIRECTORY_MODE,
    FILE_MODE,
    Act,
    Bounds,
    Parts,
    Step,
    kept_xattrs,
    shown,
    step,
)
from builder.images.merged import OPAQUE, Merged
from builder.images.tar import Entry, Kind, TarReader

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
OURS_FILE, OURS_DIRECTORY = 0o400, 0o700  # whoever runs an action may read what root may
DISK_BLOCK = 4096
NO_LINK = {errno.EMLINK, errno.EXDEV, errno.EPERM}


class Unpacker:
    """Of one layer into the empty directory `target`; `below` are the unpacked layers below it,
    topmost first. `look` is called between pieces of work and may raise, to end it."""

    def __init__(
        self, target: str, below: Sequence[str], bounds: Bounds, look: Callable[[], None]
    ) -> None:
        self._merged = Merged(below)
        self._bounds, self._look = bounds, look
        self._directories = Directories(target)
        self._made: dict[Parts, Kind] = {(): Kind.DIRECTORY}
        self._removed: set[Parts] = set()
        self._opaque: set[Parts] = set()
        self._new: set[Parts] = set()  # directories that no layer below has
        self._times: dict[Parts, int] = {}
        self.skipped = 0  # devices and named pipes
        self.size_bytes = 0  # about what it takes on disk

    def unpack(self, read: Callable[[int], bytes]) -> None:
        """All entries of an archive. Raises HostileLayerError, or OSError of the disk's."""
        reader = TarReader(read)
        try:
            for entry in reader:
                self._look()
                self._bounds.entry()
                self._obey(step(entry), entry, reader)
            for place, mtime_ns in self._times.items():
                os.utime(self._directories.at(place), ns=(mtime_ns, mtime_ns))
        finally:
            self._directories.close()

    def _obey(self, wanted: Step, entry: Entry, reader: TarReader) -> None:
        if wanted.act is Act.SKIP:
            self.skipped += 1
            return
        if wanted.act is Act.HIDE:
            self._hide(self._resolved(wanted.place))
            return
        place = (*self._resolved(wanted.place[:-1]), *wanted.place[-1:])
        if wanted.act is Act.REMOVE:
            self._remove(place)
        elif entry.kind is Kind.DIRECTORY:
            self._directory(place, entry)
        elif place in self._made:
            raise _twice(entry)
        else:
            self._leaf(place, wanted, entry, reader)

    def _resolved(self, parts: Parts) -> Parts:
        """The same directory without links of the layers below, and made where it is not there."""
        place: Parts = ()
        for count, part in enumerate(parts, 1):
            place = (*place, part)
            if (made := self._made.get(place)) is None:
                real = self._merged.directory(place) if self._is_seen(place) else None
                if real is not None and real != place:
                    return self._resolved((*real, *parts[count:]))
                self._make_directory(place)
            elif made is not Kind.DIRECTORY:
                name = shown("/".join(parts))
                raise HostileLayerError(f"{name} leads through a {made.value} of the same layer")
        return place

    def _is_seen(self, place: Parts) -> bool:
        """Whether what the layers below have there is still to be seen in this one."""
        if place[:-1] in self._new:
            return False
        above = [place[:count] for count in range(len(place) + 1)]
        return self._removed.isdisjoint(above) and self._opaque.isdisjoint(above[:-1])

    def _make_directory(self, place: Parts) -> None:
        """One whose parent is there; as it is in the layers below, if it is."""
        self._bounds.entry()
        self.size_bytes += DISK_BLOCK
        self._unmark(place)
        os.mkdir(place[-1], 0o755, dir_fd=self._directories.at(place[:-1]))
        self._made[place] = Kind.DIRECTORY
        if place in self._removed:
            self._hide(place)
        like = self._merged.look(place) if self._is_seen(place) else None
        if like is None or not stat.S_ISDIR(like.st_mode):
            self._new.add(place)
        else:
            os.fchmod(self._directories.at(place), stat.S_IMODE(like.st_mode))
            self._times[place] = like.st_mtime_ns

    def _directory(self, place: Parts, entry: Entry) -> None:
        if (made := self._made.get(place)) is None:
            self._make_directory(place)
        elif made is not Kind.DIRECTORY:
            raise _twice(entry)
        directory = self._directories.at(place)
        os.fchmod(directory, entry.mode & DIRECTORY_MODE | OURS_DIRECTORY)
        _set_xattrs(directory, entry)
        self._times[place] = entry.mtime_ns

    def _hide(self, place: Parts) -> None:
        self._opaque.add(place)
        os.setxattr(self._directories.at(place), OPAQUE, b"y")

    def _remove(self, place: Parts) -> None:
        if place in self._removed:
            return
        self._removed.add(place)
        if (made := self._made.get(place)) is None:
            parent = self._directories.at(place[:-1])
            os.mknod(place[-1], stat.S_IFCHR, 0, dir_fd=parent)
        elif made is Kind.DIRECTORY:
            self._hide(place)

    def _unmark(self, place: Parts) -> None:
        """A name that was removed first is there again."""
        if place in self._removed:
            os.unlink(place[-1], dir_fd=self._directories.at(place[:-1]))

    def _leaf(self, place: Parts, wanted: Step, entry: Entry, reader: TarReader) -> None:
        self._unmark(place)
        if entry.kind is Kind.HARD_LINK:
            self._link(place, wanted.target, entry)
        elif entry.kind is Kind.SYMLINK:
            parent, at = self._directories.at(place[:-1]), (entry.mtime_ns, entry.mtime_ns)
            os.symlink(entry.target, place[-1], dir_fd=parent)
            os.utime(place[-1], ns=at, dir_fd=parent, follow_symlinks=False)
        else:
            self._file(place, entry, reader)
        self._made[place] = entry.kind

    def _file(self, place: Parts, entry: Entry, reader: TarReader) -> None:
        self.size_bytes += -(-entry.size // DISK_BLOCK) * DISK_BLOCK
        parent = self._directories.at(place[:-1])
        file = os.open(place[-1], NEW_FILE, 0o600, dir_fd=parent)
        try:
            for piece in reader.body():
                self._look()
                _write(file, piece)
            _set_xattrs(file, entry)
            os.fchmod(file, entry.mode & FILE_MODE | OURS_FILE)
            os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(file)

    def _link(self, place: Parts, target: Parts, entry: Entry) -> None:
        """To a file of this layer, or of one below, whose inode it then shares."""
        if (made := self._made.get(target)) is not None:
            if made is Kind.DIRECTORY:
                raise _no_target(entry)
            source = os.dup(self._directories.at(target[:-1]))
            try:
                parent = self._directories.at(place[:-1])
                _hard_link(target[-1], place[-1], parent, source)
            finally:
                os.close(source)
            return
        found = self._merged.path(target) if self._is_seen(target) else None
        if found is None or stat.S_ISDIR(os.lstat(found).st_mode):
            raise _no_target(entry)
        parent = self._directories.at(place[:-1])
        try:
            _hard_link(found, place[-1], parent)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            self._copy(found, place[-1], parent)

    def _copy(self, source: str, name: str, parent: int) -> None:
        """Of a file that can have no more links."""
        status = os.lstat(source)
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(source), name, dir_fd=parent)
            return
        self._bounds.spend(status.st_size)
        self.size_bytes += status.st_size
        target = os.open(name, NEW_FILE, stat.S_IMODE(status.st_mode), dir_fd=parent)
        with open(source, "rb") as read, os.fdopen(target, "wb", buffering=0):
            while os.sendfile(target, read.fileno(), None, 1 << 20):
                self._look()
            os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _hard_link(source: str, name: str, parent: int, source_parent: int | None = None) -> None:
    os.link(
        source, name, src_dir_fd=source_parent, dst_dir_fd=parent, follow_symlinks=False
    )  # fmt: skip


def _write(file: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(file, view) :]


def _set_xattrs(file: int, entry: Entry) -> None:
    for name, value in kept_xattrs(entry):
        try:
            os.setxattr(file, name, value)
        except OSError as error:
            raise HostileLayerError(
                f"{shown(entry.name)} has an attribute {shown(name)} that the disk does not take: "
                f"{error.strerror}"
            ) from None


def _twice(entry: Entry) -> HostileLayerError:
    return HostileLayerError(f"{shown(entry.name)} is there twice in one layer")


def _no_target(entry: Entry) -> HostileLayerError:
    return HostileLayerError(
        f"{shown(entry.name)} is a hard link to {shown(entry.target)}, no file of the image"
    )
