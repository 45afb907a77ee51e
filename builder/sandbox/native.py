"""Actions in namespaces of their own, without any program but this interpreter.

The trio side: from a spec to an Exit, by a broker (`brokerage`) that is started when the first
action needs it, and again when it has died.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import trio

from builder.base.errors import UsageError
from builder.base.moments import format_moment
from builder.sandbox import audit, canonical, outcome, wallclock
from builder.sandbox.brokerage import Broker, Run
from builder.sandbox.finished import OpenTree
from builder.sandbox.interface import (
    Audit,
    AuditLevel,
    Exit,
    Finished,
    Network,
    Sandbox,
    SandboxError,
    SandboxRefusedError,
    SandboxSpec,
)
from builder.sandbox.kernel.quota import exceeds
from builder.sandbox.kernel.syscalls import MACHINE
from builder.sandbox.kernel.worktree import LAYER
from builder.sandbox.limits import AFFINITY, Cpus, borne
from builder.sandbox.options import Options, programs_kept, refuse_in_inputs, refuse_missing
from builder.sandbox.proxy import Proxy
from builder.sandbox.roots import Roots
from builder.sandbox.weak import WeakSandbox

BACKEND, WITH_GROUPS = "namespaces", "namespaces+cgroup"


class FinishedAction(OpenTree):
    """An action that has ended, with its work tree.

    Its runner reports when all of its processes have gone; the mounts follow a moment later.
    """

    async def release(self) -> None:
        if os.getuid() != 0:
            unlock_layer(os.path.dirname(self.exit.stdout))


def unlock_layer(scratch: str) -> None:
    """Let an ordinary user remove what the overlay has made without permissions."""
    with contextlib.suppress(FileNotFoundError):
        path = os.path.join(scratch, "layer")
        for name in ("work", "incompat", "volatile"):
            path = os.path.join(path, name)
            os.chmod(path, 0o700)


class NativeSandbox:
    """See `interface.Sandbox`. Make it by `open_sandbox`."""

    def __init__(self, options: Options, nursery: trio.Nursery) -> None:
        self._options, self._nursery = options, nursery
        self._broker: Broker | None = None
        self._starting = trio.Lock()
        self._number = 0
        self._cpus = Cpus(sorted(os.sched_getaffinity(0)))
        self._roots = Roots(self._rooted)
        self.features: tuple[str, ...] = ()
        self.problems: tuple[str, ...] = ()

    @property
    def backend(self) -> str:
        return WITH_GROUPS if "memory" in self.features else BACKEND

    @property
    def guarantees(self) -> tuple[str, ...]:
        return outcome.guarantees(self.features, Network.NONE)

    @property
    def broker_pid(self) -> int:
        """For operators and tests; 0 when none runs."""
        return self._broker.pid if self._broker is not None and self._broker.alive else 0

    def _rooted(self, image: tuple[str, ...], inputs: bool) -> "NativeSandbox":
        return NativeSandbox(replace(self._options, layers=image, rooted=inputs), self._nursery)

    async def start(self) -> Broker:
        """The live broker, started if need be. Raises SandboxError."""
        if self._broker is not None and self._broker.alive:
            return self._broker
        async with self._starting:
            if self._broker is None or not self._broker.alive:
                broker = Broker(self._options)
                try:
                    await broker.come_up()
                except trio.Cancelled:  # whoever wanted it first does not any more
                    await broker.end()
                    raise
                self._broker = broker
                self.features, self.problems = broker.features, broker.problems
                self._nursery.start_soon(broker.listen)
            return self._broker

    async def close(self) -> None:
        """End everything that runs and wait until it is gone."""
        await self._roots.close()
        if self._broker is not None and self._broker.alive:
            await self._broker.end()

    async def run(self, spec: SandboxSpec) -> Finished:
        """See `interface.Sandbox.run`."""
        refuse_in_inputs(spec)
        if (spec.layers, spec.inputs_as_root) != (self._options.layers, self._options.rooted):
            return await self._roots.run(spec)
        wish = outcome.wish(spec)
        if not self._options.reuse:
            wish["reuse"] = ""
        broker = await self.start()
        held = outcome.guarantees(broker.features, spec.network)
        refuse_missing(spec, held, broker.problems)
        kept = programs_kept(spec, held)
        preload = None
        if spec.clock is not None:
            preload = wallclock.PLACE, wallclock.library(MACHINE, spec.clock)
            kept["wall-clock"] = format_moment(spec.clock)
        if spec.audit is AuditLevel.CHEAP and os.getuid() != 0:
            raise SandboxRefusedError(
                "the cheap audit needs root (fanotify on mounts); ask for audit=full, "
                "which every user has"
            )
        self._number += 1
        run = Run(broker, self._number)
        try:
            enforced, wish["rlimits"], cpus = borne(wish, broker.features.__contains__, self._cpus)
            await run.begin(wish)
            job = outcome.job(spec)  # while the broker makes the work tree
            job |= {"rlimits": wish["rlimits"], "cpus": cpus, "reuse": bool(wish["reuse"])}
            job["preload"] = preload
            enforced |= kept
            job["stays"] = enforced.get("cpu") == AFFINITY
            run.tell(job, spec.scratch)
            name = canonical.digest(spec)
            broker.look_ahead()
            proxy = Proxy(spec.hosts) if spec.network is Network.HOSTS else None
            if spec.dialogue is not None and (pid := await run.started()) > 0:
                spec.dialogue.started(pid)
            told = await (run.report() if proxy is None else run.report_through(proxy))
            if told is None or told.ended_early or spec.audit is AuditLevel.CHEAP:
                await run.over()
            if told is None and run.facts is None:
                raise SandboxError(run.error or "the sandbox gave no answer")
            facts = outcome.facts(told, run.facts) | {"enforced": enforced, "spec": name}
            blocked = () if proxy is None else tuple(proxy.filter.blocked)
            done = await self._conclude(spec, facts, held, blocked)
        except BaseException:
            await run.abandon()
            raise
        finally:
            run.close()
        return FinishedAction(done, run.root_fd)

    async def _conclude(
        self,
        spec: SandboxSpec,
        facts: dict[str, Any],
        held: tuple[str, ...],
        blocked: tuple[str, ...],
    ) -> Exit:
        limits = spec.limits
        if facts["overlay"] and (limits.disk_bytes, limits.disk_files) != (None, None):
            facts["enforced"]["disk"] = "watched"
            facts["disk_full"] |= await self._is_over(spec)
        found = None if spec.audit is None else await self._audit(spec, blocked)
        return outcome.conclude(spec, facts, self.backend, held, found, blocked)

    async def _is_over(self, spec: SandboxSpec) -> bool:
        limits, layer = spec.limits, os.path.join(spec.scratch, LAYER)
        return await trio.to_thread.run_sync(exceeds, layer, limits.disk_bytes, limits.disk_files)

    async def _audit(self, spec: SandboxSpec, blocked: tuple[str, ...]) -> Audit | None:
        return await trio.to_thread.run_sync(audit.read, spec, self._options.read_only, blocked)


@contextlib.asynccontextmanager
async def open_sandbox(
    *,
    read_only: Sequence[str] = (),
    ready: int = 2,
    action_uid: int = 60999,
    root: str = "",
    best_effort: bool = False,
    reuse: bool = False,
) -> AsyncIterator[Sandbox]:
    """A sandbox for as long as the context lasts.

    `root` is a host directory whose system directories actions see instead of the host's. With
    `reuse` an action that names a trust domain may have the sandbox of another one of the same.
    Raises SandboxError when this host has none; with `best_effort` actions then run with no more
    than rlimits, and every result says so.
    """
    options = Options(tuple(read_only), ready, action_uid, checked_root(root), reuse=reuse)
    try:
        async with trio.open_nursery() as nursery:
            native = NativeSandbox(options, nursery)
            try:
                yield await best(native, options, best_effort)
            finally:
                await native.close()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:  # the body's own error, as it was raised
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


def checked_root(root: str) -> str:
    """Raises UsageError for a directory that is no system."""
    if not root:
        return ""
    root = os.path.realpath(root)
    if not any(os.path.isdir(os.path.join(root, name)) for name in ("usr", "bin")):
        raise UsageError(
            f"sandbox.root {root} holds no system: it has neither usr nor bin; make one by "
            "`debootstrap stable DIR`, or unpack an image there"
        )
    return "" if root == "/" else root


async def best(native: NativeSandbox, options: Options, best_effort: bool) -> Sandbox:
    """The native sandbox where it starts, else what the caller accepts instead."""
    try:
        await native.start()
    except SandboxError as error:
        if not best_effort or options.root:  # without mounts the host's own is all there is
            raise
        return WeakSandbox(options, str(error))
    return native
