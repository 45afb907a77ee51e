"""The loops that perform set-up operations (`builder.sandbox.plan` says what they are)."""

import os

from builder.sandbox.kernel import mounts
from builder.sandbox.kernel.mounts import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY
from builder.sandbox.kernel.syscalls import call

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Callable, Iterator, Mapping

SEALED = MS_RDONLY | MS_NOSUID
MOST_TERMINALS = 256  # of one sandbox; the host has 4096 for all


class SetupError(Exception):
    """An operation that failed, in words: which one, and what the kernel said."""

    def __init__(self, operation: "tuple[str, ...]", error: OSError) -> None:
        super().__init__(f"{' '.join(operation[:2])}: {error}")
        self.errno = error.errno or 0


def make_parents(path: str) -> None:
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)


def make_target(path: str, like: int) -> None:
    """An empty file or directory, whichever can carry a mount of the tree `like`."""
    make_parents(path)
    if os.path.isdir(f"/proc/self/fd/{like}"):
        os.makedirs(path, 0o755, exist_ok=True)
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))


def write_new(path: str, text: str) -> None:
    make_parents(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    os.write(fd, text.encode())
    os.close(fd)


def link(path: str, target: str) -> None:
    make_parents(path)
    os.symlink(target, path)


Mount = tuple[bytes | int | None, ...]


def seal(path: str) -> "list[Mount]":
    """Make the mount at `path` read-only."""
    return [mounts.arguments("", path, "", mounts.MS_REMOUNT | MS_BIND | SEALED | MS_NODEV)]


def bind_read_only(path: str) -> "list[Mount]":
    flags = mounts.MS_REMOUNT | MS_BIND | SEALED | MS_NODEV | MS_NOEXEC
    return [
        mounts.arguments(path, path, "", MS_BIND),
        mounts.arguments("", path, "", flags),
    ]


def no_device_tmpfs(path: str, options: str) -> "list[Mount]":
    return [mounts.arguments("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options)]


def new_proc(path: str) -> "list[Mount]":
    return [mounts.arguments("proc", path, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)]


def new_devpts(path: str) -> "list[Mount]":
    options = f"newinstance,ptmxmode=0666,mode=0620,max={MOST_TERMINALS}"
    return [mounts.arguments("devpts", path, "devpts", MS_NOSUID | MS_NOEXEC, options)]


def empty(path: str, nothing: str) -> "list[Mount]":
    """The empty directory of the template; a file system of its own costs more."""
    return [mounts.arguments(nothing, path, "", MS_BIND)]


def mask(path: str) -> "list[Mount]":
    return [mounts.arguments("/dev/null", path, "", MS_BIND)]


SHOWN = ("system", "device")  # host paths, as they are
FILES: "dict[str, Callable[..., None]]" = {
    "directory": lambda path: os.makedirs(path, 0o755, exist_ok=True),
    "file": write_new,
    "symlink": link,
}
MOUNTS: "dict[str, Callable[..., list[Mount]]]" = {
    "proc": new_proc,
    "seal": seal,
    "tmpfs": no_device_tmpfs,
    "devpts": new_devpts,
    "mask": mask,
    "empty": empty,
    "read-only": bind_read_only,
}


def lay(plan: "list[tuple[str, ...]]", prefix: str, trees: "Mapping[str, int]") -> None:
    """Make a plan's files below `prefix`, and the places that its mounts need; nothing is mounted
    yet. `trees` are the host paths to show, as detached mounts. Raises SetupError."""
    for operation in plan:
        kind, *arguments = operation
        try:
            if kind in SHOWN:
                make_target(prefix + arguments[1], trees[arguments[0]])
            elif kind in FILES:
                FILES[kind](prefix + arguments[0], *arguments[1:])
        except OSError as error:
            raise SetupError(operation, error) from None


def put(plan: "list[tuple[str, ...]]", prefix: str, trees: "Mapping[str, int]") -> None:
    """Mount what a plan mounts, in order, where `lay` has made the places. Raises SetupError."""
    for operation in plan:
        kind, *arguments = operation
        try:
            if kind in SHOWN:
                mounts.attach(trees[arguments[0]], prefix + arguments[1])
            elif kind in MOUNTS:
                for wanted in MOUNTS[kind](prefix + arguments[0], *arguments[1:]):
                    call("mount", *wanted)
        except OSError as error:
            raise SetupError(operation, error) from None


def steps_of(operation: "tuple[str, ...]") -> "Iterator[tuple[str, str, Mount]]":
    kind, *arguments = operation
    what = " ".join(operation[:2])
    if kind == "hostname":
        name = arguments[0].encode()
        yield what, "sethostname", (name, len(name))
    else:
        for wanted in MOUNTS[kind](*arguments):
            yield what, "mount", wanted


def open_trees(plan: "list[tuple[str, ...]]") -> "dict[str, int]":
    """Detached, sealed mounts of all host paths that a plan shows. Raises SetupError."""
    trees: dict[str, int] = {}
    for operation in plan:
        if operation[0] in SHOWN and operation[1] not in trees:
            device = operation[0] == "device"
            attributes = (
                mounts.ATTR_NOSUID | mounts.ATTR_RDONLY
            )  # one writes to a device all the same
            attributes |= mounts.ATTR_NOEXEC if device else mounts.ATTR_NODEV
            try:
                tree = mounts.detached_tree(operation[1])
                mounts.set_attributes(tree, attributes)
            except OSError as error:
                raise SetupError(operation, error) from None
            trees[operation[1]] = tree
    return trees
