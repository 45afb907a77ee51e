"""Work stealing of one worker from the settings: where others may ask it, and how it asks them.

A worker makes a token of its own and tells it to the coordinator when it joins; who is let in is
whoever shows it, that is workers of the same coordinator which it has introduced. Nobody else is.
"""

import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from builder.assembly.dial import TLS, Access, open_channel
from builder.auth.gate import Caller, Gate
from builder.auth.rights import right_of
from builder.config.settings import Settings
from builder.net.channel import Channel
from builder.net.hooks import Hooks
from builder.net.listeners import Listener, join_address, open_listeners, split_address
from builder.net.rpc import Context
from builder.net.server import serve
from builder.net.tls import Identity, RenewedContext, server_context
from builder.worker.stealing import Reachable, Stealing
from builder.worker.thief import Terms


@dataclass(frozen=True, slots=True)
class PeerSetup:
    """`host` is the name by which others reach it; "" is the address that is bound."""

    terms: Terms
    listen: str
    host: str = ""
    identity: Identity | None = None
    access: Access = field(default_factory=Access)


def peer_setup(settings: Settings, access: Access) -> PeerSetup | None:
    """None where the settings have no work stealing."""
    if not settings.scheduler.work_stealing:
        return None
    stealing, peers, tls = settings.scheduler.stealing, settings.worker.peers, settings.tls
    terms = Terms(
        backlog=stealing.backlog,
        victims=stealing.victims,
        threshold=stealing.threshold,
        batch=stealing.batch,
        interval_s=stealing.interval,
        timeout_s=stealing.timeout,
    )
    guarded = tls.cert and tls.key and not peers.listen.is_loopback
    identity = Identity(tls.cert or "", tls.key or "") if guarded else None
    return PeerSetup(terms, str(peers.listen), peers.host or "", identity, access)


@asynccontextmanager
async def open_peers(setup: PeerSetup) -> AsyncIterator[Stealing]:
    """Serves others until the block ends. Raises UsageError for an address that is taken."""

    def dial(address: str, token: str) -> Channel:
        return open_channel(address, replace(setup.access, token=token))

    stealing = Stealing(setup.terms, dial, random.random)
    token = secrets.token_urlsafe(32)
    tls = _tls(setup.identity)
    listeners = await open_listeners(setup.listen, tls)
    try:
        stealing.reachable = Reachable(_reached(setup.host, listeners[0]), token)
        async with trio.open_nursery() as nursery:
            hooks = Hooks(authorize=_only_with(token))
            await nursery.start(partial(serve, [stealing.service()], listeners, hooks=hooks))
            if tls is not None:
                nursery.start_soon(tls.keep_fresh)
            try:
                yield stealing
            finally:
                nursery.cancel_scope.cancel()
    finally:
        for one in listeners:
            one.close()


def _reached(host: str, bound: Listener) -> str:
    address = join_address(host, split_address(bound.address)[1]) if host else bound.address
    return f"{TLS}{address}" if bound.tls is not None else address


def _only_with(token: str) -> Callable[[Context], None]:
    gate = Gate([(token, Caller("a worker of the pool", "worker"))])

    def authorize(context: Context) -> None:
        authorization = context.metadata.get("authorization")
        gate.check(right_of(context.path), authorization, context.peer.identity)

    return authorize


def _tls(identity: Identity | None) -> RenewedContext | None:
    if identity is None:
        return None
    make = partial(server_context, identity, "", required=False, protocol="h2")
    return RenewedContext(make, identity.certificate, identity.key, "")
