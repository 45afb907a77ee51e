"""TLS contexts for both sides, and certificates that are replaced without a restart.

A server's context is made anew when one of its files is replaced, because authorities can be added
to a context, but not taken from it. Handshakes after that use the new one, and connections that
are open keep theirs.
"""

import contextlib
import logging
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from builder.base.errors import UsageError

log = logging.getLogger("builder.net")

LOOK_EVERY_S = 10.0
NAME_KINDS = ("URI", "DNS")
SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all good


class Context(Protocol):
    """What a listener or a channel needs of an ssl.SSLContext."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
    ) -> ssl.SSLObject: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Files in PEM form: a certificate chain and its key."""

    certificate: str
    key: str

    def load(self, context: ssl.SSLContext) -> None:
        """Raises OSError (ssl.SSLError is one) when the files are missing or do not fit."""
        context.load_cert_chain(self.certificate, self.key)


def _load(identity: Identity, context: ssl.SSLContext) -> None:
    try:
        identity.load(context)
    except OSError as error:
        raise UsageError(
            f"cannot use certificate {identity.certificate} with key {identity.key}: "
            f"{error.strerror or error}"
        ) from None


def _trust(context: ssl.SSLContext, authorities: str) -> None:
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        raise UsageError(
            f"cannot use the authorities of {authorities}: {error.strerror or error}"
        ) from None


def _for_http2(context: ssl.SSLContext) -> None:
    """What TLS 1.2 may not do there: be renegotiated, compress, use a suite of the prohibited
    (RFC 9113, 9.2.1 and 9.2.2, appendix A)."""
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(SUITES)


def server_context(
    identity: Identity,
    client_authorities: str = "",
    *,
    required: bool = True,
    lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    protocol: str = "h2",
) -> ssl.SSLContext:
    """For listeners. With `client_authorities`, clients must show a certificate (mTLS), or may
    where it is not `required`. `protocol` is that of ALPN. Raises UsageError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = lowest
    _for_http2(context)
    context.set_alpn_protocols([protocol])
    _load(identity, context)
    if client_authorities:
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        _trust(context, client_authorities)
    return context


def client_context(authorities: str = "", identity: Identity | None = None) -> ssl.SSLContext:
    """For channels: trusts these authorities, or the system's; shows an identity if given."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _for_http2(context)
    context.set_alpn_protocols(["h2"])
    if authorities:
        _trust(context, authorities)
    if identity is not None:
        _load(identity, context)
    return context


def name_of(tls: ssl.SSLObject) -> str:
    """Who the peer's certificate says it is: its first URI or DNS name, else its subject."""
    certificate: dict[str, Any] = tls.getpeercert() or {}
    names = [name for kind, name in certificate.get("subjectAltName", ()) if kind in NAME_KINDS]
    names += [
        value
        for group in certificate.get("subject", ())
        for key, value in group
        if key == "commonName"
    ]
    return names[0] if names else ""


class RenewedContext:
    """A server's context that `make` makes of these files, and makes again when one is replaced."""

    def __init__(self, make: Callable[[], ssl.SSLContext], *files: str) -> None:
        self._make = make
        self._files = files
        self._stamp = self._look()
        self._context = make()

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
    ) -> ssl.SSLObject:
        return self._context.wrap_bio(incoming, outgoing, server_side, server_hostname)

    async def keep_fresh(self, every_s: float = LOOK_EVERY_S) -> None:
        """Look at the files for ever; those that do not load are logged, and the old ones stay."""
        while True:
            await trio.sleep(every_s)
            if (new := self._look()) == self._stamp:
                continue
            try:
                self._context = self._make()
            except UsageError as error:
                log.error("certificates are not reloaded: %s", error)
                continue
            self._stamp = new
            log.info("certificate %s is reloaded", self._files[0])

    def _look(self) -> tuple[int, ...]:
        """Changes when a file is replaced."""
        found: list[int] = []
        for path in self._files:
            with contextlib.suppress(OSError):
                stat = os.stat(path)
                found += (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        return tuple(found)
