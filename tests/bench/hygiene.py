"""Actions that are cancelled, time out, leave daemons, and lose their init, zygote or broker by
SIGKILL at random moments, every other one of a trust domain whose actions have the sandboxes of
each other: what they leave behind, which must be nothing.

`python -m tests.bench hygiene --actions 10000` is the whole of it; every figure that begins with
`left_` must be 0. The random choices are those of one seed.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import trio

from builder.host.removal import remove_tree
from builder.sandbox.interface import Limits, Sandbox, SandboxError, SandboxSpec
from builder.sandbox.native import open_sandbox
from tests.sandbox.leftovers import Census, descendants, groups

ACTIONS = 1000
PARALLEL = 4
SEED = 5
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
SCRIPTS = (
    "true",
    "echo 1 > a; (sleep 60 &); setsid sleep 60 & exit 0",
    "mkdir -p a/b; chmod 0 a; mkfifo f; ln -s / l",
    "trap '' TERM; sleep 60 & sleep 60 & wait",
    "echo 1 > /tmp/x; echo 2 > /dev/shm/y; exec sleep 60",
)
ENDLESS = 3  # scripts from here on end by a timeout only
KILLS = {"init": 40, "zygote": 400, "broker": 400}  # one of so many actions


class Hygiene:
    """Runs actions, kills at random, and remembers whom it has seen."""

    def __init__(self, sandbox: Sandbox, base: Path, actions: int, nursery: trio.Nursery) -> None:
        self._sandbox, self._base, self._left = sandbox, base, actions
        self._nursery = nursery
        self._random = random.Random(SEED)
        self._number = 0
        self.brokers: set[int] = set()
        self.ends: Counter[str] = Counter()

    async def work(self, inputs: Path) -> None:
        while self._left > 0:
            self._left -= 1
            self._number += 1
            scratch = self._base / f"{self._number}"
            scratch.mkdir()
            self.brokers.add(self._sandbox.broker_pid)  # type: ignore[attr-defined]  # native's
            try:
                self.ends[await self._one(inputs, scratch)] += 1
            except SandboxError:
                self.ends["error"] += 1
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(remove_tree, str(scratch))

    async def _one(self, inputs: Path, scratch: Path) -> str:
        script = self._random.randrange(len(SCRIPTS))
        wall_s = self._random.uniform(0.001, 0.05) if script >= ENDLESS else 20.0
        limits = Limits(wall_s=wall_s, grace_s=0.01, memory_bytes=128 << 20)
        argv = ("/bin/sh", "-c", SCRIPTS[script])
        domain = self._random.choice(("", "ci"))
        spec = SandboxSpec(
            argv, str(inputs), str(scratch), ENVIRONMENT, limits=limits, reuse=domain
        )
        with trio.move_on_after(self._patience_s()):
            for victim, odds in KILLS.items():
                if self._random.randrange(odds) == 0:
                    self._nursery.start_soon(self._kill, victim, self._random.uniform(0, 0.005))
            async with await self._sandbox.run(spec) as finished:
                self.ends["reused"] += finished.exit.usage.reused > 0
                return finished.exit.outcome.value
        return "cancelled"

    def _patience_s(self) -> float:
        """One action in five is cancelled at some early moment."""
        return self._random.uniform(0, 0.01) if self._random.random() < 0.2 else float("inf")

    async def _kill(self, victim: str, after_s: float) -> None:
        await trio.sleep(after_s)
        broker: int = self._sandbox.broker_pid  # type: ignore[attr-defined]  # native's own
        if not broker:
            return
        self.brokers.add(broker)
        found = [broker] if victim == "broker" else named(f"bldr-{victim}", broker)
        if found:
            self.ends[f"killed_{victim}"] += 1
            kill(self._random.choice(found))


def named(name: str, broker: int) -> list[int]:
    """Those of a broker's processes that have this name, in order."""
    found = []
    for pid in sorted(descendants(broker)):
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
        except OSError:
            continue
    return found


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


async def measure(base: Path, actions: int) -> dict[str, float]:
    inputs, scratch = base / "inputs", base / "scratch"
    inputs.mkdir()
    scratch.mkdir()
    await trio.to_thread.run_sync(scratch.exists)  # the pool's first thread
    before, started = Census.of(scratch), time.perf_counter()
    async with open_sandbox(ready=PARALLEL, reuse=True) as sandbox:
        async with trio.open_nursery() as nursery:
            hygiene = Hygiene(sandbox, scratch, actions, nursery)
            for _ in range(PARALLEL):
                nursery.start_soon(hygiene.work, inputs)
    took = time.perf_counter() - started
    after = Census.of(scratch)
    left = {
        "left_mounts": after.mounts - before.mounts,
        "left_processes": len(after.processes - before.processes),
        "left_descriptors": after.descriptors - before.descriptors,
        "left_directories": after.directories - before.directories,
        "left_groups": len(groups(*hygiene.brokers)),
    }
    figures = {"actions": actions, "per_second": round(actions / took, 1)}
    return figures | left | dict(sorted(hygiene.ends.items()))


def run(*options: str) -> tuple[dict[str, float], dict[str, float]]:
    parser = argparse.ArgumentParser(prog="python -m tests.bench hygiene")
    parser.add_argument("--actions", type=int, default=ACTIONS)
    actions = parser.parse_args(options).actions
    with tempfile.TemporaryDirectory(prefix="builder-hygiene-") as base:
        return trio.run(measure, Path(base), actions), {}
