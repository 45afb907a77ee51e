"""What an action has read and made, file by file: the entries of a directory, or a file's digest.

Inputs are found below the action's input root, outputs by the paths of its result; a path of
neither is NOT_FOUND, and so is one whose directory is no longer stored.
"""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from builder.base.digest import Digest, digest_of
from builder.base.errors import NotFoundError
from builder.reapi.digests import from_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.history import History
from builder.server.inspection import Reader, Readers
from builder.server.operation_messages import response_of
from builder.server.shelf import Record
from builder.stores.interface import BlobsOf


@dataclass(frozen=True, slots=True)
class Entry:
    """`digest` is a file's; `target` a link's. A directory has neither."""

    name: str
    digest: Digest | None = None
    target: str = ""
    is_directory: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A directory with its entries, or a file with its digest."""

    entries: tuple[Entry, ...] = ()
    file: Digest | None = None


class Contents:
    """Reads only; nothing is promised about how long what it names stays stored."""

    def __init__(self, history: History, blobs_of: BlobsOf) -> None:
        self._history = history
        self._readers = Readers(blobs_of)
        self._blobs_of = blobs_of

    async def inputs(self, id_: str, path: str) -> Found:
        """Raises NotFoundError, InvalidArgumentError."""
        record = self._history.find(id_)
        reader = self._readers.of(record)
        parts = await reader.parts(record)
        if parts.action is None:
            raise NotFoundError("the action is no longer stored")
        root = from_proto(parts.action.input_root_digest, parts.function)
        top = await _directory(reader, root)
        return await _below(reader, top, path.split("/"), root.function)

    async def outputs(self, id_: str, path: str) -> Found:
        """As `inputs`, of an action that has ended."""
        record = self._history.find(id_)
        result, function = _result(record), record.spec.key.function
        if not path:
            return Found(tuple(_made(result, function)))
        for file in result.output_files:
            if file.path == path:
                return Found(file=from_proto(file.digest, function))
        for made in result.output_directories:
            if path == made.path or path.startswith(f"{made.path}/") or not made.path:
                names = path[len(made.path) :].split("/")
                return await _made_below(self._readers.of(record), made, names, function)
        raise NotFoundError(f"the action has no output {path[:200]!r}")

    def read(self, id_: str, digest: Digest) -> AsyncGenerator[bytes, None]:
        """The whole of the action's file, in pieces. Raises NotFoundError."""
        return self._blobs_of(self._history.find(id_).key.instance).read(digest)


async def _made_below(
    reader: Reader, made: pb.OutputDirectory, names: list[str], function: str
) -> Found:
    """By the root directory where the result names it, by the Tree otherwise."""
    if made.HasField("root_directory_digest"):
        root = from_proto(made.root_directory_digest, function)
        return await _below(reader, await _directory(reader, root), names, function)
    tree = await reader.message(pb.Tree, from_proto(made.tree_digest, function))
    if tree is None:
        raise NotFoundError("the tree of this output is no longer stored")
    known = {digest_of(one.SerializeToString(), function): one for one in tree.children}
    return await _below(reader, tree.root, names, function, known)


async def _below(
    reader: Reader,
    directory: pb.Directory,
    names: Iterable[str],
    function: str,
    known: dict[Digest, pb.Directory] | None = None,
) -> Found:
    wanted = [name for name in names if name]
    for at, name in enumerate(wanted):
        last = at == len(wanted) - 1
        file = next((one for one in directory.files if one.name == name and last), None)
        if file is not None:
            return Found(file=from_proto(file.digest, function))
        node = next((one for one in directory.directories if one.name == name), None)
        if node is None:
            raise NotFoundError(f"there is no {'/'.join(wanted)[:200]!r}")
        digest = from_proto(node.digest, function)
        directory = (known or {}).get(digest) or await _directory(reader, digest)
    return Found(tuple(_entries(directory, function)))


async def _directory(reader: Reader, digest: Digest) -> pb.Directory:
    found = await reader.message(pb.Directory, digest)
    if found is None:
        raise NotFoundError(f"directory {digest} is no longer stored")
    return found


def _result(record: Record) -> pb.ActionResult:
    if record.ending is None:
        raise NotFoundError("the action has not ended: it has no outputs yet")
    try:
        return pb.ExecuteResponse.FromString(response_of(record.ending)).result
    except DecodeError:
        raise NotFoundError("the action's result is damaged") from None


def _entries(directory: pb.Directory, function: str) -> Iterable[Entry]:
    """Directories first, as people look for them."""
    for node in directory.directories:
        yield Entry(node.name, is_directory=True)
    for file in directory.files:
        yield Entry(file.name, from_proto(file.digest, function))
    for link in directory.symlinks:
        yield Entry(link.name, target=link.target)


def _made(result: pb.ActionResult, function: str) -> Iterable[Entry]:
    for made in result.output_directories:
        yield Entry(made.path, is_directory=True)
    for file in result.output_files:
        yield Entry(file.path, from_proto(file.digest, function))
    old = (*result.output_file_symlinks, *result.output_directory_symlinks)
    for link in (*result.output_symlinks, *old):
        yield Entry(link.path, target=link.target)
