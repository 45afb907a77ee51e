"""What stands in the way of isolation on this host, each with the command that removes it.

Read from the kernel's own settings; whether a sandbox really starts is found out by starting
one. Sources: Documentation/admin-guide/sysctl/user.rst, Debian's and Ubuntu's kernel patches for
unprivileged user namespaces, systemd.resource-control(5) for delegation.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from builder.host.cgroups import V1, V2, WANTED, Place, own_places
from builder.host.facts import isa

CAP_SYS_ADMIN = 21
OLDEST_KERNEL = (5, 12)  # mount_setattr(2)
MAPPING_KERNEL = (5, 19)  # an overlay over a tree with mapped owners
SUPPORTED = ("x86-64", "arm-a64")
SETTINGS = (  # (file, the value that forbids, what it means, the command)
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "user namespaces are switched off",
        "sysctl -w user.max_user_namespaces=15000",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "ordinary users may not make user namespaces",
        "sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor takes the privileges from ordinary users' namespaces",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """`what` is a sentence for people, `command` what to type (or to do) about it."""

    what: str
    command: str


def version_of(release: str) -> tuple[int, int]:
    """`6.1.0-21-amd64` is (6, 1), `7-rc1` is (7, 0)."""
    numbers = [int(part) for part in release.split("-")[0].split(".") if part.isdigit()]
    major, minor = [*numbers, 0, 0][:2]
    return major, minor


def setting(path: str) -> str | None:
    """A kernel setting; None where this kernel does not have it."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def has_capability(status: str, capability: int) -> bool:
    """Whether a process may use a capability, by its /proc/<pid>/status."""
    line = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    return bool(int(line.split()[1], 16) >> capability & 1)


def isolation_obstacles(uid: int, machine: str, release: str) -> list[Obstacle]:
    """Why no sandbox would start for this user; empty when nothing is known to hinder it."""
    found = []
    if isa(machine) not in SUPPORTED:
        found.append(
            Obstacle(
                f"the sandbox does not know the system calls of {machine}",
                f"run workers on one of {', '.join(SUPPORTED)}",
            )
        )
    if version_of(release) < OLDEST_KERNEL:
        found.append(
            Obstacle(f"Linux {release} has no mount_setattr", "run Linux 5.12 or later here")
        )
    for path, forbidding, what, command in SETTINGS[: 1 if uid == 0 else None]:
        if setting(path) == forbidding:
            found.append(Obstacle(what, command))
    with open("/proc/self/status", encoding="utf-8") as file:
        if uid == 0 and not has_capability(file.read(), CAP_SYS_ADMIN):
            found.append(
                Obstacle(
                    "this root user lacks CAP_SYS_ADMIN, as in a plain container",
                    "run the container with --privileged, or the worker as an ordinary user",
                )
            )
    return found


def group_obstacles(places: Sequence[Place], uid: int) -> list[Obstacle]:
    """Why limits cannot be enforced by control groups, as far as it can be seen from outside."""
    usable = {c for place in places if os.access(place.path, os.W_OK) for c in place.controllers}
    missing = [name for name in WANTED if name not in usable and name != "cpuacct"]
    if not missing:
        return []
    names = ", ".join(missing)
    if any(place.version == V1 and place.controllers for place in places):
        return [
            Obstacle(
                f"the control groups (version 1) of {names} cannot be written by this user",
                "run the worker as root; version 1 has no safe delegation",
            )
        ]
    if not any(place.version == V2 for place in places):
        return [
            Obstacle(
                "no control groups are mounted",
                "mount -t cgroup2 none /sys/fs/cgroup",
            )
        ]
    scope = "systemd-run --scope" if uid == 0 else "systemd-run --user --scope"
    return [
        Obstacle(
            f"the control groups of {names} are not delegated to this process",
            f"{scope} -p Delegate=yes builder worker   # or Delegate=yes in the service's unit",
        )
    ]


def obstacles() -> tuple[list[Obstacle], list[Obstacle]]:
    """For this process: what hinders isolation, and what hinders limits by control group. Linux
    alone has either."""
    system = os.uname()
    if system.sysname != "Linux":
        return [], []
    isolation = isolation_obstacles(os.getuid(), system.machine, system.release)
    return isolation, group_obstacles(own_places(), os.getuid())
