"""The root of an image: its layers, and above them the few files and places that are ours.

    0     the files of the template: accounts, names, places for mounts (a tmpfs)
    1 ..  the image's layers, topmost first, as the worker has unpacked them

An overlay of nothing but lower layers, so that nobody can write to it. As root the layers are
mounted with their owners mapped, as inputs are: everything in an image belongs to the action's
user, who may read what the image's root may read. Layers are given by short relative paths, which
every kernel takes, and of which hundreds fit into the page that mount(2) has for them; they stand
in the broker's private mount namespace for the moment of the mount.
"""

import os

from builder.sandbox.kernel import mounts
from builder.sandbox.kernel.perform import SetupError, lay

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Mapping, Sequence

LAYER = mounts.ATTR_RDONLY | mounts.ATTR_NOSUID | mounts.ATTR_NODEV
SEALED = mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NODEV
OPTIONS = "userxattr,lowerdir="  # as an ordinary user too can mark what a layer removes


def image_root(
    plan: "list[tuple[str, ...]]", layers: "Sequence[str]", trees: "Mapping[str, int]", owners: int
) -> int:
    """A detached mount: the files of a template's plan above these layers. `owners` is a user
    namespace that maps the layers' owner, or 0. Raises SetupError."""
    place, covers = os.path.dirname(layers[0]), 0
    found: list[int] = []
    try:
        found.extend(_layer(path, owners) for path in layers)
        mounts.mount("tmpfs", place, "tmpfs", mounts.MS_NOSUID, "mode=0755,size=16m")
        covers += 1
        os.chdir(place)
        for number, tree in enumerate([None, *found]):
            os.mkdir(str(number), 0o755)
            if tree is not None:
                mounts.attach(tree, str(number))
        lay(plan, os.path.join(place, "0"), trees)
        names = ":".join(map(str, range(len(found) + 1)))
        mounts.mount("overlay", place, "overlay", SEALED, OPTIONS + names)
        covers += 1
        return mounts.detached_tree(place, recursive=False)
    except OSError as error:
        raise SetupError(("layers", place), error) from None
    finally:
        os.chdir("/")
        for _ in range(covers):
            mounts.unmount_lazily(place)
        for tree in found:
            os.close(tree)


def _layer(path: str, owners: int) -> int:
    tree = mounts.detached_tree(path, recursive=False)
    try:
        mounts.set_attributes(tree, LAYER, userns_fd=owners, recursive=False)
    except OSError:
        os.close(tree)
        raise
    return tree
