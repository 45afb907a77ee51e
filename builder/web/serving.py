"""An ASGI application on HTTP/1.1, by hypercorn."""

import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config, Sockets
from hypercorn.trio.run import worker_serve

from builder.net.listeners import Listener

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

log = logging.getLogger("builder.web")


class TlsConfig(Config):
    """hypercorn takes a context by this method only."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self._tls = tls

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self._tls


async def serve_app(
    app: App,
    listeners: Sequence[Listener],
    *,
    stop: trio.Event | None = None,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` is set (open requests may then end) or until cancelled.

    The listeners are open already, so that whoever started us knows their ports, and that
    clients may connect before this module is even imported.
    """
    config = TlsConfig(tls)
    config.accesslog = None
    config.errorlog = log
    config.loglevel = "WARNING"
    config.alpn_protocols = ["http/1.1"]
    config.graceful_timeout = 3.0
    config.include_server_header = False
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
