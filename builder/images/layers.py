"""What an entry of a layer may be, and what it means. Decisions only; `unpack` obeys.

A name is a path below the root of the image: a leading slash or `.` says nothing, `..` is refused.
`.wh.NAME` removes NAME of the layers below, `.wh..wh..opq` all that they have in its directory.
Every name is there once, but for directories, which may be said again. Devices and named pipes are
left out: the sandbox has its own, and a pipe would be a way from one action to another.

Source: OCI image specification, "Image Layer Filesystem Changeset".
"""

from dataclasses import dataclass
from enum import Enum

from builder.images.errors import HostileLayerError
from builder.images.tar import Entry, Kind

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
MOST_DEPTH = 200
MOST_PART = 255  # bytes of a name, NAME_MAX
MOST_TARGET = 4095  # bytes of a link's target, PATH_MAX
MOST_ENTRIES = 1_000_000
OVERLAYS_OWN = "user.overlay."
FILE_MODE, DIRECTORY_MODE = 0o777, 0o1777  # nobody is set-user-id in a sandbox

Parts = tuple[str, ...]


class Act(Enum):
    MAKE = "make"
    REMOVE = "remove"  # what the layers below have of this name
    HIDE = "hide"  # all that they have in this directory
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Step:
    """What to do at which place; `target` is where a hard link leads."""

    act: Act
    place: Parts
    target: Parts = ()


@dataclass(slots=True)
class Bounds:
    """How much one image may still unpack to."""

    bytes_left: int
    entries_left: int = MOST_ENTRIES

    def entry(self) -> None:
        """One more. Raises HostileLayerError."""
        self.entries_left -= 1
        if self.entries_left < 0:
            raise HostileLayerError(f"the image has over {MOST_ENTRIES} entries")

    def spend(self, size: int) -> None:
        """So many bytes more. Raises HostileLayerError."""
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise HostileLayerError("the image unpacks to more than sandbox.images.max_size")


def step(entry: Entry) -> Step:
    """Raises HostileLayerError."""
    place = parts_of(entry.name)
    if not place:
        return Step(Act.MAKE if entry.kind is Kind.DIRECTORY else Act.SKIP, place)
    *above, name = place
    if name == OPAQUE:
        return Step(Act.HIDE, tuple(above))
    if name.startswith(WHITEOUT):
        removed = name.removeprefix(WHITEOUT)
        if removed in ("", ".", "..") or removed.startswith(WHITEOUT):
            raise _hostile(entry, "marks nothing that can be removed")
        return Step(Act.REMOVE, (*above, removed))
    if entry.kind in (Kind.DEVICE, Kind.FIFO):
        return Step(Act.SKIP, place)
    if entry.kind is Kind.HARD_LINK:
        target = parts_of(entry.target)
        if not target or target == place:
            raise _hostile(entry, "is a hard link to itself or to nothing")
        return Step(Act.MAKE, place, target)
    if entry.kind is Kind.SYMLINK:
        _check_target(entry)
    return Step(Act.MAKE, place)


def parts_of(name: str) -> Parts:
    """A path's parts from the image's root. Raises HostileLayerError for one that leaves it, or
    that no file system takes."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    for part in parts:
        if part == "..":
            raise HostileLayerError(f"{shown(name)} leaves the image's root by '..'")
        if "\0" in part or _size(part) > MOST_PART:
            raise HostileLayerError(f"{shown(name)} is no path that a file system takes")
    if len(parts) > MOST_DEPTH:
        raise HostileLayerError(f"{shown(name)} is deeper than {MOST_DEPTH} directories")
    return parts


def kept_xattrs(entry: Entry) -> tuple[tuple[str, bytes], ...]:
    """A file's own ones. Capabilities and labels would do nothing in a sandbox, and those of the
    overlay are not the image's to set."""
    return tuple(
        (name, value)
        for name, value in entry.xattrs
        if name.startswith("user.") and not name.startswith(OVERLAYS_OWN) and "\0" not in name
    )


def shown(name: str) -> str:
    return repr(name if len(name) <= 200 else name[:200] + "...")


def _check_target(entry: Entry) -> None:
    if not entry.target or "\0" in entry.target or _size(entry.target) > MOST_TARGET:
        raise _hostile(entry, "is a symbolic link that no file system takes")


def _size(text: str) -> int:
    return len(text.encode(errors="surrogateescape"))


def _hostile(entry: Entry, why: str) -> HostileLayerError:
    return HostileLayerError(f"{shown(entry.name)} {why}")
