"""The whole service in one process, with its workers as children: what `builder serve` runs.

start: ports, then workers, then "ready"
first signal: no new actions -> workers drain and end -> open calls end -> ports close
second signal: everything ends at once
"""

import math
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import trio

from builder.assembly.coordinator import Coordinator, Hooks, open_coordinator
from builder.assembly.leftovers import set_all_aside, sweep
from builder.assembly.pages import open_pages
from builder.assembly.parent import watch_parent
from builder.assembly.pool import Pool
from builder.assembly.pools import Pools
from builder.assembly.signals import obey_signals
from builder.base.errors import UsageError
from builder.config.checks import exposed
from builder.config.kinds import Secret
from builder.config.loading import dotted
from builder.config.settings import Settings
from builder.host import garbage
from builder.host.lock import owned
from builder.telemetry.log import announce, get_logger

log = get_logger()
WORKERS_LOCK = "directory of the local pool"


async def run_service(
    settings: Settings, config: str | None = None, *, exit_with_stdin: bool = False
) -> None:
    """Serve until a signal, or until who has started us is no more and holds our stdin no longer.
    Raises UsageError for a port or directory that is in use."""
    announce("Remote execution service starting...")
    settings = _with_join_token(settings)
    _warn_of_exposure(settings)
    stopping = trio.Event()

    def drain(why: str) -> None:
        announce(f"Remote execution service draining signal={why}")
        stopping.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(obey_signals, drain, nursery.cancel_scope.cancel)
        if exit_with_stdin:
            watch_parent(nursery.cancel_scope.cancel)
        pools = Pools(settings, config)
        if not any(pools):
            await _serve_alone(settings, stopping)
        elif not any(pool.is_local for pool in pools):
            await _serve_with_pools(settings, pools, stopping)
        else:
            folder = Path(settings.worker.scratch)
            with owned(folder, WORKERS_LOCK):
                set_all_aside(folder)
                nursery.start_soon(sweep, folder)
                await _serve_with_pools(settings, pools, stopping)
        nursery.cancel_scope.cancel()
    announce("Remote execution service stopped")


def _with_join_token(settings: Settings) -> Settings:
    """Where everybody has to show something, workers of our own show a secret of this run."""
    if settings.auth.mode == "none" or settings.coordinator.join_token is not None:
        return settings
    token = Secret(secrets.token_urlsafe(32))
    return replace(settings, coordinator=replace(settings.coordinator, join_token=token))


def _warn_of_exposure(settings: Settings) -> None:
    """Listening for other machines unguarded was accepted by `insecure`; it is never silent."""
    lacking = {"TLS": settings.tls.cert is None, "authentication": settings.auth.mode == "none"}
    means = "whoever reaches it can run programs in the sandboxes"
    if settings.auth.mode != "none":
        means = "whoever is on the way can read along, and show the same tokens"
    without = " and ".join(what for what, lacks in lacking.items() if lacks)
    for path, address in exposed(settings).items():
        log.warning(
            f"INSECURE: {dotted(path)} {address} is open to other machines "
            f"without {without}; {means}"
        )


async def _serve_alone(settings: Settings, stopping: trio.Event) -> None:
    async with _coordinator(settings, Hooks(joined=_tell_joined)) as coordinator:
        announce("Worker pool: none of its own; workers join by `builder worker`")
        _ready(coordinator)
        await stopping.wait()
        await coordinator.finish(settings.coordinator.drain_grace)
        await coordinator.drain()


async def _serve_with_pools(settings: Settings, pools: Pools, stopping: trio.Event) -> None:
    hooks = Hooks(pools.worker_joined, pools.states, pools.problems, pools.hold)
    async with _coordinator(settings, hooks) as coordinator:
        for pool in pools:
            _tell_pool(pool)
        async with pools.open(coordinator.scheduler, coordinator.inside):
            async with trio.open_nursery() as keeping:
                keeping.start_soon(pools.run)
                await _first_workers(settings, pools, stopping)
                if not stopping.is_set():
                    _ready(coordinator)
                await stopping.wait()
                keeping.cancel_scope.cancel()
            await coordinator.finish(settings.coordinator.drain_grace)
        await coordinator.drain()


def _tell_joined(name: str) -> None:
    log.info("Worker joined", worker=name)


def _tell_pool(pool: Pool) -> None:
    workers = f"{pool.size} worker{'s' if pool.size != 1 else ''}"
    if not pool.is_local:
        workers += f" from {pool.settings.pool.provider}"
    autoscale = " (autoscale enabled)" if pool.settings.pool.autoscale else ""
    announce(f"{pool.title}: {workers}{autoscale}")


def _ready(coordinator: Coordinator) -> None:
    coordinator.ready()
    garbage.settle()
    announce("Remote execution service ready")


async def _first_workers(settings: Settings, pools: Pools, stopping: trio.Event) -> None:
    """Wait for them, but not for ever: storage and cache serve without workers too."""
    joined = False

    async def wait() -> None:
        nonlocal joined
        await pools.wait_first()
        joined = True
        nursery.cancel_scope.cancel()

    patience_s = settings.providers.local.start_timeout
    with trio.move_on_after(patience_s if patience_s > 0 else math.inf):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await stopping.wait()
            nursery.cancel_scope.cancel()
    if not joined and not stopping.is_set():
        log.warning(
            f"Not all workers have joined within {patience_s:g} s; "
            "`builder doctor` tells what this host lacks"
        )


@asynccontextmanager
async def _coordinator(settings: Settings, hooks: Hooks) -> AsyncIterator[Coordinator]:
    """The coordinator, announced, with the pages around it."""
    async with open_coordinator(settings, hooks) as coordinator:
        announce(f"  Coordinator: {coordinator.coordinator}")
        announce(f"  REAPI endpoint: {coordinator.reapi}")
        async with open_pages(settings) as pages, trio.open_nursery() as nursery:
            nursery.start_soon(pages.serve, coordinator)
            yield coordinator
            pages.stop()


def check_role(settings: Settings) -> None:
    """Raises UsageError for a role that is no service."""
    if settings.role not in ("all", "coordinator"):
        raise UsageError(
            f"the configuration says role: {settings.role}; `builder serve` runs the roles all "
            f"and coordinator, use `builder {settings.role}` or change the role"
        )
