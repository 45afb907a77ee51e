"""This machine in a few facts, by the names that REAPI's platform.md gives them."""

import os
import platform
import socket
from dataclasses import asdict, dataclass

ISA = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm-a64", "arm64": "arm-a64"}
OS_FAMILIES = {"linux": "linux", "darwin": "macos", "windows": "windows"}


@dataclass(frozen=True, slots=True)
class Facts:
    """`cores` are those that this process may use; `memory_bytes` is the machine's."""

    host: str
    os_family: str
    isa: str
    kernel: str
    python: str
    cores: int
    memory_bytes: int

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


def isa(machine: str) -> str:
    """The value of the platform property ISA; an unknown machine keeps its own name."""
    return ISA.get(machine.lower(), machine.lower())


def os_family(system: str) -> str:
    """The value of the platform property OSFamily."""
    return OS_FAMILIES.get(system.lower(), system.lower())


def usable_cores() -> int:
    """By affinity where the system has it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def facts() -> Facts:
    """Look once; nothing of it changes while a process lives, but affinity."""
    return Facts(
        host=socket.gethostname(),
        os_family=os_family(platform.system()),
        isa=isa(platform.machine()),
        kernel=platform.release(),
        python=platform.python_version(),
        cores=usable_cores(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )
