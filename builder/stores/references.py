"""Every blob that an action result needs, trees' contents included."""

from collections.abc import Iterable, Iterator

from google.protobuf.message import DecodeError

from builder.base.digest import Digest, is_empty
from builder.base.errors import InvalidArgumentError, NotFoundError
from builder.reapi.digests import from_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores.interface import BlobStore


class References:
    """The walk over one result: `needed` is each blob once, `absent` what could not be walked."""

    def __init__(self, blobs: BlobStore, function: str) -> None:
        self._blobs = blobs
        self._function = function
        self._needed: dict[Digest, None] = {}
        self.absent: list[Digest] = []

    @property
    def needed(self) -> list[Digest]:
        return [digest for digest in self._needed if not is_empty(digest)]

    async def walk(self, result: pb.ActionResult) -> None:
        """Raises InvalidArgumentError for a malformed digest, tree or directory."""
        for message in _direct(result):
            self._add(message)
        for output in result.output_directories:
            if output.HasField("tree_digest"):
                await self._tree(self._add(output.tree_digest))
            if output.HasField("root_directory_digest"):
                await self._closure(self._add(output.root_directory_digest))

    async def _tree(self, digest: Digest) -> None:
        tree = pb.Tree()
        if await self._parse(digest, tree):
            self._add_files(tree.root.files)
            for directory in tree.children:
                self._add_files(directory.files)

    async def _closure(self, root: Digest) -> None:
        waiting = [root]
        while waiting:
            directory = pb.Directory()
            if await self._parse(waiting.pop(), directory):
                self._add_files(directory.files)
                for node in directory.directories:
                    digest = from_proto(node.digest, self._function)
                    if digest not in self._needed:
                        waiting.append(self._add(node.digest))

    async def _parse(self, digest: Digest, message: pb.Tree | pb.Directory) -> bool:
        try:
            message.ParseFromString(await self._blobs.get(digest))
        except NotFoundError:
            self.absent.append(digest)
            return False
        except DecodeError:
            raise InvalidArgumentError(
                f"blob {digest} is no {type(message).__name__} message, though a result says so"
            ) from None
        return True

    def _add(self, message: pb.Digest) -> Digest:
        digest = from_proto(message, self._function)
        self._needed[digest] = None
        return digest

    def _add_files(self, files: Iterable[pb.FileNode]) -> None:
        for file in files:
            self._add(file.digest)


def direct(result: pb.ActionResult, function: str) -> list[Digest]:
    """What a result without directories needs, each once. Raises InvalidArgumentError."""
    every = dict.fromkeys(from_proto(message, function) for message in _direct(result))
    return [digest for digest in every if not is_empty(digest)]


def _direct(result: pb.ActionResult) -> Iterator[pb.Digest]:
    for file in result.output_files:
        yield file.digest
    if result.HasField("stdout_digest"):
        yield result.stdout_digest
    if result.HasField("stderr_digest"):
        yield result.stderr_digest
