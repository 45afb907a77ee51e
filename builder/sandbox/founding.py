"""What a broker stands on: its own view of the host, a map of owners, and a zygote.

All of this is made once, when it starts; it forks nothing afterwards.
"""

import os

from builder.sandbox import link, zygote
from builder.sandbox.kernel import identity, mounts
from builder.sandbox.plan import USER_ID, Operation

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    import _socket
    from typing import Any

ROOT = 0
NEW_VIEW = identity.CLONE_NEWUSER | identity.CLONE_NEWNS


class StartError(Exception):
    """This host lets no sandbox start; the sentence says why and what to do."""


def enter_own_view() -> None:
    """A private mount namespace; as an ordinary user, in a user namespace where that is allowed."""
    uid, gid = os.getuid(), os.getgid()
    if uid == ROOT:
        identity.unshare(identity.CLONE_NEWNS)
        mounts.make_slave()
        return
    identity.unshare(NEW_VIEW)
    identity.map_ids("self", USER_ID, uid, gid)


def owner_map(uid: int) -> int:
    """A user namespace in which root's files belong to `uid`, as a descriptor."""
    ours, theirs = link.pair()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            identity.unshare(identity.CLONE_NEWUSER)
            link.send_packet(theirs, b"U")
            link.receive_packet(theirs)
        finally:
            os._exit(0)
    theirs.close()
    try:
        if not link.receive_packet(ours)[0]:
            raise StartError(
                "a child of the broker could not make a user namespace; in a chroot: "
                + mounts.PIVOT
            )
        identity.write_file(f"/proc/{child}/uid_map", f"0 {uid} 1")
        identity.write_file(f"/proc/{child}/gid_map", f"0 {uid} 1")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        ours.close()
        os.waitpid(child, 0)


def start_zygote(
    service: "_socket.socket",
    config: "dict[str, Any]",
    root: "list[Operation]",
    counted: "list[tuple[str, int]]",
    owners: int,
) -> "_socket.socket":
    """The link to a zygote that is up. Raises StartError."""
    ours, theirs = link.pair()
    uid = config["uid"] if os.getuid() == ROOT else None
    child = os.fork()
    if child == 0:
        service.close()
        ours.close()
        zygote.start(theirs, root, uid, counted, owners, config["rooted"])
    theirs.close()
    answer, _ = link.receive_packet(ours)
    if answer != zygote.UP:
        os.waitpid(child, 0)
        raise StartError(answer[1:].decode(errors="replace") or "the zygote died at its start")
    return ours
