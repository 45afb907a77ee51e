"""Images of a registry, by the distribution API: manifests, and blobs by their digests.

Mirrors are asked first and the registry itself last; whoever answers, what is taken has the digest
that was asked for. A download that breaks goes on where it broke.

Source: OCI distribution specification, "Pull".
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TypeVar

import trio

from builder.base.backoff import Backoff
from builder.base.errors import UnavailableError
from builder.images.documents import ACCEPTED, MOST_BYTES, Descriptor
from builder.images.endpoint import Endpoint, Registry
from builder.images.errors import ImageError
from builder.images.reference import Remote, is_digest
from builder.images.verify import Incoming, checked

TRIES = 5
BACKOFF = Backoff()

Result = TypeVar("Result")


def allowed_endpoints(
    reference: Remote, registries: Mapping[str, Registry]
) -> tuple[Registry, ...]:
    """The mirrors and then the registry. Raises ImageError for one that is not on the list."""
    registry = registries.get(reference.host)
    if registry is None:
        raise ImageError(
            f"{reference}: registry {reference.host} is not one of sandbox.images.registries, "
            f"which are {', '.join(registries) or 'none'}"
        )
    mirrors = [registries.get(host, Registry(host)) for host in registry.mirrors]
    return (*mirrors, registry)


class RegistrySource:
    """See `source.Source`; to be used as a context, for one image."""

    def __init__(self, reference: Remote, registries: tuple[Registry, ...]) -> None:
        self._what = reference.repository
        self._endpoints = [Endpoint(registry, reference.name) for registry in registries]
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "RegistrySource":
        for endpoint in self._endpoints:
            await self._stack.enter_async_context(endpoint)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def manifest(self, reference: str) -> bytes:
        async def ask(endpoint: Endpoint) -> bytes:
            data = await _document(endpoint, f"manifests/{reference}")
            return checked(data, reference, self._what) if is_digest(reference) else data

        return await self._first(ask)

    async def document(self, wanted: Descriptor) -> bytes:
        async def ask(endpoint: Endpoint) -> bytes:
            data = await _document(endpoint, f"blobs/{wanted.digest}")
            return checked(data, wanted.digest, self._what)

        return await self._first(ask)

    async def layer(self, wanted: Descriptor, target: str) -> str:
        with open(target, "xb") as file:  # noqa: ASYNC230 - written by the page, not to the disk
            incoming = Incoming(file, wanted, self._what)

            async def ask(endpoint: Endpoint) -> str:
                await _piece(endpoint, wanted.digest, incoming)
                if not incoming.complete and incoming.have < wanted.size:
                    raise UnavailableError(f"{self._what}: {wanted.digest} ended too early")
                incoming.check()
                return target

            return await self._first(ask, incoming.restart)

    async def _first(
        self,
        ask: Callable[[Endpoint], Awaitable[Result]],
        start_over: Callable[[], None] = lambda: None,
    ) -> Result:
        """What the first endpoint gives that has it. Raises the last one's error."""
        *mirrors, registry = self._endpoints
        for mirror in mirrors:
            try:
                return await _try(ask, mirror, 1)
            except (ImageError, UnavailableError):
                start_over()
        return await _try(ask, registry, TRIES)


async def _try(
    ask: Callable[[Endpoint], Awaitable[Result]], endpoint: Endpoint, tries: int
) -> Result:
    for failures in range(1, tries):
        try:
            return await ask(endpoint)
        except UnavailableError:
            await trio.sleep(BACKOFF.delay(failures, random.random))
    return await ask(endpoint)


async def _document(endpoint: Endpoint, path: str) -> bytes:
    data = bytearray()
    async with endpoint.get(path, {"accept": ", ".join(ACCEPTED)}) as answer:
        with trio.CancelScope() as enough:
            async for piece in answer.aiter_raw():
                data += piece
                if len(data) > MOST_BYTES:
                    enough.cancel()  # not by an exception here: httpx's generators would stay
    if len(data) > MOST_BYTES:
        host = endpoint.registry.host
        raise ImageError(f"registry {host}: {path} is over {MOST_BYTES} bytes")
    return bytes(data)


async def _piece(endpoint: Endpoint, digest: str, incoming: Incoming) -> None:
    """As much as one request brings, from where the last one ended."""
    headers = {"range": f"bytes={incoming.have}-"} if incoming.have else {}
    async with endpoint.get(f"blobs/{digest}", headers) as answer:
        starts = f"bytes {incoming.have}-"
        goes_on = answer.headers.get("content-range", "").startswith(starts)
        if incoming.have and not (answer.status_code == 206 and goes_on):
            incoming.restart()  # from the beginning, or from anywhere
            if answer.status_code != 200:
                raise UnavailableError(f"{digest}: the registry sends another part than asked for")
        with trio.CancelScope() as enough:
            async for piece in answer.aiter_raw():
                if not incoming.take(piece):
                    enough.cancel()
