"""How this process reaches a coordinator: address, TLS and credentials from the settings."""

from dataclasses import dataclass, field

from builder.config.settings import Client, Worker
from builder.net.channel import Channel

TLS = "grpcs://"


@dataclass(frozen=True, slots=True)
class Access:
    """What we show, and whom we trust: files in PEM form, "" for none and for the system's."""

    token: str = field(default="", repr=False)
    ca: str = ""
    cert: str = ""
    key: str = ""


def client_access(client: Client) -> Access:
    token = client.token.reveal() if client.token is not None else ""
    return Access(token, client.ca or "", client.cert or "", client.key or "")


def worker_access(worker: Worker) -> Access:
    """A worker's join token is its bearer token too."""
    token = worker.join_token.reveal() if worker.join_token is not None else ""
    return Access(token, worker.ca or "", worker.cert or "", worker.key or "")


def open_channel(address: str, access: Access | None = None) -> Channel:
    """A channel to `host:port`, `grpcs://host:port` or `unix:/path`, to be entered.

    Raises UsageError for files that are not certificates.
    """
    access = access or Access()
    if not address.startswith(TLS):
        return Channel(address, token=access.token)
    from builder.net.tls import Identity, client_context  # late: only who speaks TLS pays for it

    identity = Identity(access.cert, access.key) if access.cert else None
    context = client_context(access.ca, identity)
    return Channel(address.removeprefix(TLS), tls=context, token=access.token)
