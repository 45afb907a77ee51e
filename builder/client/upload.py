"""Bringing an action's messages and input files to where it is to be run."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path

import trio
from google.protobuf.message import DecodeError

from builder.base.digest import Digest, is_empty
from builder.base.errors import BuilderError, InvalidArgumentError, NotFoundError, StatusError
from builder.net.together import each
from builder.reapi.names import parse_read
from builder.reapi.pb import error_details_pb2, status_pb2
from builder.stores.interface import BlobStore

PIECE = 1024 * 1024


class Uploader:
    """Two targets that need the same blob upload it once.

    `present` is what this build has seen there, so that it is asked for once.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._present: set[Digest] = set()
        self._arriving: dict[Digest, trio.Event] = {}

    async def missing(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those that have to be sent."""
        unknown = [d for d in digests if not is_empty(d) and d not in self._present]
        missing = await self._blobs.find_missing(unknown) if unknown else []
        self._present.update(set(unknown).difference(missing))
        return missing

    async def send(
        self,
        digests: Iterable[Digest],
        messages: Mapping[Digest, bytes],
        files: Mapping[Digest, Path],
    ) -> None:
        """Raises BuilderError for a file that is not what it was when it was hashed."""

        async def send(digest: Digest) -> None:
            while (arrival := self._arriving.get(digest)) is not None:
                await arrival.wait()
            if digest in self._present:
                return
            self._arriving[digest] = trio.Event()
            try:
                await self._send(digest, messages, files)
                self._present.add(digest)
            finally:
                self._arriving.pop(digest).set()

        await each(send, digests)

    def forget(self, digests: Iterable[Digest]) -> None:
        """These are not there any more."""
        self._present.difference_update(digests)

    async def _send(
        self, digest: Digest, messages: Mapping[Digest, bytes], files: Mapping[Digest, Path]
    ) -> None:
        if digest in messages:
            await self._blobs.put(digest, messages[digest])
            return
        path = files.get(digest)
        if path is None:
            raise NotFoundError(f"blob {digest} is missing and no input of this action has it")
        try:
            async with aclosing(_pieces(path)) as pieces:
                await self._blobs.write(digest, pieces)
        except InvalidArgumentError as error:
            raise BuilderError(
                f"{path.name} changed while it was uploaded ({error}); build again"
            ) from error
        except FileNotFoundError:
            raise BuilderError(
                f"{path} cannot be read: No such file or directory; "
                "if another target makes it, build again with --download=all"
            ) from None
        except OSError as error:
            raise BuilderError(f"{path} cannot be read: {error.strerror}") from error


async def _pieces(path: Path) -> AsyncGenerator[bytes, None]:
    with path.open("rb") as file:
        while piece := await trio.to_thread.run_sync(file.read, PIECE):
            yield piece


def missing_of(error: StatusError) -> list[Digest]:
    """The blobs that a FAILED_PRECONDITION names as MISSING; empty if it has another cause.

    As clients of REAPI v2 do, every violation has to be of that type.
    """
    found: list[Digest] = []
    try:
        status = status_pb2.Status.FromString(error.details)
        for detail in status.details:
            failure = error_details_pb2.PreconditionFailure()
            if not detail.Unpack(failure):
                return []
            for violation in failure.violations:
                if violation.type != "MISSING":
                    return []
                found.append(parse_read(violation.subject).digest)
    except (DecodeError, InvalidArgumentError):
        return []
    return found
