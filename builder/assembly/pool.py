"""The pool of local workers: which command they are, and who keeps them."""

import os
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import trio

import builder
from builder.assembly.worker import own_cores
from builder.config.settings import Settings
from builder.pool.keeper import PoolKeeper, hold
from builder.providers.local import LocalProvider
from builder.reapi.pb import control_pb2
from builder.scale.autoscaler import Autoscaler, Bounds
from builder.telemetry.log import get_logger

log = get_logger()
KILL_AFTER_S = 10.0  # beyond its own drain grace
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
    for name in ("BUILDER_WORKER_NAME", "BUILDER_COORDINATOR", "BUILDER_SCRATCH"):
        environment.pop(name, None)  # for one worker or for clients; the pool names its own
    if settings.coordinator.join_token is not None:
        environment["BUILDER_JOIN_TOKEN"] = settings.coordinator.join_token.reveal()
    return environment


def dialled(address: str) -> str:
    """How a process on this host reaches what is bound to `address`."""
    host, _, port = address.rpartition(":")
    return f"{ANYWHERE.get(host, host)}:{port}"


class LocalPool:
    """Worker processes on this host, as many as the settings' minimum (or target)."""

    def __init__(self, settings: Settings, config: str | None) -> None:
        self._settings = settings
        self._config = config
        self._address = ""
        self._vanished: Callable[[str, str], None] = lambda _name, _why: None
        self.size = settings.pool.target or settings.pool.min
        self.size = max(settings.pool.min, min(settings.pool.max, self.size))
        self.provider = LocalProvider(
            self._argv,
            settings.worker.drain_grace + KILL_AFTER_S,
            self._exited,
            child_environment(settings),
        )
        bounds = Bounds(minimum=self.size, maximum=settings.pool.max)
        machine = Autoscaler(bounds, hold(self.size), trio.current_time())
        self.keeper = PoolKeeper(self.provider, machine, random.random)

    def joins(self, address: str, vanished: Callable[[str, str], None]) -> None:
        """Where the coordinator listens, and whom to tell that a worker is gone for good.

        To be said before the pool is run.
        """
        self._address = dialled(address)
        self._vanished = vanished

    def worker_joined(self, name: str) -> None:
        """For the coordinator: a worker, ours or another, is welcome."""
        self.keeper.worker_joined(name)
        tell = log.debug if name in self.provider.pids() else log.info
        tell("Worker joined", worker=name)

    def state(self) -> control_pb2.PoolState:
        pool, now = self._settings.pool, self.keeper.snapshot()
        return control_pb2.PoolState(
            minimum=pool.min,
            maximum=pool.max,
            desired=now.desired,
            autoscale=pool.autoscale,
            decision=now.decision,
        )

    def _exited(self, name: str, how: str) -> None:
        self._vanished(name, f"its process ended ({how})")
        self.keeper.look()

    def _argv(self, name: str) -> list[str]:
        slots = self._settings.worker.slots or max(1, own_cores() // max(1, self.size))
        scratch = Path(self._settings.worker.scratch) / name
        argv = [*own_program(), "worker", "--coordinator", self._address, "--name", name]
        argv += ["--slots", str(slots), "--scratch", str(scratch), "--exit-with-stdin"]
        return [*argv, "--config", self._config] if self._config is not None else argv
