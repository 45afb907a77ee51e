"""Mounts: the classic call where it is enough, the descriptor interface elsewhere.

A detached mount is a descriptor: it has no place yet and disappears with its last descriptor,
so a broker can build one in its own view and attach it in another mount namespace.
See mount(2), open_tree(2), move_mount(2), fsopen(2), mount_setattr(2).
"""

import os

from builder.sandbox.kernel.syscalls import call

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Sequence

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 32, 4096, 16384, 1 << 18, 1 << 19
MNT_DETACH = 2

EINVAL = 22
PIVOT = (  # a kernel lets nobody make a user namespace in a chroot
    "enter DIR by `unshare --mount sh -c 'mount --rbind DIR DIR && cd DIR && "
    "pivot_root . . && umount -l . && exec COMMAND'` instead"
)
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 4, 0x40

FSOPEN_CLOEXEC = 1
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_SET_FD, FSCONFIG_CMD_CREATE = 0, 1, 5, 6
FSMOUNT_CLOEXEC = 1
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC, ATTR_IDMAP = 1, 2, 4, 8, 0x100000


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    call("mount", *arguments(source, target, kind, flags, data))


def arguments(
    source: str, target: str, kind: str = "", flags: int = 0, data: str = ""
) -> "tuple[bytes | int | None, ...]":
    """The arguments of mount(2) as the kernel takes them."""
    return (
        os.fsencode(source) or None,
        os.fsencode(target),
        kind.encode() or None,
        flags,
        data.encode() or None,
    )


class NoMountError(OSError):
    """The root directory of this process is no mount point, as after chroot(2)."""

    def __str__(self) -> str:
        return str(self.strerror)


def make_private() -> None:
    """Mounts here are nobody else's, and theirs do not come in. Raises NoMountError."""
    _propagate(MS_PRIVATE)


def make_slave() -> None:
    """Mounts here stay here; the host's still come in. Raises NoMountError."""
    _propagate(MS_SLAVE)


def _propagate(how: int) -> None:
    try:
        mount("", "/", "", MS_REC | how)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        raise NoMountError(
            EINVAL, "the root directory is no mount point, as after chroot: " + PIVOT
        ) from None


def resize_tmpfs(place: str, size_bytes: int) -> None:
    """Bound a tmpfs that is mounted already, with the flags that it has."""
    flags = MS_REMOUNT | MS_NOSUID | MS_NODEV
    mount("tmpfs", place, "tmpfs", flags, f"size={size_bytes},mode=1777")


def unmount_lazily(target: str) -> None:
    """umount2(2) with MNT_DETACH."""
    call("umount2", os.fsencode(target), MNT_DETACH)


def pivot_into(new_root: str) -> None:
    """Make `new_root` (a mount) the root of this mount namespace and drop the old one.

    The old root is stacked under the new one at "/" and detached from there, so no directory
    to put it in is needed (pivot_root(2), "pivot_root(".", ".")").
    """
    os.chdir(new_root)
    call("pivot_root", b".", b".")
    unmount_lazily(".")
    os.chdir("/")


def detached_tree(path: str, *, recursive: bool = True) -> int:
    """A detached clone of the mount tree at `path`."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    return call("open_tree", AT_FDCWD, os.fsencode(path), flags)


def shown_file(path: str) -> int:
    """A detached mount of a file, or of what a link leads to, that can only be read."""
    fd = detached_tree(path, recursive=False)
    set_attributes(fd, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC, recursive=False)
    return fd


def set_attributes(fd: int, attributes: int, *, userns_fd: int = 0, recursive: bool = True) -> None:
    """Add mount attributes; with `userns_fd`, also map owners through that user namespace."""
    words = (attributes | (ATTR_IDMAP if userns_fd else 0), 0, 0, userns_fd)
    packed = b"".join(word.to_bytes(8, "little") for word in words)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    call("mount_setattr", fd, b"", flags, packed, len(packed))


def attach(fd: int, target: str) -> None:
    """Attach a detached mount at `target` of the current mount namespace."""
    call("move_mount", fd, b"", AT_FDCWD, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH)


def attach_to(fd: int, place: int) -> None:
    """The same at a place that is an open descriptor."""
    call("move_mount", fd, b"", place, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


Option = tuple[str, str | int | None]


def new_context(kind: str, options: "Sequence[Option]" = ()) -> int:
    """A file system that is going to be made, as a descriptor."""
    context = call("fsopen", kind.encode(), FSOPEN_CLOEXEC)
    try:
        configure(context, options)
    except OSError:
        os.close(context)
        raise
    return context


def configure(context: int, options: "Sequence[Option]") -> None:
    """Options are strings, descriptors or flags (None)."""
    for key, value in options:
        if value is None:
            call("fsconfig", context, FSCONFIG_SET_FLAG, key.encode(), None, 0)
        elif isinstance(value, int):
            call("fsconfig", context, FSCONFIG_SET_FD, key.encode(), None, value)
        else:
            text = os.fsencode(value) + b"\0"
            call("fsconfig", context, FSCONFIG_SET_STRING, key.encode(), text, 0)


def new_filesystem(context: int, attributes: int) -> int:
    """A detached mount of what a context describes."""
    call("fsconfig", context, FSCONFIG_CMD_CREATE, None, None, 0)
    return call("fsmount", context, FSMOUNT_CLOEXEC, attributes)
