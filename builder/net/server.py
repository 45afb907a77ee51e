"""A gRPC server: listeners, connections, and the graceful end of both.

listeners = await open_listeners("127.0.0.1:9000")
server = await nursery.start(partial(serve, services, listeners))
...
await server.drain()
"""

import errno
import logging
import math
import socket
from collections.abc import Callable, Sequence

import trio

from builder.base.errors import Code
from builder.net.dozing import rounds
from builder.net.hooks import Hooks
from builder.net.listeners import Listener, join_address
from builder.net.rpc import Method, Peer, Service
from builder.net.serving import ServerLink
from builder.net.tls import Context
from builder.net.transport import SocketTransport, TlsTransport, Transport
from builder.net.upkeep import HANDSHAKE_LIMIT, Upkeep, watch
from builder.wire.heads import Route
from builder.wire.limits import Limits
from builder.wire.server import ServerConnection, windows_of

log = logging.getLogger("builder.net")

LOOK_EVERY_S = 0.05  # while calls are waited for
DRAIN_ANSWER_S = 1.0  # how long a client may take to answer the first GOAWAY's PING
LAST_WORDS_S = 1.0  # for which a closing connection waits for a client that does not read
OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
NO_HOOKS = Hooks()
DEFAULT_UPKEEP = Upkeep()


def routes_of(services: Sequence[Service]) -> dict[str, Route]:
    """Every served path, and what the wire must know of it. Raises ValueError for a clash."""
    routes: dict[str, Route] = {}
    for service in services:
        for method in service.methods:
            if method.path in routes:
                raise ValueError(f"{method.path} is served twice")
            routes[method.path] = _route(method)
    return routes


def _route(method: Method) -> Route:
    handlers = (method.unary, method.single, method.stream)
    given = [handler for handler in handlers if handler is not None]
    if len(given) != 1:
        raise ValueError(f"{method.path} needs one handler: unary, single or stream")
    if method.stream is not None:
        return Route(False, method.max_request_bytes, method, method.pieces, method.runs)
    if method.short is not None:
        raise ValueError(f"{method.path} has a short handler and is no streaming method")
    return Route(True, method.max_request_bytes, given[0])


class Server:
    """Serves until it is cancelled or drained."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        limits: Limits | None = None,
        hooks: Hooks = NO_HOOKS,
        upkeep: Upkeep = DEFAULT_UPKEEP,
    ) -> None:
        self._routes = routes_of(services)
        self._limits = limits or Limits()
        self._windows = windows_of(self._limits)
        self._hooks = hooks
        self._upkeep = upkeep
        self._links: dict[ServerLink, None] = {}
        self._handshakes: dict[trio.CancelScope, None] = {}
        self._accepting = trio.CancelScope()
        self._empty = trio.Event()
        self.addresses: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Of every method that is served."""
        return tuple(self._routes)

    @property
    def connections(self) -> int:
        return len(self._links)

    async def serve(
        self,
        listeners: Sequence[Listener],
        *,
        task_status: trio.TaskStatus["Server"] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and serve; returns when draining is complete. Closes the listeners."""
        self.addresses = tuple(listener.address for listener in listeners)
        try:
            async with trio.open_nursery() as connections:
                with self._accepting:
                    async with trio.open_nursery() as accepting:
                        accepting.start_soon(watch, self._links, self._upkeep)
                        accepting.start_soon(rounds, self._links)
                        for listener in listeners:
                            accepting.start_soon(self._accept, listener, connections)
                        task_status.started(self)
                for listener in listeners:
                    listener.close()
        finally:
            for listener in listeners:
                listener.close()
            self._empty.set()

    async def drain(
        self,
        grace_s: float = math.inf,
        busy_s: float = 0.0,
        is_busy: Callable[[str], bool] = lambda _path: True,
    ) -> None:
        """Take no more calls, let open ones end for at most `grace_s` seconds, then close; those
        that are open still are told UNAVAILABLE.

        While calls of paths that are busy are open, for `busy_s` seconds, if that is longer.
        """
        begun = trio.current_time()
        self._accepting.cancel()
        for handshake in list(self._handshakes):
            handshake.cancel()
        for link in list(self._links):
            link.start_drain()
        with trio.move_on_at(begun + min(grace_s, DRAIN_ANSWER_S)):
            await self._empty.wait()
        for link in list(self._links):
            link.finish_drain()
        with trio.move_on_at(begun + grace_s):
            await self._empty.wait()
        with trio.move_on_at(begun + busy_s):
            while any(_has_call(one.wire, is_busy) for one in self._links):  # noqa: ASYNC110 - rare
                await trio.sleep(LOOK_EVERY_S)
        if not self._empty.is_set():
            await self._end_calls()

    async def _end_calls(self) -> None:
        for link in list(self._links):
            _end_calls(link.wire)
            link.flush()
        with trio.move_on_after(LAST_WORDS_S):
            await self._empty.wait()
        for link in list(self._links):
            link.close()
        await self._empty.wait()

    # ---- connections

    async def _accept(self, listener: Listener, connections: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener.sock)
            try:
                sock, address = listener.sock.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in OUT_OF_DESCRIPTORS:
                    log.error("cannot accept on %s: %s", listener.address, error.strerror)
                    await trio.sleep(0.1)  # until some connection has ended
                continue
            connections.start_soon(self._connection, sock, _peer_of(address), listener.tls)

    async def _connection(self, sock: socket.socket, address: str, tls: Context | None) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw = SocketTransport(sock)
        try:
            transport, identity = await self._secure(raw, tls)
            wire = ServerConnection(self._limits, self._routes, self._windows)
            link = ServerLink(wire, Peer(address, identity), self._hooks)
            self._links[link] = None
            try:
                await link.run(transport)
            finally:
                wire.close()
                del self._links[link]
        except OSError as error:
            log.info("%s: %s", address, error)
        except Exception:
            log.exception("the connection of %s failed by our fault", address)
        finally:
            raw.close()

    async def _secure(self, raw: SocketTransport, tls: Context | None) -> tuple[Transport, str]:
        """What to speak over, and who is there. Raises OSError."""
        if tls is None:
            return raw, ""
        transport = TlsTransport(raw, tls, None)
        with trio.move_on_after(self._upkeep.handshake_s) as scope:
            self._handshakes[scope] = None
            try:
                await transport.handshake()
            finally:
                del self._handshakes[scope]
        if scope.cancelled_caught:
            if self._accepting.cancel_called:
                raise ConnectionAbortedError("the server ends, and its TLS handshake had not")
            self._hooks.limit_hit(HANDSHAKE_LIMIT)
            raise ConnectionAbortedError("its TLS handshake took too long")
        # "Implementations of HTTP/2 MUST use protocol negotiation in TLS" (RFC 9113, 3.2)
        if transport.tls.selected_alpn_protocol() != "h2":
            raise ConnectionAbortedError("the client does not offer h2 (ALPN)")
        return transport, transport.identity()


def _has_call(wire: ServerConnection, of_interest: Callable[[str], bool]) -> bool:
    heads = (stream.head for stream in wire.streams.values())
    return any(head is not None and of_interest(head.path) for head in heads)


def _end_calls(wire: ServerConnection) -> None:
    """Who still has a call open is told; the connection closes when that is sent."""
    for stream in list(wire.streams.values()):
        wire.sender.drop(stream)
        wire.finish(stream, Code.UNAVAILABLE, "the server is shutting down")


def _peer_of(address: object) -> str:
    if isinstance(address, tuple):
        return join_address(str(address[0]), int(address[1]))
    return "unix"


async def serve(
    services: Sequence[Service],
    listeners: Sequence[Listener],
    *,
    limits: Limits | None = None,
    hooks: Hooks = NO_HOOKS,
    upkeep: Upkeep = DEFAULT_UPKEEP,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve these services; `await nursery.start(...)` gives the Server, to be drained."""
    server = Server(services, limits=limits, hooks=hooks, upkeep=upkeep)
    await server.serve(listeners, task_status=task_status)
