"""Input roots on disk: built once by hard links, kept, and shared by actions that only read them.

    root digest --TreeLoader--> messages --ContentCache--> files --links--> trees/N

Theory of operation. A tree is immutable: the sandbox mounts it as the lower layer beneath what
the action writes, so any number of actions may use one at a time, and the next action with the
same input root has nothing to fetch or to link (sandbox measurements: one link 10 us, a cached
tree 10 us in all). A tree pins the files that it links to. When the cache is over its budget,
files that no tree pins go first, then trees that no action uses, least recently used first; what
is in use is never taken away, so the budget may be passed while it is.
"""

import errno
import os
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError, NotFoundError
from builder.host.removal import remove_tree
from builder.net.together import each
from builder.reapi.digests import from_proto, path_of
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.status import missing as missing_error
from builder.stores.interface import BlobStore
from builder.worker.content import ContentCache, Key
from builder.worker.properties import apply, apply_time, has_own_attributes
from builder.worker.tree import InputTree, TreeLoader, absolute_link

# link(2) says so of a file with too many links, of another filesystem, of one without links.
NO_LINK = {errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP}
DIRECTORY_MODE = 0o755


@dataclass(slots=True)
class _Built:
    path: str
    tree: InputTree
    pinned: list[Key]
    refusal: str = ""  # where absolute links are not served
    users: int = 0
    ready: trio.Event = field(default_factory=trio.Event)


@dataclass(frozen=True, slots=True)
class InputRoot:
    """A directory that may be read, and what is in it."""

    path: str
    tree: InputTree


class InputCache:
    """`directory` is this cache's alone and is emptied first."""

    def __init__(self, directory: Path, max_bytes: int, max_trees: int = 256) -> None:
        remove_tree(str(directory))
        self._trees_directory = directory / "trees"
        self._trees_directory.mkdir(parents=True, mode=0o700)
        self._content = ContentCache(directory / "files", max_bytes)
        self._loader = TreeLoader()
        self._max_trees = max_trees
        self._trees: OrderedDict[Digest, _Built] = OrderedDict()
        self._building: dict[Digest, trio.Event] = {}
        self._count = 0

    @property
    def size_bytes(self) -> int:
        return self._content.size_bytes

    def has(self, root: Digest) -> bool:
        """Whether a checkout of this root needs nothing fetched."""
        return root in self._trees

    @asynccontextmanager
    async def checkout(
        self, blobs: BlobStore, root: Digest, absolute_links: bool = False
    ) -> AsyncIterator[InputRoot]:
        """The input root, there until the block ends.

        Raises FailedPreconditionError that lists every missing blob, InvalidArgumentError for a
        malformed tree.
        """
        while (building := self._building.get(root)) is not None:
            await building.wait()  # then look again: it may have failed
        built = self._trees.get(root)
        if built is None:
            self._building[root] = trio.Event()
            try:
                built = await self._build(blobs, root)
                self._trees[root] = built
            finally:
                self._building.pop(root).set()
        self._trees.move_to_end(root)
        built.users += 1
        try:
            if built.refusal and not absolute_links:
                raise InvalidArgumentError(built.refusal)
            await self._trim()
            yield InputRoot(built.path, built.tree)
        finally:
            built.users -= 1

    async def _build(self, blobs: BlobStore, root: Digest) -> _Built:
        tree, missing = await self._loader.load(blobs, root)
        paths: dict[Key, str] = {}
        absent: list[Digest] = []

        async def fetch(key: Key) -> None:
            try:
                paths[key] = await self._content.pin(blobs, key)
            except NotFoundError:
                absent.append(key[0])

        self._count += 1
        target = str(self._trees_directory / f"{self._count:x}")
        wanted = tree.files()
        try:
            await each(fetch, wanted)
            if missing or absent:
                order = [digest for digest, _ in wanted if digest in set(absent)]
                raise missing_error([*missing, *order])
            await trio.to_thread.run_sync(link_tree, target, tree, paths)
        except BaseException as error:
            for key in paths:
                self._content.unpin(key)
            await _remove(target)
            if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
                raise InvalidArgumentError(
                    f"input root {path_of(root)} has a path longer than Linux takes"
                ) from None
            raise
        return _Built(target, tree, list(paths), absolute_link(tree))

    async def _trim(self) -> None:
        while self._content.over_budget or len(self._trees) > self._max_trees:
            if self._content.over_budget and self._content.drop_one():
                continue
            idle = next((root for root, built in self._trees.items() if not built.users), None)
            if idle is None:
                return
            built = self._trees.pop(idle)
            for key in built.pinned:
                self._content.unpin(key)
            await _remove(built.path)


def link_tree(target: str, tree: InputTree, paths: dict[Key, str]) -> None:
    """Make the tree at `target` from hard links to the files of `paths`."""
    function = tree.root.function
    stack = [(target, tree.root)]
    made: list[tuple[str, pb.Directory]] = []
    while stack:
        here, digest = stack.pop()
        directory = tree.directories[digest]
        os.mkdir(here)
        os.chmod(here, DIRECTORY_MODE)
        made.append((here, directory))
        for node in directory.files:
            key = (from_proto(node.digest, function), node.is_executable)
            if has_own_attributes(node.node_properties):
                _copy(paths[key], f"{here}/{node.name}", node)
            else:
                link_file(paths[key], f"{here}/{node.name}")
        for link in directory.symlinks:
            os.symlink(link.target, f"{here}/{link.name}")
            apply_time(f"{here}/{link.name}", link.node_properties)
        stack += [(f"{here}/{name}", below) for name, below in tree.below(directory).items()]
    for here, directory in reversed(made):  # children first: each entry made touches its directory
        if here == target:  # the root is the worker's own
            apply_time(here, pb.NodeProperties())
        else:
            apply(here, directory.node_properties)


def _copy(source: str, target: str, node: pb.FileNode) -> None:
    """A file of its own: a hard link shares mode and time."""
    shutil.copyfile(source, target)
    shutil.copystat(source, target)
    apply(target, node.node_properties)


def link_file(source: str, target: str) -> None:
    """A hard link, or a copy where there can be none."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        shutil.copyfile(source, target)
        shutil.copystat(source, target)


async def _remove(path: str) -> None:
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(remove_tree, path)
