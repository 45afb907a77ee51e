"""Who a process is: user namespaces and their maps, capabilities, and ways not to gain any.

See user_namespaces(7), capabilities(7), prctl(2).
"""

import os

from builder.sandbox.kernel.syscalls import call, perform_prepared, prepared

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME = 1, 4, 15
PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 24, 36, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
CAPABILITY_VERSION_3 = 0x20080522
EINVAL = 22
CLOSE_RANGE_CLOEXEC = 4
ALL_FDS = 0x7FFFFFFF


def unshare(flags: int) -> None:
    """unshare(2)."""
    call("unshare", flags)


def set_namespace(fd: int, kind: int) -> None:
    """setns(2)."""
    call("setns", fd, kind)


def prctl(option: int, value: int = 0, third: int = 0) -> int:
    """prctl(2)."""
    return call("prctl", option, value, third, 0, 0)


def write_file(path: str, text: str) -> None:
    """One write(2), whose error is seen: files of /proc and cgroups answer at the write."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def map_ids(process: str, inside: int, uid: int, gid: int) -> None:
    """Map one user and one group into the user namespace of `/proc/<process>`."""
    write_file(f"/proc/{process}/setgroups", "deny")
    write_file(f"/proc/{process}/uid_map", f"{inside} {uid} 1")
    write_file(f"/proc/{process}/gid_map", f"{inside} {gid} 1")


CAPABILITIES = tuple(prepared("prctl", PR_CAPBSET_DROP, n, 0, 0, 0) for n in range(64))


def drop_bounding_set() -> None:
    """Take every capability out of the bounding set."""
    for arguments in CAPABILITIES:
        code = perform_prepared(arguments)
        if code == EINVAL:  # past the last one that this kernel has
            return
        if code:
            raise OSError(code, f"dropping a capability: {os.strerror(code)}")


def drop_capabilities() -> None:
    """Empty the effective, permitted, inheritable and ambient sets."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4)
    call("capset", header, bytes(24))


def close_on_exec_from(first: int) -> None:
    """Mark every descriptor from `first` on, so that no program inherits it."""
    call("close_range", first, ALL_FDS, CLOSE_RANGE_CLOEXEC)


def die_with_parent(signal: int = 9) -> None:
    """This signal when the parent dies. Cleared by a change of credentials: call it after those."""
    prctl(PR_SET_PDEATHSIG, signal)


def set_name(name: str) -> None:
    """The name that ps shows, at most 15 bytes."""
    call("prctl", PR_SET_NAME, name.encode()[:15] + b"\0", 0, 0, 0)
