"""GetTree: a directory and all directories below it, in pages.

The walk goes breadth first and visits each distinct directory once; its order depends on nothing
but the tree. So a page token is the number of directories that were sent before, and a later
call with it walks again and leaves those out. Subdirectories that are absent are left out
(REAPI v2, GetTree); an absent root is NOT_FOUND.
"""

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from google.protobuf.message import DecodeError

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError, NotFoundError
from builder.net.rpc import Call
from builder.reapi.digests import DEFAULT_FUNCTIONS, from_proto, function_of
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.instances import Instances
from builder.server.messages import only
from builder.stores.interface import BlobStore

PAGE = 1000  # directories, when the client leaves it to us
PAGE_BYTES = 1024 * 1024  # clients refuse messages above 4 MiB


class TreeReader:
    """The GetTree method."""

    def __init__(
        self,
        blobs: BlobStore,
        instances: Instances,
        functions: Sequence[str] = DEFAULT_FUNCTIONS,
    ) -> None:
        self._blobs = blobs
        self._instances = instances
        self._functions = functions

    async def get_tree(self, call: Call) -> None:
        request = await only(pb.GetTreeRequest, call)
        self._instances.check(request.instance_name)
        function = function_of(request.digest_function, request.root_digest.hash, self._functions)
        root = from_proto(request.root_digest, function)
        if request.page_size < 0:
            raise InvalidArgumentError(f"page_size is {request.page_size}; 0 or more is right")
        size = min(request.page_size or PAGE, PAGE)
        sent = skipped = _position(request.page_token)
        page = pb.GetTreeResponse()
        page_bytes = 0
        async with aclosing(self._walk(root)) as walk:
            async for directory, bytes_ in walk:
                if skipped:
                    skipped -= 1
                    continue
                if len(page.directories) >= size or (
                    page_bytes + bytes_ > PAGE_BYTES and page_bytes
                ):
                    page.next_page_token = str(sent)
                    await call.send(page.SerializeToString())
                    page = pb.GetTreeResponse()
                    page_bytes = 0
                page.directories.append(directory)
                page_bytes += bytes_
                sent += 1
        await call.send(page.SerializeToString())

    async def _walk(self, root: Digest) -> AsyncGenerator[tuple[pb.Directory, int], None]:
        """Each directory with the bytes that it takes."""
        seen = {root}
        waiting = deque([root])
        while waiting:
            digest = waiting.popleft()
            try:
                data = await self._blobs.get(digest)
            except NotFoundError:
                if digest == root:
                    raise
                continue
            directory = _directory(digest, data)
            for node in directory.directories:
                below = from_proto(node.digest, root.function)
                if below not in seen:
                    seen.add(below)
                    waiting.append(below)
            yield directory, len(data)


def _position(token: str) -> int:
    if not token:
        return 0
    if token.isascii() and token.isdigit() and len(token) <= 12:
        return int(token)
    raise InvalidArgumentError(f"page_token {token[:40]!r} was not given out by this service")


def _directory(digest: Digest, data: bytes) -> pb.Directory:
    try:
        return pb.Directory.FromString(data)
    except DecodeError:
        raise InvalidArgumentError(f"blob {digest} is no Directory message") from None
