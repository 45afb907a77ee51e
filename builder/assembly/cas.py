"""What `builder cas` does with blobs and trees of a running service; `upkeep` has the rest."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import trio
from google.protobuf.message import DecodeError

from builder.assembly.dial import client_access, open_channel
from builder.base.digest import Digest, checked, hasher
from builder.base.errors import BuilderError, InvalidArgumentError, NotFoundError, UsageError
from builder.config.settings import Settings
from builder.reapi.digests import from_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores.folder import remove
from builder.stores.interface import BlobStore
from builder.stores.remote import RemoteBlobStore

PIECE = 1024 * 1024
DEEPEST = 200  # directories below each other


def digest_from(text: str) -> Digest:
    """`HASH/SIZE` or `FUNCTION:HASH/SIZE`. Raises UsageError."""
    before, _, rest = text.rpartition(":")
    hash_, _, size = rest.partition("/")
    if not (size.isascii() and size.isdigit()):
        raise UsageError(f"{text!r} is no digest: write it as HASH/SIZE or FUNCTION:HASH/SIZE")
    try:
        return checked(hash_, int(size), before or "sha256")
    except InvalidArgumentError as error:
        raise UsageError(str(error)) from None


@asynccontextmanager
async def service_blobs(settings: Settings) -> AsyncIterator[BlobStore]:
    """The blobs of the configured coordinator."""
    client = settings.client
    async with open_channel(str(client.coordinator), client_access(client)) as channel:
        yield RemoteBlobStore(channel, client.instance)


async def pieces_of(blobs: BlobStore, digest: Digest) -> AsyncGenerator[bytes, None]:
    """The blob's bytes; the empty blob has none."""
    async with aclosing(blobs.read(digest)) as pieces:
        async for piece in pieces:
            yield piece


async def directory(blobs: BlobStore, digest: Digest) -> pb.Directory:
    """Raises BuilderError for a blob that is no directory."""
    try:
        return pb.Directory.FromString(await blobs.get(digest))
    except DecodeError:
        raise BuilderError(f"{digest} is no directory: give the digest of one") from None


async def within(blobs: BlobStore, root: Digest, path: str) -> Digest:
    """The digest of what lies at `path` of a directory. Raises NotFoundError."""
    found = root
    for name in (part for part in path.split("/") if part not in ("", ".")):
        here = await directory(blobs, found)
        digests = {node.name: node.digest for node in here.directories}
        digests.update((node.name, node.digest) for node in here.files)
        if name not in digests:
            raise NotFoundError(f"there is no {name!r} in directory {found}")
        found = from_proto(digests[name], root.function)
    return found


async def lines(
    blobs: BlobStore, root: Digest, deep: bool, prefix: str = "", level: int = 0
) -> AsyncGenerator[str, None]:
    """One line for each entry: kind, digest, path; with what is below it if `deep`."""
    here = await directory(blobs, root)
    for line in _entries(here, prefix):
        yield line
    for node in here.directories:
        digest = from_proto(node.digest, root.function)
        path = f"{prefix}{node.name}/"
        yield f"dir   {digest.hash}/{digest.size_bytes}  {path}"
        if deep and level < DEEPEST:
            async with aclosing(lines(blobs, digest, deep, path, level + 1)) as below:
                async for line in below:
                    yield line


async def closure(blobs: BlobStore, root: Digest) -> list[Digest]:
    """A directory and all that is below it, each once."""
    found: dict[Digest, None] = {root: None}
    waiting = [root]
    while waiting:
        here = await directory(blobs, waiting.pop())
        found.update((from_proto(node.digest, root.function), None) for node in here.files)
        below = [from_proto(node.digest, root.function) for node in here.directories]
        waiting += [digest for digest in dict.fromkeys(below) if digest not in found]
        found.update((digest, None) for digest in below)
    return list(found)


def _entries(here: pb.Directory, prefix: str) -> Iterator[str]:
    for file in here.files:
        kind = "exec" if file.is_executable else "file"
        yield f"{kind}  {file.digest.hash}/{file.digest.size_bytes}  {prefix}{file.name}"
    for link in here.symlinks:
        yield f"link  -> {link.target}  {prefix}{link.name}"


async def put(blobs: BlobStore, path: Path, function: str) -> Digest:
    """Upload a file; its digest. Raises BuilderError when it cannot be read."""
    try:
        size = os.stat(path).st_size
        state = hasher(function, size)
        async with aclosing(_file(path)) as pieces:
            async for piece in pieces:
                state.update(piece)
        digest = Digest(state.hexdigest(), size, function)
        async with aclosing(_file(path)) as pieces:
            await blobs.write(digest, pieces)
    except OSError as error:
        raise BuilderError(f"{path} cannot be read: {error.strerror}") from error
    return digest


async def _file(path: Path) -> AsyncGenerator[bytes, None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while piece := await trio.to_thread.run_sync(os.read, descriptor, PIECE):
            yield piece
    finally:
        os.close(descriptor)


async def copy(blobs: BlobStore, digest: Digest, out: BinaryIO) -> None:
    """Write a blob's bytes."""
    async with aclosing(pieces_of(blobs, digest)) as pieces:
        async for piece in pieces:
            await trio.to_thread.run_sync(out.write, piece)


async def copy_to(blobs: BlobStore, digest: Digest, path: Path) -> None:
    """Make a file of a blob; it appears whole or not at all. Raises BuilderError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with open(aside, "wb") as file:  # noqa: ASYNC230 -- a command with nothing beside it
                await copy(blobs, digest, file)
            os.replace(aside, path)
        finally:
            remove(str(aside))
    except OSError as error:
        raise BuilderError(f"{path} cannot be written: {error.strerror}") from error


async def each(found: AsyncGenerator[str, None], say: Callable[[str], object]) -> None:
    """Say every line as it comes."""
    async with aclosing(found):
        async for line in found:
            say(line)
