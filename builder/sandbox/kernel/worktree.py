"""The work tree of one action: its inputs, which it cannot change, under a layer of its own.

An overlay whose lower layer is the input tree. As root the lower layer is mounted with its
owners mapped (root's files look like the action's own), so that the action can create and
replace beside its inputs although it is another user; the files themselves stay as they are.

Kernels before 6.13 take no layers by descriptor: there the mapped tree gets a place in the
broker's private mount namespace for the moment of the mount. Where the file system cannot carry
an overlay at all, the inputs are copied.
"""

import ctypes
import os

from builder.sandbox.kernel import mounts
from builder.sandbox.kernel.syscalls import call

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Callable

ATTRIBUTES = mounts.ATTR_NOSUID | mounts.ATTR_NODEV
LOWER = ATTRIBUTES | mounts.ATTR_RDONLY
COPY_CHUNK = 1 << 20
KNOWN_TREES = 128
OVERLAY, SHARED = "overlay", "shared"
LAYER = "upper"  # in the scratch directory: what the action writes
TMPFS, STATFS_BYTES = 0x01021994, 120  # statfs(2)


def new_file(scratch: str, name: str, flags: int = 0) -> int:
    """One of our own beside what the action writes. Raises OSError."""
    flags |= os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.open(scratch + "/" + name, flags, 0o600)


def in_memory(path: str) -> bool:
    """Whether a directory is on a tmpfs."""
    info = ctypes.create_string_buffer(STATFS_BYTES)
    call("statfs", os.fsencode(path), info)
    return int.from_bytes(info.raw[:8], "little") == TMPFS


class WorkTrees:
    """Makes work trees in one of three ways, the best that this kernel and disk can do.

    `owner` is the kernel's user id of actions where it is not the broker's own, and `owners` the
    user namespace that maps the broker's files to it; else None and 0.
    """

    def __init__(self, owner: int | None, owners: int) -> None:
        self._owner, self._owners = owner, owners
        self._done_with: list[int] = []
        self._context = -1  # of the next overlay, whose layers are not known yet
        self._known: dict[tuple[int, int], int] = {}  # input trees by inode, the last used last
        self._flushed: dict[int, bool] = {}  # by device: whether it is a disk
        self._ways: list[tuple[str, Callable[[str, str], int]]] = [
            (OVERLAY, self._by_descriptor),
            (OVERLAY, self._by_path),
            ("copy", self._by_copy),
        ]

    def make(self, inputs: str, scratch: str) -> "tuple[int, str]":
        """A detached mount and how it was made: "overlay" or "copy". Raises OSError."""
        upper = scratch + "/" + LAYER
        os.mkdir(upper, 0o755)
        os.mkdir(scratch + "/layer", 0o700)
        if self._owner is not None:
            os.chown(upper, self._owner, self._owner)
        for index, (name, way) in enumerate(self._ways):
            try:
                tree = way(inputs, scratch)
            except OSError:
                if not os.path.isdir(inputs) or index == len(self._ways) - 1:
                    raise
                continue
            if name == OVERLAY:
                del self._ways[:index]  # this kernel will never take the earlier ways
            return tree, name
        raise AssertionError("one way returns or raises")

    def share(self, directory: str) -> int:
        """A detached mount of a host directory as it is, to be written to. Raises OSError."""
        tree = mounts.detached_tree(directory, recursive=False)
        try:
            mounts.set_attributes(tree, ATTRIBUTES, recursive=False)
        except OSError:
            os.close(tree)
            raise
        return tree

    def released(self) -> list[int]:
        """What `make` needed, for the caller to close. The end of a detached mount waits for all
        processors, so that is done when the action already runs."""
        opened, self._done_with = self._done_with, []
        return opened

    def look_ahead(self) -> None:
        """Begin the next overlay, while nobody waits for it."""
        if self._context < 0:
            try:
                self._context = mounts.new_context("overlay", self._options())
            except OSError:
                return  # `make` sees that too, and has other ways

    def _lower(self, inputs: str) -> int:
        """A sealed mount of an input tree. Trees come again and again, so it is kept a while; it
        also keeps the inode, whose number can therefore not become another tree's."""
        info = os.stat(inputs)
        key = (info.st_dev, info.st_ino)
        tree = self._known.pop(key, -1)
        if tree < 0:
            tree = self._sealed(inputs)
        self._known[key] = tree
        if len(self._known) > KNOWN_TREES:
            oldest = next(iter(self._known))
            self._done_with.append(self._known.pop(oldest))
        return tree

    def _sealed(self, inputs: str) -> int:
        tree = mounts.detached_tree(inputs, recursive=False)
        try:
            mounts.set_attributes(tree, LOWER, userns_fd=self._owners, recursive=False)
        except OSError:
            os.close(tree)
            raise
        return tree

    def _options(self) -> "list[mounts.Option]":
        return [] if self._owner is not None else [("userxattr", None)]

    def _by_descriptor(self, inputs: str, scratch: str) -> int:
        return self._overlay(("lowerdir+", self._lower(inputs)), scratch)

    def _overlay(self, lower: "mounts.Option", scratch: str) -> int:
        context, self._context = self._context, -1
        if context < 0:
            context = mounts.new_context("overlay", self._options())
        try:
            os.chdir(scratch)  # the action can read by which names its layers were given
            mounts.configure(context, (lower, ("upperdir", LAYER), ("workdir", "layer")))
            if self._is_flushed(scratch):  # it is scratch, so its unmount need not do that
                mounts.configure(context, (("volatile", None),))
            return mounts.new_filesystem(context, ATTRIBUTES)
        finally:
            os.chdir("/")
            os.close(context)

    def _is_flushed(self, scratch: str) -> bool:
        """Whether the unmount of a layer would flush a disk."""
        device = os.stat(scratch).st_dev
        if device not in self._flushed:
            self._flushed[device] = not in_memory(scratch)
        return self._flushed[device]

    def _by_path(self, inputs: str, scratch: str) -> int:
        place = os.path.join(scratch, "lower")
        os.mkdir(place, 0o755)
        tree = self._sealed(inputs)
        try:
            mounts.attach(tree, place)
        finally:
            os.close(tree)
        try:
            return self._overlay(("lowerdir", "lower"), scratch)
        finally:
            mounts.unmount_lazily(place)
            os.rmdir(place)

    def _by_copy(self, inputs: str, scratch: str) -> int:
        upper = os.path.join(scratch, LAYER)
        copy_tree(inputs, upper, self._owner)
        tree = mounts.detached_tree(upper, recursive=False)
        mounts.set_attributes(tree, ATTRIBUTES, recursive=False)
        return tree


def copy_tree(source: str, target: str, owner: int | None) -> None:
    """Copy what is in `source` into the existing directory `target`; links stay links."""
    with os.scandir(source) as entries:
        for entry in entries:
            place = os.path.join(target, entry.name)
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), place)
            elif entry.is_dir():
                os.mkdir(place, 0o755)
                copy_tree(entry.path, place, owner)
            else:
                copy_file(entry.path, place)
            if owner is not None:
                os.chown(place, owner, owner, follow_symlinks=False)


def copy_file(source: str, target: str) -> None:
    """The bytes and the permission bits."""
    read = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        mode = os.fstat(read).st_mode & 0o777
        write = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            while os.sendfile(write, read, None, COPY_CHUNK):
                pass
        finally:
            os.close(write)
    finally:
        os.close(read)
