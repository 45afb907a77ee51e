"""An ASGI application on HTTP/1.1, by hypercorn.

hypercorn does not tell applications whose certificate a client has shown. It makes a connection's
TLS object in the very step in which it starts the connection's task, and tasks inherit context
variables: that is how `client_name` knows.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config, Sockets
from hypercorn.trio.run import worker_serve

from builder.net.listeners import Listener
from builder.net.tls import Context, name_of

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

log = logging.getLogger("builder.web")


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

    def __init__(self, tls: Context | None) -> None:
        super().__init__()
        self._tls = None if tls is None else Noting(tls)

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self._tls  # type: ignore[return-value]  # it is only asked to wrap


async def serve_app(
    app: App,
    listeners: Sequence[Listener],
    *,
    stop: trio.Event | None = None,
    tls: Context | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` is set (open requests may then end) or until cancelled.

    The listeners are open already, so that whoever started us knows their ports, and that
    clients may connect before this module is even imported.
    """
    config = OurConfig(tls)
    log.setLevel(logging.WARNING)
    for listener in listeners:
        listener.sock.setblocking(False)
    socks = [listener.sock for listener in listeners]
    sockets = Sockets([], socks, []) if tls is None else Sockets(socks, [], [])
    trigger = None if stop is None else stop.wait
    async with trio.open_nursery() as nursery:
        await nursery.start(_serve, app, config, sockets, trigger)
        task_status.started()


async def _serve(
    app: App,
    config: Config,
    sockets: Sockets,
    trigger: Callable[[], Awaitable[None]] | None,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    await worker_serve(
        ASGIWrapper(app),
        config,
        sockets=sockets,
        shutdown_trigger=trigger,
        task_status=task_status,
    )
