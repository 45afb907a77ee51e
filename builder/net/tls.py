"""TLS contexts for both sides, and certificates that are replaced without a restart.

A running context takes a new certificate by loading it again: handshakes after that use it, and
connections that are open keep theirs.
"""

import logging
import os
import ssl
from dataclasses import dataclass

import trio

from builder.base.errors import UsageError

log = logging.getLogger("builder.net")

LOOK_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Files in PEM form: a certificate chain and its key."""

    certificate: str
    key: str

    def stamp(self) -> tuple[int, ...]:
        """Changes when a file is replaced. Raises OSError."""
        stats = [os.stat(path) for path in (self.certificate, self.key)]
        return tuple(n for s in stats for n in (s.st_mtime_ns, s.st_size, s.st_ino))

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
    context.set_alpn_protocols(["h2"])
    if authorities:
        _trust(context, authorities)
    if identity is not None:
        _load(identity, context)
    return context


async def reload_when_replaced(
    context: ssl.SSLContext, identity: Identity, every_s: float = LOOK_EVERY_S
) -> None:
    """Look at the files for ever; a pair that does not load is logged, and the old one stays."""
    stamp = identity.stamp()
    while True:
        await trio.sleep(every_s)
        try:
            if (new := identity.stamp()) == stamp:
                continue
            identity.load(context)
        except OSError as error:
            log.error("certificate %s is not reloaded: %s", identity.certificate, error)
            continue
        stamp = new
        log.info("certificate %s is reloaded", identity.certificate)
