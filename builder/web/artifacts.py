"""The HTTP cache protocol that Bazel, ccache and others speak.

    GET, HEAD, PUT    [/{prefix}]/cas/{hash}    a blob; PUT is verified
    GET, HEAD, PUT    [/{prefix}]/ac/{hash}     opaque bytes under any name of hex digits

What is under /ac/ is stored as it comes: to Bazel it is an ActionResult, to ccache an object file.
It is kept as a blob, and a record of that blob's digest under the name; so both share the room, and
an entry whose blob has gone is a miss, as a result is of whose outputs some have (`whole`). The
prefix is the name of an instance: what that stores elsewhere is stored there. Answers: 200, 204
(stored), 206 (a range), 400 (name or bytes are wrong), 404, 408 (the body does not go on), 411 (no
length of something large), 413, 416, 507 (no room).
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import trio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from builder.base.digest import EMPTY, Digest, digest_of
from builder.base.errors import (
    Code,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    StatusError,
)
from builder.stores.interface import PIECE, BlobStore
from builder.stores.records import Records
from builder.web.ranges import asked
from builder.web.whole import MOST_BYTES, is_whole

NAME = re.compile(r"[0-9a-f]{32,128}")
BLOB = re.compile(r"[0-9a-f]{64}")
RECORD = re.compile(rb"([0-9a-f]{64})/(\d{1,18})")
BODY_STALL_S = 60.0  # without any of a body, or with less than the least all in all
LEAST_BODY_RATE = 1024  # bytes per second
MOST_OPAQUE_BYTES = 64 * 1024 * 1024  # what is gathered in memory, as each entry of /ac/ is
HTTP_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.DEADLINE_EXCEEDED: 408,
    Code.RESOURCE_EXHAUSTED: 507,
    Code.UNAVAILABLE: 503,
}


class SizedStore(BlobStore, Protocol):
    """A store that can tell a blob's size from its hash: the protocol's names have none."""

    async def size_of(self, function: str, hash_: str) -> int | None:
        """The size in bytes of a stored blob; None if it is not here."""
        ...


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where an instance has its blobs, and the records of its opaque entries."""

    blobs: SizedStore
    records: Records


def _any(_instance: str, _blobs: Sequence[Digest]) -> None:
    return


def _any_entry(_instance: str, _name: Digest, _size_bytes: int) -> None:
    return


class Artifacts:
    """Handlers over the shelves of instances.

    `admit` may refuse what one uploads, and `admit_entry` an entry, by the hash of its name and
    the bytes of its record.
    """

    def __init__(
        self,
        shelf_of: Callable[[str], Shelf],
        admit: Callable[[str, Sequence[Digest]], None] = _any,
        admit_entry: Callable[[str, Digest, int], None] = _any_entry,
    ) -> None:
        self._shelf_of = shelf_of
        self._admit = admit
        self._admit_entry = admit_entry

    def app(self) -> Starlette:
        routes = [
            Route(f"{prefix}/{kind}/{{name}}", handler, methods=["GET", "HEAD", "PUT"])
            for prefix in ("", "/{prefix:path}")
            for kind, handler in (("cas", self.blob), ("ac", self.entry))
        ]
        return Starlette(routes=routes)

    async def blob(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not BLOB.fullmatch(name):
            return _refusal(400, f"{name[:140]!r} is no SHA-256 hash: 64 lower-case hex digits")
        try:
            if request.method == "PUT":
                return await self._put_blob(name, request)
            blobs = self._shelf(request).blobs
            return await _get(blobs, await _digest(blobs, name), request)
        except StatusError as error:
            return _status(error)

    async def entry(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not NAME.fullmatch(name):
            return _refusal(400, f"{name[:140]!r} is no key: 32 to 128 lower-case hex digits")
        space = f"http/{_instance(request)}"
        try:
            if request.method == "PUT":
                return await self._put_entry(space, name, request)
            shelf = self._shelf(request)
            record = RECORD.fullmatch(await shelf.records.get(space, name) or b"")
            if record is None:
                return _refusal(404, f"nothing is stored under {name}")
            digest = Digest(record[1].decode(), int(record[2]))
            small = digest.size_bytes <= MOST_BYTES
            if small and not await is_whole(shelf.blobs, await shelf.blobs.get(digest)):
                return _refusal(404, f"of what {name} needs not all is stored any more")
            return await _get(shelf.blobs, digest, request)
        except StatusError as error:
            return _status(error)

    def _shelf(self, request: Request) -> Shelf:
        return self._shelf_of(_instance(request))

    async def _put_blob(self, name: str, request: Request) -> Response:
        size, blobs = _length(request), self._shelf(request).blobs
        if size is None:
            return await self._put_gathered(name, request)
        digest = Digest(name, size)
        self._admit(_instance(request), [digest])
        if size <= PIECE:
            await blobs.put(digest, await _gathered(request, size))
        else:
            async with aclosing(_body(request)) as body:
                await blobs.write(digest, body)
        return Response(status_code=204)

    async def _put_gathered(self, name: str, request: Request) -> Response:
        """A blob is stored by its size too, which is known at the end then."""
        try:
            data = await _gathered(request, MOST_OPAQUE_BYTES)
        except InvalidArgumentError as error:
            return _refusal(411, f"{error.message}: send Content-Length")
        digest = Digest(name, len(data))
        self._admit(_instance(request), [digest])
        await self._shelf(request).blobs.put(digest, data)
        return Response(status_code=204)

    async def _put_entry(self, space: str, name: str, request: Request) -> Response:
        size = _length(request)
        if size is not None and size > MOST_OPAQUE_BYTES:
            return _refusal(413, f"an entry may have {MOST_OPAQUE_BYTES} bytes, this has {size}")
        data = await _gathered(request, MOST_OPAQUE_BYTES if size is None else size)
        digest = await trio.to_thread.run_sync(digest_of, data)
        shelf = self._shelf(request)
        self._admit(_instance(request), [digest])
        record = f"{digest.hash}/{digest.size_bytes}".encode()
        self._admit_entry(_instance(request), digest_of(name.encode(), "blake3"), len(record))
        await shelf.blobs.put(digest, data)
        await shelf.records.put(space, name, record)
        return Response(status_code=204)


def _instance(request: Request) -> str:
    prefix: str = request.path_params.get("prefix", "")
    return prefix


async def _get(blobs: SizedStore, digest: Digest, request: Request) -> Response:
    if await blobs.find_missing([digest]):
        raise NotFoundError(f"blob {digest} is not stored here")
    if request.method == "HEAD":
        part = asked({}, digest.size_bytes)
    else:
        part = asked(request.headers, digest.size_bytes)
    headers = {"content-type": "application/octet-stream", **part.headers}
    if request.method == "HEAD" or part.status == 416:
        return Response(status_code=part.status, headers=headers)
    if digest.size_bytes <= PIECE:
        data = (await blobs.get(digest))[part.start : part.stop]
        return Response(data, part.status, headers)
    pieces = blobs.read(digest, part.start, part.length)
    return StreamingResponse(_closing(pieces), part.status, headers)


async def _digest(blobs: SizedStore, hash_: str) -> Digest:
    if hash_ == EMPTY["sha256"].hash:
        return EMPTY["sha256"]
    size = await blobs.size_of("sha256", hash_)
    if size is None:
        raise NotFoundError(f"blob {hash_} is not stored here")
    return Digest(hash_, size)


def _length(request: Request) -> int | None:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


async def _gathered(request: Request, most: int) -> bytes:
    """The whole body. Raises InvalidArgumentError beyond `most` bytes."""
    data = bytearray()
    async with aclosing(_body(request)) as body:
        async for chunk in body:
            data += chunk
            if len(data) > most:
                raise InvalidArgumentError(f"the body has more than {most} bytes")
    return bytes(data)


async def _body(request: Request) -> AsyncGenerator[bytes, None]:
    """As it comes. What is counted is only the time in which we wait for the client."""
    left_s = BODY_STALL_S
    async with aclosing(request.stream()) as stream:
        while True:
            began = trio.current_time()
            try:
                with trio.fail_after(min(left_s, BODY_STALL_S)):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except ClientDisconnect:
                raise InvalidArgumentError("the client left before the end of the body") from None
            except trio.TooSlowError:
                raise DeadlineExceededError(
                    f"nothing of the body for {BODY_STALL_S:g} s, or it came too slowly: give "
                    f"{LEAST_BODY_RATE} bytes per second or more"
                ) from None
            waited_s = trio.current_time() - began
            left_s = max(0.0, left_s - waited_s + len(chunk) / LEAST_BODY_RATE)
            if chunk:
                yield chunk


async def _closing(pieces: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece


def _status(error: StatusError) -> Response:
    return _refusal(HTTP_STATUS.get(error.code, 500), error.message)


def _refusal(status: int, message: str) -> Response:
    return PlainTextResponse(message + "\n", status_code=status)
