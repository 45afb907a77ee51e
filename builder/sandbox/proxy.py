"""The only way out of an action that may reach some hosts: an HTTP proxy that filters by name.

    action --127.0.0.1:3128 in its own network--> this proxy --the worker's network--> allowed host

The listening socket is made inside the action's network and handed out, so nothing of the action's
network is joined with the host's. Programs find it by `http_proxy` and `https_proxy`. CONNECT and
requests with an absolute URL are served (RFC 9110, 9.3.6 and 7.1), one for each connection.
Names are resolved here. An allowed name that leads to this machine itself is refused unless it is
written down as an address: a name server must not decide who reaches the worker's own ports.
"""

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import trio

from builder.base.hosts import allows, checked

PORT = 3128
ADDRESS = f"127.0.0.1:{PORT}"
URL = f"http://{ADDRESS}"
VARIABLES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
OWN = {"no_proxy": "localhost,127.0.0.1,::1", "NO_PROXY": "localhost,127.0.0.1,::1"}
HEAD_BYTES, CHUNK = 65536, 65536
MAX_CONNECTIONS, MAX_TOLD = 64, 100
HEAD_PATIENCE_S, CONNECT_PATIENCE_S = 30.0, 30.0
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
HOP_BY_HOP = (b"proxy-", b"connection:", b"keep-alive:")


def environment(port: int = PORT) -> dict[str, str]:
    """What tells programs where the proxy is."""
    return dict.fromkeys(VARIABLES, f"http://127.0.0.1:{port}") | OWN


class Filter:
    """Which hosts may be reached, and which of the others were asked for."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = checked(hosts)
        self.blocked: dict[str, None] = {}

    def allows(self, host: str, port: int) -> bool:
        return allows(self._hosts, host, port)

    def leads_home(self, host: str, address: str) -> bool:
        """Whether an address is this machine's own or a link's, and was not asked for as such."""
        found = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(found, "ipv4_mapped", None) or found
        if not (mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified):
            return False
        written = any(entry.partition(":")[0] == host for entry in self._hosts)
        return not (written and is_address(host))

    def block(self, host: str, port: int) -> None:
        if len(self.blocked) < MAX_TOLD:
            self.blocked[f"{host[:255]}:{port}"] = None


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class RequestError(Exception):
    """What came is no request that a proxy serves; or the host does not answer."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


def parsed(head: bytes) -> tuple[str, int, bytes]:
    """(host, port, what to send on) of a request's head; nothing is sent on of a CONNECT.
    Raises RequestError."""
    first, _, rest = head.partition(b"\r\n")
    try:
        method, target, version = first.decode("ascii").split(" ")
        url = urlsplit("//" + target if method == "CONNECT" else target)
        port = url.port or 80
    except ValueError:
        raise RequestError("400 Bad Request", "this is no request to a proxy") from None
    is_place = not url.scheme and target == url.netloc
    if not url.hostname or (method == "CONNECT") != is_place:
        raise RequestError("400 Bad Request", "a proxy needs CONNECT host:port, or a whole URL")
    if method == "CONNECT":
        return url.hostname, port, b""
    if url.scheme != "http":
        raise RequestError("400 Bad Request", f"{url.scheme} is not served; use CONNECT")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    lines = [line for line in rest.split(b"\r\n") if not line.lower().startswith(HOP_BY_HOP)]
    head = f"{method} {path} {version}\r\nConnection: close\r\n".encode()
    return url.hostname, port, head + b"\r\n".join(lines)


class Proxy:
    """Serves one action. `filter.blocked` names what it asked for in vain."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.filter = Filter(hosts)
        self._free = trio.CapacityLimiter(MAX_CONNECTIONS)

    async def serve(self, listener_fd: int) -> None:
        """Until cancelled; the descriptor is then closed. Raises OSError for one that does not
        listen."""
        found = socket.socket(fileno=listener_fd)
        async with trio.SocketListener(trio.socket.from_stdlib_socket(found)) as listener:
            await trio.serve_listeners(self._connection, [listener])

    async def _connection(self, client: trio.SocketStream) -> None:
        async with client, self._free:
            try:
                head, rest = await head_of(client)
                host, port, onward = parsed(head)
                server = await self._reach(host, port)
            except RequestError as error:
                await refuse(client, error)
                return
            except (OSError, trio.BrokenResourceError):
                return
            async with server:
                if onward:
                    await joined(client, server, b"", onward + rest)
                else:
                    await joined(client, server, ESTABLISHED, rest)

    async def _reach(self, host: str, port: int) -> trio.SocketStream:
        if not self.filter.allows(host, port):
            self.filter.block(host, port)
            raise RequestError("403 Forbidden", f"{host}:{port} is not among the allowed hosts")
        with trio.move_on_after(CONNECT_PATIENCE_S):
            try:
                found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                addresses = [entry[4][0] for entry in found]
                usable = [a for a in addresses if not self.filter.leads_home(host, str(a))]
                if not usable:
                    self.filter.block(host, port)
                    raise RequestError("403 Forbidden", f"{host} leads to the worker itself")
                return await trio.open_tcp_stream(str(usable[0]), port)
            except OSError as error:
                raise RequestError("502 Bad Gateway", f"{host}:{port}: {error}") from None
        raise RequestError("504 Gateway Timeout", f"{host}:{port} does not answer")


async def head_of(client: trio.SocketStream) -> tuple[bytes, bytes]:
    """A request's head with its empty line, and what came behind. Raises RequestError."""
    data = b""
    with trio.move_on_after(HEAD_PATIENCE_S):
        while b"\r\n\r\n" not in data:
            more = await client.receive_some(CHUNK)
            data += more
            if not more or len(data) > HEAD_BYTES:
                raise RequestError("400 Bad Request", "the head of the request does not end")
        head, end, rest = data.partition(b"\r\n\r\n")
        return head + end, rest
    raise RequestError("408 Request Timeout", "the head of the request did not come")


async def refuse(client: trio.SocketStream, error: RequestError) -> None:
    body = f"{error}\n".encode()
    head = f"HTTP/1.1 {error.status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    try:
        await client.send_all(head.encode() + body)
    except trio.BrokenResourceError:
        return


async def joined(
    one: trio.SocketStream, other: trio.SocketStream, to_one: bytes, to_other: bytes
) -> None:
    """Carry bytes both ways, these first, until both have said all or one breaks off."""
    async with trio.open_nursery() as nursery:

        async def carry(source: trio.SocketStream, target: trio.SocketStream, data: bytes) -> None:
            try:
                await target.send_all(data)
                while data := await source.receive_some(CHUNK):
                    await target.send_all(data)
                await target.send_eof()
            except trio.BrokenResourceError:
                nursery.cancel_scope.cancel()

        nursery.start_soon(carry, one, other, to_other)
        nursery.start_soon(carry, other, one, to_one)
