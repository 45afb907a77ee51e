"""Finding one's own control groups, in the texts of real hosts and on this one."""

import os

import pytest

from builder.host.cgroups import V1, V2, Place, own_places, places

HYBRID_MOUNTS = """\
30 24 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
"""
HYBRID_GROUPS = "9:name=systemd:/\n4:memory:/jobs/9e01\n1:cpu:/\n0::/\n"

JOINED_MOUNTS = """\
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
"""
JOINED_GROUPS = "3:pids:/user.slice\n2:cpu,cpuacct:/user.slice\n1:net_cls,net_prio:/\n"

UNIFIED_MOUNTS = "25 19 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
UNIFIED_GROUPS = "0::/user.slice/user-1000.slice/a b.scope\n"

CONTAINER_MOUNTS = "25 19 0:22 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"


@pytest.mark.parametrize(
    ("mounts", "groups", "wanted"),
    [
        (
            HYBRID_MOUNTS,
            HYBRID_GROUPS,
            [
                Place(V1, "/sys/fs/cgroup/memory/jobs/9e01", ("memory",)),
                Place(V1, "/sys/fs/cgroup/cpu", ("cpu",)),
                Place(V2, "/sys/fs/cgroup/unified", ()),
            ],
        ),
        (
            JOINED_MOUNTS,
            JOINED_GROUPS,
            [
                Place(V1, "/sys/fs/cgroup/pids/user.slice", ("pids",)),
                Place(V1, "/sys/fs/cgroup/cpu,cpuacct/user.slice", ("cpu", "cpuacct")),
            ],
        ),
        (
            UNIFIED_MOUNTS,
            UNIFIED_GROUPS,
            [Place(V2, "/sys/fs/cgroup/user.slice/user-1000.slice/a b.scope", ())],
        ),
        (CONTAINER_MOUNTS, "0::/docker/abc/x\n", [Place(V2, "/sys/fs/cgroup/x", ())]),
        (CONTAINER_MOUNTS, "0::/elsewhere\n", []),
        ("", HYBRID_GROUPS, []),
    ],
)
def test_own_groups_are_found(mounts: str, groups: str, wanted: list[Place]) -> None:
    """Each tree gives the directory of our own group, in mounts that show a part of it too."""
    assert places(mounts, groups) == wanted


def test_escaped_mount_points_are_read() -> None:
    """mountinfo writes a space as \\040."""
    mounts = r"25 19 0:22 / /odd\040place rw - cgroup2 cgroup2 rw"
    assert places(mounts, "0::/x\n") == [Place(V2, "/odd place/x", ())]


def test_this_hosts_groups_exist() -> None:
    """What is found on this machine are directories that hold a cgroup.procs."""
    for place in own_places():
        assert os.path.exists(place.path + "/cgroup.procs")
