"""Input trees as messages: fetched level by level, checked, looked into. No file is touched here.

Source: REAPI v2 `Directory`: names are single path segments, unique across files, directories
and symlinks. One directory may stand in many places, so a tree of few messages can name more
entries than a disk holds: the entries are counted before anything is made.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from google.protobuf.message import DecodeError

from builder.base.digest import Digest, digest_of, is_empty
from builder.base.errors import DataLossError, InvalidArgumentError, NotFoundError
from builder.net.together import each
from builder.reapi.digests import from_proto, path_of
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores.interface import BlobStore

MOST_ENTRIES = 2_000_000
MOST_LEVELS = 200
NAME_BYTES = 255  # NAME_MAX of Linux


class Found(Enum):
    """What stands at a path of an input tree."""

    NOTHING = "nothing"
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class InputTree:
    """A checked tree: the root's digest and every directory beneath it by digest."""

    root: Digest
    directories: dict[Digest, pb.Directory]

    def below(self, directory: pb.Directory) -> dict[str, Digest]:
        """Its directories by name."""
        function = self.root.function
        return {node.name: from_proto(node.digest, function) for node in directory.directories}

    def files(self) -> dict[tuple[Digest, bool], None]:
        """Every file once, with whether it is executable, in a settled order."""
        function = self.root.function
        return {
            (from_proto(node.digest, function), node.is_executable): None
            for directory in self.directories.values()
            for node in directory.files
        }

    def look(self, path: str) -> Found:
        """What stands at the path, or what stands in the way to it; `path` has no `..`."""
        here = self.directories[self.root]
        for part in path.split("/") if path else ():
            if (below := self.below(here).get(part)) is not None:
                here = self.directories[below]
            elif any(node.name == part for node in here.symlinks):
                return Found.SYMLINK
            elif any(node.name == part for node in here.files):
                return Found.FILE
            else:
                return Found.NOTHING
        return Found.DIRECTORY

    def names(self, path: str) -> set[str]:
        """What stands in the directory at the path; nothing where there is none."""
        here = self.directories[self.root]
        for part in path.split("/") if path else ():
            if (below := self.below(here).get(part)) is None:
                return set()
            here = self.directories[below]
        return {
            *(node.name for node in here.files),
            *(node.name for node in here.directories),
            *(node.name for node in here.symlinks),
        }


class TreeLoader:
    """Fetches trees, and remembers checked directories, at most `memory_bytes` of them."""

    def __init__(self, memory_bytes: int = 32 * 1024 * 1024) -> None:
        self._memory_bytes = memory_bytes
        self._known: OrderedDict[Digest, pb.Directory] = OrderedDict()
        self._bytes = 0

    async def load(self, blobs: BlobStore, root: Digest) -> tuple[InputTree, list[Digest]]:
        """The tree, and the directories that are missing (then the tree is not whole).

        Raises InvalidArgumentError for a malformed directory or one that names too much.
        """
        tree = InputTree(root, {})
        missing: list[Digest] = []
        level = [root]
        for _ in range(MOST_LEVELS):
            missing += await self._fetch(blobs, level, tree.directories)
            here = [tree.directories[digest] for digest in level if digest in tree.directories]
            below = (digest for directory in here for digest in tree.below(directory).values())
            level = [digest for digest in dict.fromkeys(below) if digest not in tree.directories]
            if not level:
                break
        else:
            raise InvalidArgumentError(f"the input root has more than {MOST_LEVELS} levels")
        if not missing:
            _count(tree)
        return tree, missing

    async def _fetch(
        self, blobs: BlobStore, level: Iterable[Digest], found: dict[Digest, pb.Directory]
    ) -> list[Digest]:
        wanted = []
        for digest in level:
            if (known := self._known.get(digest)) is not None:
                self._known.move_to_end(digest)
                found[digest] = known
            elif is_empty(digest):
                found[digest] = pb.Directory()
            else:
                wanted.append(digest)

        async def fetch(digest: Digest) -> None:
            try:
                data = await blobs.get(digest)
            except NotFoundError:
                return
            found[digest] = self._remember(digest, data)

        await each(fetch, wanted)
        return [digest for digest in wanted if digest not in found]

    def _remember(self, digest: Digest, data: bytes) -> pb.Directory:
        if digest_of(data, digest.function) != digest:
            raise DataLossError(f"the storage gave other bytes than {digest} names")
        directory = parse_directory(digest, data)
        if digest not in self._known:
            self._known[digest] = directory
            self._bytes += digest.size_bytes
        while self._bytes > self._memory_bytes:
            old, _ = self._known.popitem(last=False)
            self._bytes -= old.size_bytes
        return directory


def parse_directory(digest: Digest, data: bytes) -> pb.Directory:
    """A checked directory. Raises InvalidArgumentError that names the directory and the entry."""
    where = f"input directory {path_of(digest)}"
    try:
        directory = pb.Directory.FromString(data)
    except DecodeError:
        raise InvalidArgumentError(f"{where} is not a Directory message") from None
    names = [node.name for node in directory.files]
    names += [node.name for node in directory.directories]
    names += [link.name for link in directory.symlinks]
    for name in names:
        _check_name(name, where)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidArgumentError(f"{where} has two entries named {twice!r}")
    digests = [node.digest for node in directory.files]
    digests += [node.digest for node in directory.directories]
    for named in digests:
        from_proto(named, digest.function)  # raises with what is wrong
    for link in directory.symlinks:
        _check_link(link, where)
    return directory


def _check_name(name: str, where: str) -> None:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise InvalidArgumentError(f"{where}: {name!r} is not a name of one path segment")
    if len(name.encode()) > NAME_BYTES:
        raise InvalidArgumentError(f"{where}: the name {name[:40]!r}... is over {NAME_BYTES} bytes")


def _check_link(link: pb.SymlinkNode, where: str) -> None:
    if not link.target or "\0" in link.target:
        raise InvalidArgumentError(f"{where}: symlink {link.name!r} has no target")


def absolute_link(tree: InputTree) -> str:
    """What to say of a tree that has a link to an absolute path, where these are not served."""
    for digest, directory in tree.directories.items():
        for link in directory.symlinks:
            if link.target.startswith("/"):
                return (
                    f"input directory {path_of(digest)}: symlink {link.name!r} leads to the "
                    f"absolute path {link.target!r}; this server takes none "
                    "(reapi.absolute_symlinks)"
                )
    return ""


def _count(tree: InputTree) -> None:
    """Raises InvalidArgumentError when the tree, unfolded, has more than MOST_ENTRIES entries."""
    counts: dict[Digest, int] = {}
    stack = [tree.root]
    while stack:
        digest = stack[-1]
        directory = tree.directories[digest]
        below = list(tree.below(directory).values())
        if todo := [child for child in below if child not in counts]:
            stack += todo
            continue
        stack.pop()
        here = len(directory.files) + len(directory.symlinks) + len(below)
        counts[digest] = here + sum(counts[child] for child in below)
        if counts[digest] > MOST_ENTRIES:
            raise InvalidArgumentError(f"the input root has more than {MOST_ENTRIES} entries")
