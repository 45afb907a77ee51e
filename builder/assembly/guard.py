"""TLS and authentication from the settings, for every listener."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import trio

from builder.auth.gate import Caller, Gate
from builder.auth.rights import RIGHTS, right_of, right_of_page, trusting
from builder.config.settings import Auth, Settings, Tls
from builder.net.rpc import Context
from builder.net.tls import Identity, RenewedContext, server_context
from builder.server.execution import host_of

LOWEST = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
CheckPage = Callable[[str, str, str | None, str], None]


@dataclass(frozen=True, slots=True)
class Guard:
    """What guards the listeners; None where the settings ask for nothing.

    `authorize` judges gRPC calls, `check_page(method, path, authorization, identity)` HTTP
    requests, where the identity is that of the client's certificate; both raise
    UnauthenticatedError or PermissionDeniedError. `who` names the user of a call.
    """

    grpc_tls: RenewedContext | None = None
    http_tls: RenewedContext | None = None
    authorize: Callable[[Context], None] | None = None
    check_page: CheckPage | None = None
    who: Callable[[Context], str] = host_of

    @property
    def is_closed(self) -> bool:
        """Whether not everybody who reaches a port may speak there."""
        return self.grpc_tls is not None or self.authorize is not None

    async def keep_fresh(self) -> None:
        """Load certificates and authorities again whose files are replaced, for ever."""
        async with trio.open_nursery() as nursery:
            for context in (self.grpc_tls, self.http_tls):
                if context is not None:
                    nursery.start_soon(context.keep_fresh)


def open_guard(settings: Settings) -> Guard:
    """Raises UsageError for certificates that cannot be used."""
    gate = _gate(settings)
    tls = settings.tls
    identity = Identity(tls.cert, tls.key) if tls.cert and tls.key else None
    required = settings.auth.mode == "mtls"
    return Guard(
        grpc_tls=_context(tls, identity, "h2", required),
        http_tls=_context(tls, identity, "http/1.1", required),
        authorize=None if gate is None else _authorize(gate),
        who=host_of if gate is None else _who(gate),
        check_page=None if gate is None else _check_page(gate),
    )


def _context(
    tls: Tls, identity: Identity | None, protocol: str, required: bool
) -> RenewedContext | None:
    if identity is None:
        return None
    authorities = tls.client_ca or ""
    make = partial(
        server_context,
        identity,
        authorities,
        required=required,
        lowest=LOWEST[tls.min_version],
        protocol=protocol,
    )
    return RenewedContext(make, identity.certificate, identity.key, authorities)


def _gate(settings: Settings) -> Gate | None:
    auth = settings.auth
    if auth.mode == "none":
        return None
    tokens = [(one.token.reveal(), Caller(one.name, one.role)) for one in auth.tokens]
    join = settings.coordinator.join_token
    if join is not None:
        tokens.append((join.reveal(), Caller("whoever has the join token", "worker")))
    rights = RIGHTS if auth.results == "writers" else trusting(RIGHTS)
    return Gate(tokens, _owners(auth), certificates=auth.mode == "mtls", rights=rights)


def _owners(auth: Auth) -> dict[str, Caller]:
    return {one.name: Caller(one.name, one.role) for one in auth.identities}


def _authorize(gate: Gate) -> Callable[[Context], None]:
    def authorize(context: Context) -> None:
        authorization = context.metadata.get("authorization")
        gate.check(right_of(context.path), authorization, context.peer.identity)

    return authorize


def _who(gate: Gate) -> Callable[[Context], str]:
    def who(context: Context) -> str:
        authorization = context.metadata.get("authorization")
        return gate.caller(authorization, context.peer.identity).name

    return who


def _check_page(gate: Gate) -> CheckPage:
    def check(method: str, path: str, authorization: str | None, identity: str) -> None:
        gate.check(right_of_page(method, path), authorization, identity)

    return check
