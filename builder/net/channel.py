"""A client's way to one server.

    async with Channel("127.0.0.1:9000") as channel:
        answer = await channel.unary("/package.Service/Method", request, timeout_s=5)

It connects when the first call comes and again after a loss, opens more connections when the
server takes no more calls on one, and tries a call again when the server says that it did not
process it (RFC 9113, 8.7; see `retrying` for streams). After a failed attempt the next one waits
for the back-off.
"""

import logging
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType

import trio

from builder.base.backoff import Backoff
from builder.base.errors import DeadlineExceededError, InvalidArgumentError, UnavailableError
from builder.base.version import VERSION
from builder.net.calling import ClientLink
from builder.net.client_calls import StreamCall
from builder.net.dialing import Target, dial
from builder.net.retrying import MAX_TRIES, RetriedCall, pause
from builder.net.rpc import Buffer, Metadata
from builder.wire.client import ClientConnection
from builder.wire.limits import Limits

log = logging.getLogger("builder.net")

CONNECT_S = 20.0
CLIENT_LIMITS = Limits(
    max_message=64 * 1024 * 1024,
    stream_window=4 * 1024 * 1024,
    connection_window=32 * 1024 * 1024,
    max_resets=1_000_000,
    max_control=1_000_000,
    max_tiny_data=1_000_000_000,
)


class Channel:
    """Calls to one server over as many connections as it takes (`rpc.Channel`).

    `token` goes with every call, as `authorization: Bearer`.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
        token: str = "",
        limits: Limits = CLIENT_LIMITS,
        keepalive_s: float = 30.0,
        max_connections: int = 8,
        backoff: Backoff | None = None,
    ) -> None:
        self._target = Target(address, tls, server_name)
        self._credentials = {"authorization": f"Bearer {token}"} if token else {}
        self._limits = limits
        self._keepalive_s = keepalive_s
        self._max_connections = max_connections
        self._backoff = backoff or Backoff()
        self._links: list[ClientLink] = []
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        self._dialing = trio.Lock()
        self._room = trio.lowlevel.ParkingLot()
        self._failures = 0
        self._not_before = 0.0
        self._attempt = 0
        self._error: str | None = None

    async def __aenter__(self) -> "Channel":
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._nursery is not None
        assert self._manager is not None
        self._nursery.cancel_scope.cancel()
        # The block's own exception passes as it is, not in a group.
        await self._manager.__aexit__(None, None, None)

    # ---- calls

    async def unary(
        self,
        path: str,
        request: Buffer,
        *,
        metadata: Metadata | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """One request, one response. Raises a StatusError; DeadlineExceededError after the time."""
        with trio.CancelScope(deadline=_deadline(timeout_s)) as scope:
            for repetition in range(MAX_TRIES):
                await pause(repetition)
                call = await self._start(path, metadata, scope.deadline)
                try:
                    return await self._exchange(call, request)
                except UnavailableError:
                    if not call.unprocessed or repetition == MAX_TRIES - 1:
                        raise
                finally:
                    self._end(call)
        raise DeadlineExceededError(f"{path} took longer than {timeout_s:g} s")

    async def _exchange(self, call: StreamCall, request: Buffer) -> bytes:
        await call.send_only(request)
        return await call.single()

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        metadata: Metadata | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[RetriedCall]:
        """A call in either or both directions; leaving the block early cancels it."""
        with trio.CancelScope(deadline=_deadline(timeout_s)) as scope:
            start = partial(self._start, path, metadata, scope.deadline)
            call = RetriedCall(await start(), start)
            try:
                yield call
            finally:
                self._end(call)
        if scope.cancelled_caught:
            raise DeadlineExceededError(f"{path} took longer than {timeout_s:g} s")

    def _end(self, call: StreamCall | RetriedCall) -> None:
        call.cancel()
        self._room.unpark_all()

    async def _start(self, path: str, metadata: Metadata | None, deadline: float) -> StreamCall:
        if self._credentials:
            metadata = {**self._credentials, **(metadata or {})}
        link = await self._link()
        left = None if deadline == float("inf") else deadline - trio.current_time()
        try:
            return link.start(path, metadata, left)
        except ValueError as error:
            raise InvalidArgumentError(str(error)) from None

    # ---- connections

    async def _link(self) -> ClientLink:
        """A connection that takes one more call; dials when there is none."""
        while True:
            if (link := self._free()) is not None:
                return link
            if len(self._links) >= self._max_connections:
                await self._room.park()
                continue
            attempt = self._attempt
            async with self._dialing:
                if self._attempt != attempt and self._error is not None:
                    raise UnavailableError(self._error)  # what we waited for has failed
                if self._free() is None and len(self._links) < self._max_connections:
                    await self._dial()

    def _free(self) -> ClientLink | None:
        for link in self._links:
            if link.room > 0:
                return link
        return None

    async def _dial(self) -> None:
        if self._nursery is None:
            raise RuntimeError("use a Channel inside `async with Channel(...) as channel:`")
        await trio.sleep_until(self._not_before)
        self._attempt += 1
        self._error = None
        try:
            with trio.move_on_after(CONNECT_S) as scope:
                await self._connect(self._nursery)
            if scope.cancelled_caught:
                raise UnavailableError(
                    f"{self._target.address} did not answer within {CONNECT_S:g} s"
                )
        except UnavailableError as error:
            self._error = error.message
            self._failures += 1
            delay = self._backoff.delay(self._failures, random.random)
            self._not_before = trio.current_time() + delay
            raise
        self._failures = 0

    async def _connect(self, nursery: trio.Nursery) -> None:
        transport = await dial(self._target)
        wire = ClientConnection(
            self._limits,
            self._target.authority,
            "http" if self._target.tls is None else "https",
            f"builder/{VERSION}",
        )
        link = ClientLink(wire, self._target.address, self._keepalive_s)

        async def run() -> None:
            try:
                await link.run(transport, self._room)
            except Exception:
                log.exception("the connection to %s failed by our fault", self._target.address)
            finally:
                transport.close()
                if link in self._links:
                    self._links.remove(link)

        nursery.start_soon(run)
        await link.ready.wait()
        if link.closed:
            why = transport.why or "is it a gRPC server, and does it want TLS?"
            raise UnavailableError(
                f"{self._target.address} closed the connection before its first SETTINGS: {why}"
            )
        self._links.append(link)


def _deadline(timeout_s: float | None) -> float:
    return float("inf") if timeout_s is None else trio.current_time() + timeout_s
