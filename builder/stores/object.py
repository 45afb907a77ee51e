"""Blobs and records in an object store: S3 and what speaks it, Google Cloud Storage, Azure.

One object for each blob, `cas/FUNCTION/HH/HASH`. What is uploaded becomes visible when all of it
has come and its hash is right, or not at all. Nothing is evicted from here; a life-cycle rule of
the bucket, if there is one, has to be longer than the lease.

The client is compiled and knows no trio, so each call takes a thread; its own timeouts end it.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import obstore
import trio
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from builder.base.digest import Digest, hasher, is_empty
from builder.base.errors import (
    InvalidArgumentError,
    UnavailableError,
    UsageError,
)
from builder.base.units import format_size
from builder.stores.copying import joined
from builder.stores.failure import TooLargeError
from builder.stores.interface import PIECE
from builder.stores.memory import absent, check_bytes, check_range
from builder.stores.sealing import sealed, unsealed

SCHEMES = ("s3://", "gs://", "az://")
THREADS = 64
RANGE = 8 * 1024 * 1024  # bytes of one request for a part of a blob
SMALL = 8 * 1024 * 1024  # bytes: one request writes it

T = TypeVar("T")


def opened(url: str, options: Mapping[str, str], timeout_s: float, retries: int = 2) -> ObjectStore:
    """`s3://bucket/prefix`, `gs://...`, `az://...`; `options` are those of that kind of store.

    Credentials that are not among the options come from the environment or the machine. Raises
    UsageError.
    """
    if not url.startswith(SCHEMES):
        raise UsageError(f"{url}: an object store is one of {', '.join(SCHEMES)}")
    client: Any = {"timeout": f"{timeout_s}s", "connect_timeout": "5s"}
    server = options.get("endpoint") or options.get("base_url") or ""  # the latter is of GCS
    client["allow_http"] = server.startswith("http://")
    retry: Any = {"max_retries": retries}
    try:
        store: Any = from_url(
            url, client_options=client, retry_config=retry, **dict[str, Any](options)
        )
    except (BaseError, ValueError, TypeError) as error:
        raise UsageError(f"{url}: {str(error).partition(chr(10))[0]}") from None
    return store  # type: ignore[no-any-return]  # one of several classes, with one interface


class _Threads:
    """Calls of an object store; absence is None, all other failures are UNAVAILABLE."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._limiter = trio.CapacityLimiter(THREADS)

    async def ask(self, call: Callable[[], T]) -> T | None:
        with _converted():
            try:
                return await trio.to_thread.run_sync(
                    call, limiter=self._limiter, abandon_on_cancel=True
                )
            except FileNotFoundError:
                return None

    async def tell(self, call: Callable[[], object]) -> None:
        with _converted():
            await trio.to_thread.run_sync(call, limiter=self._limiter)

    async def size(self, path: str) -> int | None:
        head = await self.ask(lambda: obstore.head(self.store, path))
        return None if head is None else head["size"]

    async def get(self, path: str) -> bytes | None:
        return await self.ask(lambda: bytes(obstore.get(self.store, path).bytes()))

    async def put(self, path: str, data: bytes) -> None:
        await self.tell(lambda: obstore.put(self.store, path, data, use_multipart=False))


@contextmanager
def _converted() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        line = str(error).partition("\n")[0]
        raise UnavailableError(f"object store: {line[:300]}") from error


class ObjectBlobs:
    """Blobs of at most `largest` bytes."""

    def __init__(self, store: ObjectStore, largest: int) -> None:
        self._threads = _Threads(store)
        self._largest = largest

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        asked = [digest for digest in dict.fromkeys(digests) if not is_empty(digest)]
        missing: set[Digest] = set()

        async def ask(digest: Digest) -> None:
            if await self._threads.size(_path(digest)) != digest.size_bytes:
                missing.add(digest)

        await _each(asked, ask)
        return [digest for digest in asked if digest in missing]

    async def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        check_range(digest, offset)
        if is_empty(digest):
            return
        path, end = _path(digest), digest.size_bytes
        if limit is not None:
            end = min(end, offset + limit)
        if offset >= end:
            return
        if await self._threads.size(path) != digest.size_bytes:
            raise absent(digest)
        for start in range(offset, end, RANGE):
            part = await self._range(path, start, min(RANGE, end - start))
            if part is None:
                raise absent(digest)
            for at in range(0, len(part), PIECE):
                yield bytes(part[at : at + PIECE])

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        self._check_size(digest)
        if digest.size_bytes <= SMALL:
            await self.put(digest, await joined(chunks, digest))
            return
        source = aiter(chunks)

        async def next_chunk() -> bytes | None:
            return await anext(source, None)

        def verified() -> Iterator[bytes]:
            """Chunks for the thread that uploads; what it raises ends the upload unseen."""
            state, size = hasher(digest.function, digest.size_bytes), 0
            while (chunk := trio.from_thread.run(next_chunk)) is not None:
                size += len(chunk)
                state.update(chunk)
                yield chunk
            if size != digest.size_bytes or state.hexdigest() != digest.hash:
                raise InvalidArgumentError(f"the bytes are not those of {digest}")

        store, path = self._threads.store, _path(digest)
        await self._threads.tell(lambda: obstore.put(store, path, verified(), use_multipart=True))

    async def get(self, digest: Digest) -> bytes:
        if is_empty(digest):
            return b""
        data = await self._threads.get(_path(digest))
        if data is None or len(data) != digest.size_bytes:
            raise absent(digest)
        return data

    async def put(self, digest: Digest, data: bytes) -> None:
        self._check_size(digest)
        check_bytes(digest, data)
        if not is_empty(digest):
            await self._threads.put(_path(digest), data)

    async def size_of(self, function: str, hash_: str) -> int | None:
        """The size in bytes of a stored blob; None if it is not here."""
        return await self._threads.size(_named(function, hash_))

    def _check_size(self, digest: Digest) -> None:
        if digest.size_bytes > self._largest:
            raise TooLargeError(
                f"a blob of {format_size(digest.size_bytes)} is larger than the whole store takes "
                f"of one: {format_size(self._largest)}"
            )

    async def _range(self, path: str, start: int, length: int) -> memoryview | None:
        store = self._threads.store
        return await self._threads.ask(
            lambda: memoryview(obstore.get_range(store, path, start=start, length=length))
        )


class ObjectRecords:
    """Records `records/SPACE/HASH`, each with a check of its bytes."""

    def __init__(self, store: ObjectStore) -> None:
        self._threads = _Threads(store)

    async def get(self, space: str, hash_: str) -> bytes | None:
        path = _record(space, hash_)
        stored = await self._threads.get(path)
        return None if stored is None else unsealed(stored, path)

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        path = _record(space, hash_)
        await self._threads.put(path, sealed(data, path))


def _record(space: str, hash_: str) -> str:
    return f"records/{quote(space, safe='')}/{hash_}"


def _path(digest: Digest) -> str:
    return _named(digest.function, digest.hash)


def _named(function: str, hash_: str) -> str:
    return f"cas/{function}/{hash_[:2]}/{hash_}"


async def _each(digests: Iterable[Digest], ask: Callable[[Digest], Any]) -> None:
    """All at once; the first failure is raised as it is."""
    failed: list[UnavailableError] = []

    async def one(digest: Digest) -> None:
        try:
            await ask(digest)
        except UnavailableError as error:
            failed.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for digest in digests:
            nursery.start_soon(one, digest)
    if failed:
        raise failed[0]
