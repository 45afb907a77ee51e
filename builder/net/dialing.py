"""How a client gets a connection: names, sockets, TLS."""

import os
import socket
import ssl
from dataclasses import dataclass

import trio

from builder.base.errors import UnavailableError
from builder.net.listeners import split_address
from builder.net.transport import SocketTransport, TlsTransport, Transport

UNKNOWN_AUTHORITY = "; trust the authority that signed it (client.ca)"
CURES = {  # by OpenSSL's X509_V_ERR numbers
    9: "; it is valid from a later time: look at both clocks",
    10: "; it has to be renewed there",
    18: UNKNOWN_AUTHORITY,
    19: UNKNOWN_AUTHORITY,
    20: UNKNOWN_AUTHORITY,
    62: "; dial a name that the certificate has",
    64: "; dial an address that the certificate has",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a channel leads: `host:port` or `unix:/path`, and TLS if a context is given."""

    address: str
    tls: ssl.SSLContext | None = None
    server_name: str = ""  # checked against the certificate; the host of the address by default

    @property
    def authority(self) -> str:
        """What `:authority` says."""
        return "localhost" if self.address.startswith("unix:") else self.address

    @property
    def host(self) -> str:
        if self.address.startswith("unix:"):
            return "localhost"
        return split_address(self.address)[0]


async def dial(target: Target) -> Transport:
    """A connected transport. Raises UnavailableError saying what could not be reached."""
    try:
        raw = SocketTransport(await _connect(target.address))
    except OSError as error:
        raise UnavailableError(f"cannot connect to {target.address}: {_reason(error)}") from None
    if target.tls is None:
        return raw
    transport = TlsTransport(raw, target.tls, target.server_name or target.host)
    try:
        await transport.handshake()
    except ssl.SSLCertVerificationError as error:
        raw.close()
        cure = CURES.get(error.verify_code, "")
        raise UnavailableError(
            f"cannot speak TLS with {target.address}: certificate verify failed: "
            f"{error.verify_message}{cure}"
        ) from None
    except OSError as error:  # ssl.SSLError is one
        raw.close()
        raise UnavailableError(f"cannot speak TLS with {target.address}: {error}") from None
    except BaseException:
        raw.close()
        raise
    if transport.tls.selected_alpn_protocol() != "h2":
        raw.close()
        raise UnavailableError(f"{target.address} does not speak h2 over TLS (ALPN)")
    return transport


def _reason(error: OSError) -> str:
    """What the system says; where trio tried several addresses, of the first of them."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    inner = cause if isinstance(cause, OSError) else error
    if isinstance(inner, socket.gaierror) or not inner.errno:
        return inner.strerror or str(inner)
    return os.strerror(inner.errno).lower()


async def _connect(address: str) -> socket.socket:
    """A connected socket that does not block."""
    if address.startswith("unix:"):
        stream = await trio.open_unix_socket(address.removeprefix("unix:"))
    else:
        host, port = split_address(address)
        stream = await trio.open_tcp_stream(host or "localhost", port)
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
