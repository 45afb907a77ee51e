"""An action's inputs as the whole root of what it sees: its own system, and nothing of this host's.

The work tree is shown a second time, with the sandbox's own /proc, /dev and /tmp in it; the action
is given that as its root. The first one has none of these, so whoever reads its outputs meets no
file system but the action's.
"""

# ruff: noqa: SIM105 - contextlib is not in the core that the helpers import

import os

from builder.sandbox.kernel import mounts
from builder.sandbox.plan import OWN_IN_ROOT, RESOLVER, ROOT_TREE, WORK_TREE

# what leads there is the action's, so no link is followed
PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def show_as_root(resolver: int, held: "list[int]") -> None:
    """In the sandbox's mount namespace, where its work tree is. `resolver` is a detached mount of
    the host's list of name servers, or -1; `held` gets what is to be closed when the action runs.
    Raises OSError, also where the inputs have something else than a directory at one of the places.
    """
    root = mounts.detached_tree(WORK_TREE, recursive=False)
    held.append(root)
    mounts.attach(root, ROOT_TREE)
    for name in OWN_IN_ROOT:
        try:
            os.mkdir(name, 0o755, dir_fd=root)
        except FileExistsError:
            pass
        held.append(mounts.detached_tree("/" + name))
        _put(held[-1], root, name, os.O_DIRECTORY)
    if resolver >= 0:
        directory, name = os.path.split(RESOLVER.lstrip("/"))
        try:
            inner = os.open(directory, PLACE | os.O_DIRECTORY, dir_fd=root)
        except OSError:
            return  # it has no such file, so it asks nobody
        held.append(inner)
        try:
            _put(resolver, inner, name, 0)
        except OSError:
            pass  # the same, or it is a link


def _put(tree: int, directory: int, name: str, kind: int) -> None:
    place = os.open(name, PLACE | kind, dir_fd=directory)
    try:
        mounts.attach_to(tree, place)
    finally:
        os.close(place)
