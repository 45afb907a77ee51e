"""What an action made, as REAPI tells it: files, directories as Tree or Directory, symlinks.

Source: REAPI v2 `Command.output_paths` (and the fields of 2.0 before it), `ActionResult`,
`OutputDirectory`, `Tree`. A declared output that is not there is left out, which is no error. A
FIFO, socket or device is refused, and so is a directory where a file was declared (in the fields
of 2.0) and the other way round, and a symlink to an absolute path where the server announces that
it takes none: FAILED_PRECONDITION, as the API's text has it.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from builder.base.digest import Digest, digest_of, hasher
from builder.base.errors import FailedPreconditionError
from builder.base.units import format_size
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.worker.beneath import kind_of_target, open_directory, open_regular, parent_of
from builder.worker.command import Kind, Output, Plan
from builder.worker.properties import told

PIECE_BYTES = 1024 * 1024
KEEP_BYTES = 1024 * 1024  # a file up to this size is kept in memory between hashing and upload
KEEP_IN_ALL_BYTES = 64 * 1024 * 1024
MOST_LEVELS = 200
SPECIAL = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What outputs may be: so many bytes together, and links to absolute paths or none."""

    most_bytes: int
    absolute_links: bool = True


@dataclass(slots=True)
class Collected:
    """The outputs, and where the bytes of each blob are: in memory, or at a path of the tree."""

    result: pb.ActionResult = field(default_factory=pb.ActionResult)
    blobs: dict[Digest, bytes | str] = field(default_factory=dict)


def collect(root: int, plan: Plan, function: str, bounds: Bounds) -> Collected:
    """Look at every declared output beneath the directory descriptor `root`.

    Blocking: call it in a thread. Raises FailedPreconditionError that names the output.
    """
    collector = _Collector(root, plan, function, bounds)
    for output in plan.outputs:
        collector.take(output)
    return collector.collected


def pieces(root: int, path: str) -> Iterator[bytes]:
    """The bytes of a collected file that was too large to keep. Blocking."""
    with parent_of(root, path) as place:
        if place is None:
            raise FileNotFoundError(path)
        descriptor = open_regular(place[1], place[0])
    try:
        while piece := os.read(descriptor, PIECE_BYTES):
            yield piece
    finally:
        os.close(descriptor)


class _Collector:
    def __init__(self, root: int, plan: Plan, function: str, bounds: Bounds) -> None:
        self.collected = Collected()
        self._root = root
        self._plan = plan
        self._wanted = plan.node_properties
        self._function = function
        self._bytes_left = bounds.most_bytes
        self._bounds = bounds
        self._keep_left = KEEP_IN_ALL_BYTES

    def take(self, output: Output) -> None:
        if not output.path:
            self._directory(output, os.dup(self._root))
            return
        with parent_of(self._root, output.path) as place:
            if place is None:
                return
            parent, name = place
            try:
                status = os.lstat(name, dir_fd=parent)
            except (FileNotFoundError, NotADirectoryError):
                return
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFLNK:
                self._symlink(output, os.readlink(name, dir_fd=parent), told(status, self._wanted))
            elif kind == stat.S_IFREG:
                self._file(output, parent, name)
            elif kind == stat.S_IFDIR:
                self._directory(output, open_directory(name, parent))
            else:
                raise _refused(output.name, kind)

    def _file(self, output: Output, parent: int, name: str) -> None:
        if output.kind is Kind.DIRECTORY:
            raise FailedPreconditionError(f"output directory {output.name!r} is a file")
        digest, executable = self._read(output.path, parent, name)
        self.collected.result.output_files.add(
            path=output.name,
            digest=to_proto(digest),
            is_executable=executable,
            node_properties=self._properties(name, parent),
        )

    def _symlink(self, output: Output, target: str, properties: pb.NodeProperties | None) -> None:
        result = self.collected.result
        link = pb.OutputSymlink(
            path=output.name, target=self._target(target, output.name), node_properties=properties
        )
        result.output_symlinks.append(link)
        ends_at = kind_of_target(self._root, output.path)
        is_directory = ends_at == stat.S_IFDIR
        if ends_at is None:
            is_directory = output.kind is Kind.DIRECTORY
        # for clients of API 2.0, which know only these two
        old = result.output_directory_symlinks if is_directory else result.output_file_symlinks
        old.append(link)

    def _directory(self, output: Output, descriptor: int) -> None:
        if output.kind is Kind.FILE:
            os.close(descriptor)
            raise FailedPreconditionError(f"output file {output.name!r} is a directory")
        below: dict[Digest, pb.Directory] = {}
        root = self._tree(output.path, descriptor, below, 0)
        made = self.collected.result.output_directories.add(path=output.name)
        if self._plan.wants_tree:
            made.tree_digest.CopyFrom(to_proto(self._tree_blob(root, below)))
            made.is_topologically_sorted = True
        if self._plan.wants_directory:
            for digest, directory in below.items():
                self.collected.blobs[digest] = directory.SerializeToString()
            made.root_directory_digest.CopyFrom(to_proto(root))

    def _tree_blob(self, root: Digest, below: dict[Digest, pb.Directory]) -> Digest:
        """`below` is in the order in which directories were done, children first: reversed it is
        topological, because each stands after everything beneath it the first time."""
        children = [directory for digest, directory in reversed(below.items()) if digest != root]
        tree = pb.Tree(root=below[root], children=children)
        data = tree.SerializeToString(deterministic=True)
        digest = digest_of(data, self._function)
        self.collected.blobs[digest] = data
        return digest

    def _tree(
        self, path: str, descriptor: int, below: dict[Digest, pb.Directory], level: int
    ) -> Digest:
        directory = pb.Directory(node_properties=told(os.fstat(descriptor), self._wanted))
        try:
            if level > MOST_LEVELS:
                raise FailedPreconditionError(
                    f"output {path[:200]!r}... has more than {MOST_LEVELS} levels"
                )
            for name in sorted(os.listdir(descriptor), key=os.fsencode):
                self._entry(directory, path, descriptor, name, below, level)
        finally:
            os.close(descriptor)
        digest = digest_of(directory.SerializeToString(deterministic=True), self._function)
        below.setdefault(digest, directory)
        return digest

    def _entry(
        self,
        directory: pb.Directory,
        path: str,
        parent: int,
        name: str,
        below: dict[Digest, pb.Directory],
        level: int,
    ) -> None:
        here = f"{path}/{name}" if path else name
        kind = stat.S_IFMT(os.lstat(name, dir_fd=parent).st_mode)
        _text(name, here)
        if kind == stat.S_IFREG:
            digest, executable = self._read(here, parent, name)
            directory.files.add(
                name=name,
                digest=to_proto(digest),
                is_executable=executable,
                node_properties=self._properties(name, parent),
            )
        elif kind == stat.S_IFDIR:
            child = self._tree(here, open_directory(name, parent), below, level + 1)
            directory.directories.add(name=name, digest=to_proto(child))
        elif kind == stat.S_IFLNK:
            target = self._target(os.readlink(name, dir_fd=parent), here)
            properties = self._properties(name, parent)
            directory.symlinks.add(name=name, target=target, node_properties=properties)
        else:
            raise _refused(here, kind)

    def _target(self, target: str, where: str) -> str:
        """Where a link leads; "If an action tries to create an output symlink with an absolute
        target, a FAILED_PRECONDITION will be returned" (REAPI, SymlinkAbsolutePathStrategy)."""
        if target.startswith("/") and not self._bounds.absolute_links:
            raise FailedPreconditionError(
                f"output {where!r} is a symlink to the absolute path {_text(target, where)!r}; "
                "this server takes none (reapi.absolute_symlinks)"
            )
        return _text(target, where)

    def _properties(self, name: str, parent: int) -> pb.NodeProperties | None:
        if not self._wanted:
            return None
        return told(os.lstat(name, dir_fd=parent), self._wanted)

    def _read(self, path: str, parent: int, name: str) -> tuple[Digest, bool]:
        """The file's digest and whether it is executable; its bytes are kept if it is small."""
        descriptor = open_regular(name, parent)
        try:
            status = os.fstat(descriptor)
            self._bytes_left -= status.st_size
            if self._bytes_left < 0:
                raise FailedPreconditionError(
                    f"the outputs are over {format_size(self._bounds.most_bytes)}, at {path!r}"
                )
            keep = status.st_size <= min(KEEP_BYTES, self._keep_left)
            digest, data = self._hash(descriptor, status.st_size, keep)
        finally:
            os.close(descriptor)
        if keep and digest not in self.collected.blobs:
            self._keep_left -= digest.size_bytes
        self.collected.blobs.setdefault(digest, data if keep else path)
        return digest, bool(status.st_mode & 0o111)

    def _hash(self, descriptor: int, size_bytes: int, keep: bool) -> tuple[Digest, bytes]:
        state = hasher(self._function, size_bytes)
        kept = b""
        left = size_bytes
        while left and (piece := os.read(descriptor, min(left, PIECE_BYTES))):
            state.update(piece)
            left -= len(piece)
            if keep:
                kept = kept + piece if kept else piece
        return Digest(state.hexdigest(), size_bytes - left, self._function), kept


def _text(name: str, where: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise FailedPreconditionError(
            f"output {where.encode(errors='replace').decode()!r}: the name or link target "
            f"{os.fsencode(name)!r} is not UTF-8, and the API has no way to tell it"
        ) from None
    return name


def _refused(name: str, kind: int) -> FailedPreconditionError:
    what = SPECIAL.get(kind, "of an unknown kind")
    return FailedPreconditionError(
        f"output {name!r} is {what}: only files, directories and symlinks can be outputs"
    )
