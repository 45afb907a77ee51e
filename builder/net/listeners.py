"""Where a server listens: `host:port` (port 0 picks one) and `unix:/path`."""

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass

import trio

from builder.base.errors import UsageError
from builder.net.tls import Context

BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. `address` is what a client dials: the bound port, never 0."""

    sock: socket.socket
    address: str
    tls: Context | None = None

    def close(self) -> None:
        if self.sock.fileno() < 0:
            return
        trio.lowlevel.notify_closing(self.sock)
        self.sock.close()
        if self.address.startswith("unix:"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.address.removeprefix("unix:"))


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`, `:port` or `[v6]:port`. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{text!r} is not an address: write for example 127.0.0.1:9000")
    return host.strip("[]"), int(port)


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def open_listeners(address: str, tls: Context | None = None) -> list[Listener]:
    """Listening sockets for an address: one, or one for each that a host name stands for.

    Raises UsageError saying what cannot be bound and why.
    """
    if address.startswith("unix:"):
        return [Listener(_bind_unix(address.removeprefix("unix:")), address, tls)]
    host, port = split_address(address)
    try:
        found = await trio.socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise UsageError(f"cannot listen on {address}: {error.strerror}") from None
    listeners: list[Listener] = []
    for family, _, _, _, where in dict.fromkeys(found):
        try:
            sock = _bind(family, (str(where[0]), port))
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT and len(found) > 1:
                continue  # a host without IPv6 still says that it has it
            for listener in listeners:
                listener.close()
            raise UsageError(f"cannot listen on {address}: {error.strerror}") from None
        bound = sock.getsockname()
        port = bound[1]
        listeners.append(Listener(sock, join_address(bound[0], bound[1]), tls))
    return listeners


def _bind(family: int, where: tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_unix(path: str) -> socket.socket:
    """A socket in the file system; one that was left by a dead server is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(path).st_mode) and not _answers(path):
                os.unlink(path)
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise UsageError(f"cannot listen on unix:{path}: {error.strerror}") from None
    return sock


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == 0
