"""The HTTP/1.1 ports beside the gRPC ones: metrics and pages, and the artifact store.

Their listeners open first, so that a port in use ends the start; the HTTP stack is imported late
and in a thread, because that takes longer than all the rest of the start.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from typing import Any

import trio

from builder.assembly.coordinator import Coordinator
from builder.assembly.guard import CheckPage
from builder.assembly.sighting import Sighting
from builder.base.errors import UsageError
from builder.config.kinds import ARTIFACTS, Address
from builder.config.settings import Artifacts, Connections, Settings
from builder.net.listeners import Listener, open_listeners
from builder.telemetry.log import announce, get_logger

log = get_logger()
MakeApp = Callable[[Coordinator, Sighting], Any]


class Pages:
    """Opened ports, by the label that the log gives them."""

    def __init__(self, times: Connections) -> None:
        self._times = times
        self._ports: list[tuple[str, list[Listener], MakeApp]] = []
        self._stop = trio.Event()

    @property
    def addresses(self) -> list[str]:
        """In the order of opening: metrics, artifacts, of which each may be off."""
        return [listeners[0].address for _, listeners, _ in self._ports]

    async def open(self, label: str, address: Address, make: MakeApp, hosts: Sequence[str]) -> None:
        """`hosts`: its names on loopback, beside the usual. Raises UsageError for a port in use."""
        listeners = await open_listeners(str(address))
        if address.is_loopback and not address.path:
            make = partial(_named, make, hosts)
        self._ports.append((label, listeners, make))
        if address.port == 0 and not address.path:  # nobody can know it otherwise
            announce(f"  {label}: http://{listeners[0].address}")

    async def serve(self, coordinator: Coordinator) -> None:
        """Until `stop`."""
        serving = await trio.to_thread.run_sync(import_module, "builder.web.serving")
        sight = Sighting(coordinator)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sight.run, self._stop)
            guard = coordinator.guard
            for _, listeners, make in self._ports:
                app = await trio.to_thread.run_sync(make, coordinator, sight)
                if guard.check_page is not None:
                    app = _guarded(app, guard.check_page)

                async def run(app: Any = app, listeners: list[Listener] = listeners) -> None:
                    await serving.serve_app(
                        app,
                        listeners,
                        stop=self._stop,
                        tls=guard.http_tls,
                        handshake_s=self._times.handshake_timeout,
                        stall_s=self._times.stall_timeout,
                    )

                nursery.start_soon(run)

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        for _, listeners, _ in self._ports:
            for listener in listeners:
                listener.close()


@asynccontextmanager
async def open_pages(settings: Settings) -> AsyncIterator[Pages]:
    """The ports that the settings want. Raises UsageError for one in use."""
    pages = Pages(settings.reapi.connections)
    try:
        if settings.metrics.enabled:
            metrics = settings.metrics
            await pages.open("Metrics", metrics.listen, _metrics, metrics.hosts)
        if settings.artifacts.enabled:
            await _open_artifacts(pages, settings.artifacts)
        yield pages
    finally:
        pages.close()


async def _open_artifacts(pages: Pages, settings: Artifacts) -> None:
    """8080 is everybody's favourite port: where nobody chose it, it is not worth a refusal.

    Who writes the same address down has chosen it: only the default is that very object.
    """
    try:
        await pages.open("Artifact storage", settings.listen, _artifacts, settings.hosts)
    except UsageError as error:
        if settings.listen is not ARTIFACTS:
            raise
        log.warning(f"The HTTP artifact storage is off: {error}; set artifacts.listen to another")


def _named(make: MakeApp, hosts: Sequence[str], coordinator: Coordinator, sight: Sighting) -> Any:
    return import_module("builder.web.hosts").named(make(coordinator, sight), hosts)


def _guarded(app: Any, check: CheckPage) -> Any:
    return import_module("builder.web.guarded").guarded(app, check)


def _metrics(coordinator: Coordinator, sight: Sighting) -> Any:
    module = import_module("builder.web.metrics")
    return module.MetricsPages(
        coordinator.metrics.registry,
        coordinator.is_ready,
        lambda: coordinator.status().problems,
        sight,
    ).app()


def _artifacts(coordinator: Coordinator, _sight: Sighting) -> Any:
    module = import_module("builder.web.artifacts")
    stores = coordinator.stores

    def shelf_of(instance: str) -> Any:
        return module.Shelf(stores.of(instance).blobs, stores.of(instance).records)

    quotas = coordinator.quotas
    return module.Artifacts(shelf_of, quotas.take, quotas.take_result).app()
