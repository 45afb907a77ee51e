"""Workers as processes of this very program, beside the coordinator."""

import os
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import builder
from builder.assembly.worker import own_cores
from builder.config.kinds import UNIX
from builder.config.settings import Settings
from builder.providers.interface import Provider
from builder.providers.local import LocalProvider

KILL_AFTER_S = 10.0  # beyond its own drain grace
PATIENCE_S = 60.0  # many starting at once on few cores take long
ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - to dial, not to bind


def own_program() -> list[str]:
    """The command that starts this very program again."""
    if zipfile.is_zipfile(sys.argv[0]):
        return [sys.executable, os.path.abspath(sys.argv[0])]
    return [sys.executable, "-m", "builder"]


def child_environment(settings: Settings) -> dict[str, str]:
    """Ours, with what the command line of a worker does not say.

    Children speak up from WARNING on, so that the service's own lines stand alone; with DEBUG
    they tell everything.
    """
    environment = dict(os.environ)
    beside = str(Path(builder.__file__).parent.parent)
    path = [beside, *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    level = settings.logging.level
    environment["BUILDER_LOG_LEVEL"] = "warning" if level == "info" else level
    environment["BUILDER_LOG_FORMAT"] = settings.logging.format
    if settings.tracing.endpoint is not None:
        environment["BUILDER_TRACING"] = settings.tracing.endpoint
    environment["BUILDER_WORK_STEALING"] = str(settings.scheduler.work_stealing).lower()
    for name in ("BUILDER_WORKER_NAME", "BUILDER_COORDINATOR", "BUILDER_SCRATCH"):
        environment.pop(name, None)  # for one worker or for clients; the pool names its own
    if settings.coordinator.join_token is not None:
        environment["BUILDER_JOIN_TOKEN"] = settings.coordinator.join_token.reveal()
    return environment


def dialled(address: str) -> str:
    """How a process on this host reaches what is bound to `address`."""
    if address.startswith(UNIX):
        return address
    host, _, port = address.rpartition(":")
    return f"{ANYWHERE.get(host, host)}:{port}"


class LocalMachines:
    """The cores are shared out among as many workers as there may be."""

    start_up_guess_s = 1.0
    wait_s = 2.0

    def __init__(self, settings: Settings, config: str | None, *, first: bool = True) -> None:
        pool = settings.pool
        self._first = first
        most = pool.max if pool.autoscale else pool.target or pool.min
        self.slots = settings.worker.slots or max(1, own_cores() // max(1, most))
        self.patience_s = max(PATIENCE_S, settings.providers.local.start_timeout)
        self._settings = settings
        self._config = config
        self._provider: LocalProvider | None = None

    @asynccontextmanager
    async def open(
        self, address: str, exited: Callable[[str, str], None]
    ) -> AsyncIterator[Provider]:
        coordinator = dialled(address)
        self._provider = LocalProvider(
            lambda name: self._argv(name, coordinator),
            self._settings.worker.drain_grace + KILL_AFTER_S,
            exited,
            child_environment(self._settings),
            "worker" if self._first else f"{self._settings.pool.name}-worker",
        )
        async with self._provider as provider:
            yield provider

    def is_own(self, worker: str) -> bool:
        return self._provider is not None and worker in self._provider.pids()

    def _argv(self, name: str, coordinator: str) -> list[str]:
        scratch = Path(self._settings.worker.scratch) / name
        argv = [*own_program(), "worker", "--coordinator", coordinator, "--name", name]
        argv += ["--slots", str(self.slots), "--scratch", str(scratch), "--exit-with-stdin"]
        argv += [] if self._first else ["--pool", self._settings.pool.name]
        return [*argv, "--config", self._config] if self._config is not None else argv
