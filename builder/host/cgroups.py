"""Where this process stands in the host's control groups, and which controllers it may use.

Version 2 has one tree; version 1 has one tree for each controller; a hybrid host has both. See
cgroups(7) and Documentation/admin-guide/cgroup-v2.rst. Children are only ever made below the
process's own group. Core imports only: the sandbox's broker uses it too.
"""

import os

WANTED = ("memory", "pids", "cpu", "cpuacct")
V1, V2 = 1, 2
READ_BYTES = 65536
SUPERVISOR = "builder-supervisor"  # the leaf for our own processes, where version 2 needs one


class Place:
    """One directory of one tree, with the controllers that it carries."""

    def __init__(self, version: int, path: str, controllers: tuple[str, ...]) -> None:
        self.version = version
        self.path = path
        self.controllers = controllers

    def __repr__(self) -> str:
        return f"Place(v{self.version}, {self.path!r}, {','.join(self.controllers)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


def unescaped(text: str) -> str:
    """A path as mountinfo writes it: octal escapes for space, tab, newline and backslash."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def below_mount(mount_root: str, mount_point: str, group: str) -> str | None:
    """The directory of a group under a mount that may show only a part of the tree."""
    if mount_root == "/":
        return os.path.normpath(mount_point + "/" + group)
    if group == mount_root or group.startswith(mount_root + "/"):
        return os.path.normpath(mount_point + "/" + group[len(mount_root) :])
    return None


def mounted(mountinfo: str) -> list[tuple[int, str, str, frozenset[str]]]:
    """(version, root, mount point, options) of the cgroup mounts in /proc/self/mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if kind[0] in ("cgroup", "cgroup2") and len(fields) > 4 and len(kind) > 2:
            version = V2 if kind[0] == "cgroup2" else V1
            options = frozenset(kind[2].split(","))
            found.append((version, unescaped(fields[3]), unescaped(fields[4]), options))
    return found


def places(mountinfo: str, membership: str) -> list[Place]:
    """The process's own groups (from /proc/self/mountinfo and /proc/self/cgroup).

    A version 2 place has no controllers yet: they are in its `cgroup.controllers` file.
    """
    found: list[Place] = []
    mounts = mounted(mountinfo)
    for line in membership.splitlines():
        number, controllers, group = line.split(":", 2)
        names = frozenset(controllers.split(",")) if controllers else frozenset()
        version = V2 if number == "0" and not controllers else V1
        for kind, root, point, options in mounts:
            if kind != version or (version == V1 and not names <= options):
                continue
            path = below_mount(root, point, group)
            if path is not None:
                found.append(Place(version, path, tuple(w for w in WANTED if w in names)))
                break
    return [place for place in found if place.controllers or place.version == V2]


def read_text(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a text file object costs four more calls
    try:
        text = b""
        while more := os.read(fd, READ_BYTES):
            text += more
        return text.decode(errors="replace")
    finally:
        os.close(fd)


def own_places() -> list[Place]:
    """Of this process, with the controllers that version 2 offers."""
    found = []
    for place in places(read_text("/proc/self/mountinfo"), read_text("/proc/self/cgroup")):
        if place.version == V2:
            path = place.path.removesuffix("/" + SUPERVISOR)
            try:
                offered = read_text(path + "/cgroup.controllers").split()
            except OSError:
                continue
            place = Place(V2, path, tuple(w for w in WANTED if w in offered))
        found.append(place)
    return found
