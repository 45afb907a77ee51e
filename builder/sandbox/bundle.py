"""An OCI bundle for one action: what a container runtime is told, as data.

The root is the same template as of the native sandbox (`plan`), said in the runtime's words: what
is shown is a read-only bind mount, what is written down is a file of the bundle, /dev is the
runtime's. Source: OCI runtime specification 1.0.2, config.md and config-linux.md.
"""

# ruff: noqa: S108 - these are places of the container's own

import os
from collections.abc import Mapping, Sequence
from typing import Any

from builder.sandbox import plan
from builder.sandbox.kernel.seccomp import DENIED
from builder.sandbox.plan import Operation

VERSION = "1.0.2"
SPACES = ("pid", "ipc", "uts", "mount")
PERIOD_US = 100_000
DEVICES = "/dev"
EPERM, ENOSYS = 1, 38
NO_SETS: dict[str, list[str]] = {
    name: [] for name in ("bounding", "effective", "inheritable", "permitted", "ambient")
}
OWN = ("nosuid", "nodev")
READ_ONLY = ("bind", "ro", *OWN)


def mount(kind: str, place: str, *options: str, source: str = "") -> dict[str, Any]:
    return {
        "destination": place,
        "type": kind,
        "source": source or kind,
        "options": list(options),
    }


def mounts(root: Sequence[Operation], work_tree: str) -> list[dict[str, Any]]:
    """In the order in which they are made."""
    shown = [op[1:] for op in root if op[0] == "system"]
    return [
        mount("proc", "/proc", "nosuid", "noexec", "nodev"),
        mount("tmpfs", DEVICES, "nosuid", "noexec", "strictatime", "mode=755", "size=64k"),
        mount("devpts", "/dev/pts", "nosuid", "noexec", "newinstance", "ptmxmode=0666"),
        mount("tmpfs", "/dev/shm", *OWN, "noexec", "mode=1777"),
        *(mount("bind", place, *READ_ONLY, source=source) for source, place in shown),
        mount("tmpfs", "/tmp", *OWN, "mode=1777"),
        mount("bind", plan.WORK_TREE, "bind", "rw", *OWN, source=work_tree),
    ]


def lay_out(root: Sequence[Operation], place: str, uid: int) -> None:
    """The bundle's own files: links, accounts, and the places that mounts go to. Raises OSError."""
    for kind, *arguments in root:
        path = place + arguments[0]
        if arguments[0].startswith(DEVICES + "/") or kind not in ("file", "symlink", "directory"):
            continue
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        if kind == "file":
            with open(path, "x", encoding="utf-8") as file:
                file.write(arguments[1].replace(str(plan.USER_ID), str(uid)))
        elif kind == "symlink":
            os.symlink(arguments[1], path)
        else:
            os.makedirs(path, 0o755, exist_ok=True)


def resources(
    memory_bytes: int | None, processes: int | None, cores: float | None
) -> dict[str, Any]:
    """Of its control groups."""
    found: dict[str, Any] = {}
    if memory_bytes is not None:
        found["memory"] = {"limit": memory_bytes, "swap": memory_bytes}
    if processes is not None:
        found["pids"] = {"limit": processes}
    if cores is not None:
        found["cpu"] = {"quota": int(cores * PERIOD_US), "period": PERIOD_US}
    return found


def config(
    *,
    argv: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
    root: Sequence[Operation],
    work_tree: str,
    uid: int,
    outside_uid: int | None,
    own_network: bool,
    rlimits: Mapping[str, int],
    limits: dict[str, Any],
    machine: str,
) -> dict[str, Any]:
    """What stands in config.json. `outside_uid` is the user of an ordinary user's container, who
    is `uid` in a user namespace of its own; None where root makes it, who needs none."""
    spaces = [*SPACES, *(["network"] if own_network else [])]
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in spaces],
        "maskedPaths": [f"/proc/{name}" for name in (*plan.PROC_MASKED, *plan.PROC_EMPTY)],
        "readonlyPaths": [f"/proc/{name}" for name in plan.PROC_READ_ONLY],
        "resources": limits,
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                refusal(sorted(DENIED[machine]), EPERM),
                refusal(["clone3"], ENOSYS),  # whose flags no filter can see
            ],
        },
    }
    if outside_uid is not None:
        mapping = [{"containerID": uid, "hostID": outside_uid, "size": 1}]
        linux["namespaces"].append({"type": "user"})
        linux |= {"uidMappings": mapping, "gidMappings": mapping}
    return {
        "ociVersion": VERSION,
        "process": {
            "terminal": False,
            "user": {"uid": uid, "gid": uid, "umask": 0o022},
            "args": list(argv),
            "env": [f"{name}={value}" for name, value in environment.items()],
            "cwd": directory,
            "noNewPrivileges": True,
            "capabilities": NO_SETS,
            "rlimits": [
                {"type": f"RLIMIT_{name}", "soft": value, "hard": value}
                for name, value in rlimits.items()
            ],
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": plan.HOST_NAME,
        "mounts": mounts(root, work_tree),
        "linux": linux,
    }


def refusal(names: list[str], error: int) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": error}
