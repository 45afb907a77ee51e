"""What hinders isolation, with the command that helps."""

import os
from pathlib import Path

import pytest

from builder.host.cgroups import V1, V2, Place
from builder.host.facts import facts, isa, os_family
from builder.host.obstacles import (
    group_obstacles,
    has_capability,
    isolation_obstacles,
    version_of,
)


@pytest.mark.parametrize(
    ("machine", "name"),
    [("x86_64", "x86-64"), ("AMD64", "x86-64"), ("aarch64", "arm-a64"), ("riscv64", "riscv64")],
)
def test_machines_have_reapi_names(machine: str, name: str) -> None:
    """ISA is named as REAPI's platform.md names it."""
    assert isa(machine) == name


def test_facts_of_this_machine() -> None:
    """They are plausible, and serialise."""
    found = facts()
    assert found.os_family == os_family("Linux") == "linux"
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert found.memory_bytes > 1 << 26
    assert found.as_dict()["kernel"] == os.uname().release


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.1.0-21-amd64", (6, 1)),
        ("5.4.0", (5, 4)),
        ("6.18.44-fc-v445", (6, 18)),
        ("7-rc1", (7, 0)),
    ],
)
def test_kernel_versions(release: str, version: tuple[int, int]) -> None:
    """Releases of distributions are understood."""
    assert version_of(release) == version


@pytest.mark.parametrize(
    ("machine", "release", "told"),
    [
        ("riscv64", "6.1.0", "riscv64"),
        ("x86_64", "5.4.0-100-generic", "mount_setattr"),
    ],
)
def test_unfit_machines_are_told(machine: str, release: str, told: str) -> None:
    """An unknown machine or an old kernel is named."""
    assert any(told in found.what for found in isolation_obstacles(1000, machine, release))


def test_capabilities_are_read() -> None:
    """Bit 21 of CapEff is CAP_SYS_ADMIN."""
    assert has_capability("Name: x\nCapEff:\t0000000000200000\n", 21)
    assert not has_capability("CapEff:\t00000000ffdfffff\n", 21)
    assert not has_capability("", 21)


def test_writable_groups_are_no_obstacle(tmp_path: Path) -> None:
    """Where memory, pids and cpu can be written nothing is missing."""
    assert group_obstacles([Place(V2, str(tmp_path), ("memory", "pids", "cpu"))], 1000) == []


def test_each_group_obstacle_has_its_own_command(tmp_path: Path) -> None:
    """Version 1 needs root, version 2 delegation, and no tree at all a mount."""
    nowhere = str(tmp_path / "nowhere")
    every = ("memory", "pids", "cpu")
    assert "root" in group_obstacles([Place(V1, nowhere, every)], 1000)[0].command
    assert "--user" in group_obstacles([Place(V2, nowhere, every)], 1000)[0].command
    assert "--user" not in group_obstacles([Place(V2, nowhere, every)], 0)[0].command
    assert "mount" in group_obstacles([], 0)[0].command
