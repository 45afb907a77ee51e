"""An ASGI application on HTTP/1.1, by hypercorn.

hypercorn does not tell applications whose certificate a client has shown. It makes a connection's
TLS object in the very step in which it starts the connection's task, and tasks inherit context
variables: that is how `client_name` knows.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.protocol import ProtocolWrapper
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from builder.net.listeners import Listener
from builder.net.tls import Context, name_of
from builder.web.bounded import Bounded, strictly

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

log = logging.getLogger("builder.web")

HANDSHAKE_S = 10.0
STALL_S = 300.0  # for a piece of an answer, 1 MiB at the most

_connection: ContextVar[ssl.SSLObject | None] = ContextVar("connection", default=None)


def client_name() -> str:
    """Who the certificate of the client says it is whose request is served here; "" without."""
    tls = _connection.get()
    return "" if tls is None else name_of(tls)


class Noting:
    """A context that leaves each connection's TLS object to the tasks that serve it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
    ) -> ssl.SSLObject:
        made = self._context.wrap_bio(incoming, outgoing, server_side, server_hostname)
        _connection.set(made)
        return made


class OurConfig(Config):
    """hypercorn takes a context by this method only."""

    accesslog = None
    errorlog = log
    loglevel = "WARNING"
    alpn_protocols = ["http/1.1"]  # noqa: RUF012 - as hypercorn declares it
    graceful_timeout = 3.0  # seconds, all of them
    keep_alive_timeout = 75.0  # build tools keep connections to a cache between their actions
    include_server_header = False

    def __init__(self, tls: Context | None, handshake_s: float = HANDSHAKE_S) -> None:
        super().__init__()
        self.ssl_handshake_timeout = handshake_s
        self._tls = None if tls is None else Noting(tls)

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self._tls  # type: ignore[return-value]  # it is only asked to wrap


class OnlyHttp1(TCPServer):
    """hypercorn changes to HTTP/2 where a client asks for it (`Upgrade: h2c`, as Java's does each
    time) or begins with it; "a server MAY ignore a received Upgrade header field" (RFC 9110, 7.8),
    and this one does."""

    @property
    def protocol(self) -> ProtocolWrapper:
        return self._protocol

    @protocol.setter
    def protocol(self, made: ProtocolWrapper) -> None:
        one: Any = made.protocol  # its HTTP/1.1
        one._check_protocol = _stay  # noqa: SLF001 - it has no switch for this
        self._protocol = made


async def _stay(_request: object) -> None:
    return


async def serve_app(
    app: App,
    listeners: Sequence[Listener],
    *,
    stop: trio.Event | None = None,
    tls: Context | None = None,
    handshake_s: float = HANDSHAKE_S,
    stall_s: float = STALL_S,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` is set (open requests may then end) or until cancelled.

    The listeners are open already, so that whoever started us knows their ports, and that
    clients may connect before this module is even imported.
    """
    log.setLevel(logging.WARNING)
    config, context = OurConfig(tls, handshake_s), WorkerContext(None)
    wrapped = ASGIWrapper(strictly(app))
    streams: dict[Bounded, None] = {}

    async def serve(connection: trio.SocketStream) -> None:
        bounded = Bounded(connection, stall_s)
        stream: Any = bounded
        ssl_context = config.create_ssl_context()
        if ssl_context is not None:
            stream = trio.SSLStream(bounded, ssl_context, server_side=True, https_compatible=True)
        streams[bounded] = None
        try:
            await OnlyHttp1(wrapped, config, context, ConnectionState({}), stream)
        finally:
            del streams[bounded]
            bounded.left.set()

    async with trio.open_nursery() as connections:
        try:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(_accept, listener, serve, connections)
                task_status.started()
                await (trio.Event() if stop is None else stop).wait()
                accepting.cancel_scope.cancel()
        finally:
            await context.terminated.set()
            with trio.CancelScope(shield=True):
                await _end(streams, config.graceful_timeout)
            connections.cancel_scope.cancel()


async def _accept(
    listener: Listener, serve: Callable[[trio.SocketStream], Awaitable[None]], into: trio.Nursery
) -> None:
    listener.sock.setblocking(False)
    sock = trio.SocketListener(trio.socket.from_stdlib_socket(listener.sock))
    await trio.serve_listeners(serve, [sock], handler_nursery=into)


async def _end(streams: Mapping[Bounded, None], patience_s: float) -> None:
    """Open requests may end for a while; then whoever takes nothing is cut off."""
    with trio.move_on_after(patience_s):
        while streams:
            await next(iter(streams)).left.wait()
    for stream in streams:
        stream.cut()
