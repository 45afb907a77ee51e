"""The same container in podman's words, which takes no bundle: its options from what config.json
would say. See podman-run(1)."""

import os
from collections.abc import Iterator
from typing import Any

from builder.sandbox.bundle import DEVICES

OF_ITS_OWN = ("/proc", DEVICES, "/dev/pts", "/dev/shm")  # noqa: S108 - podman mounts these itself


def options(config: dict[str, Any], rootfs: str, seccomp: str, groups: bool) -> list[str]:
    """What follows `podman run --name NAME`; `seccomp` is a file of the configuration's filter,
    and `groups` is whether it is in control groups."""
    process, user = config["process"], config["process"]["user"]
    spaces = {space["type"] for space in config["linux"]["namespaces"]}
    found = ["--log-driver=none", "--no-hosts", "--read-only", "--read-only-tmpfs=false"]
    found += [f"--network={'none' if 'network' in spaces else 'host'}", "--unsetenv-all"]
    found += [f"--hostname={config['hostname']}"] if "network" in spaces else []
    found += [f"--user={user['uid']}:{user['gid']}", f"--umask={user['umask']:04o}"]
    found += ["--cap-drop=all", "--security-opt=no-new-privileges"]
    found += [f"--security-opt=seccomp={seccomp}", f"--workdir={process['cwd']}"]
    masked = ":".join(config["linux"]["maskedPaths"])
    found += [f"--security-opt=mask={masked}"]
    for limit in process["rlimits"]:
        name = limit["type"].removeprefix("RLIMIT_").lower()
        found.append(f"--ulimit={name}={limit['soft']}:{limit['hard']}")
    for one in config["mounts"]:
        found += mount(one)
    found += list(resources(config["linux"]["resources"])) if groups else ["--cgroups=disabled"]
    found += [f"--env={pair}" for pair in process["env"]]
    return [*found, "--rootfs", os.path.abspath(rootfs), *process["args"]]


def mount(one: dict[str, Any]) -> list[str]:
    place, given = one["destination"], one["options"]
    if place in OF_ITS_OWN:
        return []
    if one["type"] == "tmpfs":
        return [f"--tmpfs={place}:{','.join(given)}"]
    kept = ",".join(option for option in given if option != "bind")
    return [f"--volume={one['source']}:{place}:{kept}"]


def resources(found: dict[str, Any]) -> Iterator[str]:
    """Of its control groups."""
    if "memory" in found:
        yield f"--memory={found['memory']['limit']}b"
        yield f"--memory-swap={found['memory']['swap']}b"
    if "pids" in found:
        yield f"--pids-limit={found['pids']['limit']}"
    if "cpu" in found:
        yield f"--cpu-quota={found['cpu']['quota']}"
        yield f"--cpu-period={found['cpu']['period']}"
