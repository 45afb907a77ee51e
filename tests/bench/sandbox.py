"""The sandbox's price: /bin/true and gcc with every guarantee on, beside the peers in one run.

Figures are medians in milliseconds of single actions, from the spec to its result, unless they
say otherwise. `setup_ms` is all of the set-up that is in the way of an action; `inputs_ms` is the
part of it in which its work tree is made of the inputs and attached. `_user` is the same by an
ordinary user, in a process of its own; `_disk` has the scratch on the disk of temporary files
instead of in memory. `audit_gcc_overhead` is the time with the cheap audit over that without (1.1
is 10 %). The peers run by posix_spawn from the same process, one turn for each of ours, before it
and after it by turns: who comes first after a pause meets cold caches. `floor` is a C program that
does the same for each action from nothing (`sandbox_floor_parts`).
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from builder.sandbox.interface import AuditLevel, Sandbox, SandboxSpec
from builder.sandbox.native import open_sandbox
from tests.bench.sandbox_floor_parts import Floor

COUNT = 120
DISK_COUNT = 40
PEER_COUNT = 20  # of the slow ones
FLOOR_EVERY = 3
MEMORY = "/dev/shm"
LEVELS = tuple(AuditLevel) if os.getuid() == 0 else (AuditLevel.FULL,)
PARALLEL = 4
ROUNDS = 3  # of fresh and of reused sandboxes, in turn
# crun refuses hosts that have version 2's tree beside version 1's; the price is a shell's start
HIDE = "umount /sys/fs/cgroup/unified 2>/dev/null"
GCC_COUNT = 15
ANYBODY = 60998
FILES = 10_000
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
BWRAP = (
    *("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc"),
    *("--dev", "/dev", "--tmpfs", "/tmp", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin"),
    *("/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
)
SOURCE = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'


def median_ms(samples: list[float]) -> float:
    return round(statistics.median(samples) * 1000, 3)


class Bench:
    """Actions one after another, with the samples of each phase."""

    def __init__(self, sandbox: Sandbox, base: Path, reuse: str = "") -> None:
        self._sandbox, self._base, self._number, self._reuse = sandbox, base, 0, reuse
        self.reused = 0
        self.result: list[float] = []
        self.setup: list[float] = []
        self.inputs: list[float] = []
        self.cleanup: list[float] = []

    async def one(self, inputs: Path, *argv: str, audit: AuditLevel | None = None) -> None:
        self._number += 1
        scratch = self._base / f"s{self._number}"
        scratch.mkdir()
        wanted = SandboxSpec(
            argv, str(inputs), str(scratch), ENVIRONMENT, audit=audit, reuse=self._reuse
        )
        started = time.perf_counter()
        finished = await self._sandbox.run(wanted)
        told = time.perf_counter()
        async with finished:
            assert finished.exit.exit_code == 0, finished.exit
        ended = time.perf_counter()
        self.reused += finished.exit.usage.reused > 0
        self.result.append(told - started)
        self.setup.append(finished.exit.usage.setup_s)
        self.inputs.append(finished.exit.usage.inputs_s)
        self.cleanup.append(ended - told)
        await trio.to_thread.run_sync(shutil.rmtree, scratch)


def tree(base: Path, files: int) -> Path:
    """Inputs as a worker's cache has them."""
    inputs = base / f"inputs-{files}"
    for number in range(files):
        directory = inputs / f"d{number // 20}"
        if number % 20 == 0:
            directory.mkdir(parents=True)
        (directory / f"f{number}").write_bytes(b"x")
    inputs.mkdir(exist_ok=True)
    return inputs


async def measure(base: Path, ready: int) -> dict[str, float]:
    empty = tree(base, 0)
    source = base / "source"
    source.mkdir()
    (source / "a.c").write_text(SOURCE)
    started = time.perf_counter()
    async with open_sandbox(ready=ready) as sandbox:
        await Bench(sandbox, base_of(base, "cold")).one(empty, "/bin/true")
        cold = time.perf_counter() - started
        bench, gcc = Bench(sandbox, base_of(base, "one")), Bench(sandbox, base_of(base, "gcc"))
        peers, floor = Peers(source), Floor(base / "floor")
        for number in range(COUNT):  # in turn with the peers, so that all meet the same machine
            if number % 2 == 0:  # nor is one of them always the first after the pause
                await bench.one(empty, "/bin/true")
            peers.one("", "/bin/true")
            if number % 2 == 1:
                await bench.one(empty, "/bin/true")
            if number % (COUNT // PEER_COUNT) == 0:
                peers.containers(number)
            if number % FLOOR_EVERY == 0:
                floor.one()
            await trio.sleep(0.01)  # the next sandbox is made meanwhile, as between real actions
        audited = {level: Bench(sandbox, base_of(base, level.value)) for level in LEVELS}
        for _ in range(GCC_COUNT):
            await gcc.one(source, "gcc", "-c", "a.c", "-o", "a.o")
            await trio.sleep(0.02)  # as above: what an audit costs is not what comes after it
            for level, audits in audited.items():
                await audits.one(source, "gcc", "-c", "a.c", "-o", "a.o", audit=level)
                await trio.sleep(0.02)
            peers.one("_gcc", "gcc", "-c", "a.c", "-o", "peer.o")
        known = Bench(sandbox, base_of(base, "known"))
        many = tree(base, FILES)
        for _ in range(10):
            await known.one(many, "/bin/true")
            await trio.sleep(0.01)
        per_second = await sustained(sandbox, empty, base)
    reused = await measure_reused(base, ready, empty)
    floor.sustain(COUNT)
    return (
        {
            "result_ms_p50": median_ms(bench.result),
            "result_ms_p90": round(statistics.quantiles(bench.result, n=10)[-1] * 1000, 3),
            "setup_ms_p50": median_ms(bench.setup),
            "cleanup_ms_p50": median_ms(bench.cleanup),
            "gcc_ms_p50": median_ms(gcc.result),
            "inputs_ms_10000_known": median_ms(known.inputs),
            "inputs_ms_none": median_ms(bench.inputs),
            "setup_ms_10000_known": median_ms(known.setup),
            "per_second": per_second,
            "cold_start_ms": round(cold * 1000, 1),
        }
        | {f"gcc_audit_{k.value}_ms_p50": median_ms(v.result) for k, v in audited.items()}
        | peers.figures()
        | floor.figures()
        | reused
    )


async def measure_reused(base: Path, ready: int, inputs: Path) -> dict[str, float]:
    """Actions of one trust domain, each in the sandbox that another has left clean, and fresh ones
    in turn with them (`beside`): what the machine gives changes from one second to the next."""
    async with open_sandbox(ready=ready, reuse=True) as sandbox:
        bench = Bench(sandbox, base_of(base, "reused"), reuse="bench")
        fresh = Bench(sandbox, base_of(base, "fresh"))
        for _ in range(COUNT):
            for one in (bench, fresh):
                await one.one(inputs, "/bin/true")
                await trio.sleep(0.01)
        found: dict[str, list[float]] = {"": [], "bench": []}
        for _ in range(ROUNDS):
            for reuse, seen in found.items():
                seen.append(await sustained(sandbox, inputs, base, reuse))
    return {
        "result_reused_ms_p50": median_ms(bench.result),
        "result_beside_reused_ms_p50": median_ms(fresh.result),
        "setup_reused_ms_p50": median_ms(bench.setup),
        "reused_share": bench.reused / COUNT,
        "per_second_reused": statistics.median(found["bench"]),
        "per_second_beside_reused": statistics.median(found[""]),
    }


def base_of(base: Path, name: str) -> Path:
    (base / name).mkdir()
    return base / name


async def sustained(sandbox: Sandbox, inputs: Path, base: Path, reuse: str = "") -> float:
    """Actions a second, several at once."""
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(PARALLEL):
            bench = Bench(sandbox, Path(tempfile.mkdtemp(dir=base)), reuse)
            nursery.start_soon(repeat, bench, inputs)
    return round(PARALLEL * COUNT / (time.perf_counter() - started), 1)


async def repeat(bench: Bench, inputs: Path) -> None:
    for _ in range(COUNT):
        await bench.one(inputs, "/bin/true")


class Peers:
    """The same programs by the cheapest way there is, and by bubblewrap where it is installed."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._samples: dict[str, list[float]] = {}
        self._bwrap = shutil.which("bwrap")
        names = ("crun", "runc") if os.getuid() == 0 else ()
        self._runtimes = {name: path for name in names if (path := shutil.which(name))}
        self._bundle = Path(directory).parent / "bundle"
        if self._runtimes:
            make_bundle(self._bundle)

    def one(self, kind: str, *argv: str) -> None:
        self._spawn(f"posix_spawn{kind}", ("/usr/bin/env", "-C", self._directory, *argv), argv)
        if self._bwrap:
            inside = ("--bind", self._directory, "/w", "--chdir", "/w")
            self._spawn(f"bwrap{kind}", (*BWRAP, *inside, *argv), argv)

    def containers(self, number: int) -> None:
        """Container runtimes with a trivial bundle, by root only."""
        for name, path in self._runtimes.items():
            run = f"{path} run --bundle {self._bundle} builder-bench-{os.getpid()}-{number}"
            self._spawn(name, ("unshare", "--mount", "/bin/sh", "-c", f"{HIDE}; exec {run}"), ())

    def _spawn(self, name: str, argv: tuple[str, ...], plain: tuple[str, ...]) -> None:
        if name == "posix_spawn":
            argv = plain  # needs no directory
        started = time.perf_counter()
        pid = os.posix_spawnp(argv[0], argv, ENVIRONMENT)
        _, status = os.waitpid(pid, 0)
        self._samples.setdefault(name, []).append(time.perf_counter() - started)
        assert status == 0, argv

    def figures(self) -> dict[str, float]:
        return {f"{name}_ms_p50": median_ms(found) for name, found in self._samples.items()}


def make_bundle(bundle: Path) -> None:
    """An OCI runtime bundle that runs /bin/true with every namespace, over the host's /usr."""
    for name in ("usr", "proc", "dev"):
        (bundle / "rootfs" / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (bundle / "rootfs" / name).symlink_to(f"usr/{name}")
    spaces = ("pid", "network", "ipc", "uts", "mount")
    config = {
        "ociVersion": "1.0.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/"},
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {
                "destination": "/usr",
                "type": "bind",
                "source": "/usr",
                "options": ["rbind", "ro"],
            },
        ],
        "linux": {"namespaces": [{"type": kind} for kind in spaces]},
    }
    (bundle / "config.json").write_text(json.dumps(config))


def measured() -> dict[str, float]:
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="builder-bench-", dir=memory) as base:
        found = trio.run(measure, Path(base), 4)
    with tempfile.TemporaryDirectory(prefix="builder-bench-") as base:
        return found | trio.run(measure_disk, Path(base))


async def measure_disk(base: Path) -> dict[str, float]:
    async with open_sandbox(ready=4) as sandbox:
        bench = Bench(sandbox, base_of(base, "disk"))
        empty = tree(base, 0)
        for _ in range(DISK_COUNT):
            await bench.one(empty, "/bin/true")
            await trio.sleep(0.01)
    return {
        "result_ms_p50_disk": median_ms(bench.result),
        "setup_ms_p50_disk": median_ms(bench.setup),
    }


def as_user() -> dict[str, float]:
    """The same by an ordinary user; empty when this already is one."""
    if os.getuid() != 0:
        return {}
    done = subprocess.run(
        [sys.executable, "-B", "-m", "tests.bench.sandbox"],
        env=ENVIRONMENT | {"PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=Path(__file__).parents[2],
        user=ANYBODY,
        group=ANYBODY,
        extra_groups=[],
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return {f"{name}_user": value for name, value in found.items() if "spawn" not in name}


def run() -> tuple[dict[str, float], dict[str, float]]:
    figures = measured() | as_user()
    ratios = {
        "gcc_over_posix_spawn": figures["gcc_ms_p50"] / figures["posix_spawn_gcc_ms_p50"],
        "result_over_posix_spawn": figures["result_ms_p50"] / figures["posix_spawn_ms_p50"],
    }
    if "floor_ms_p50" in figures:
        ratios["result_over_floor"] = figures["result_ms_p50"] / figures["floor_ms_p50"]
        ratios["per_second_over_floor"] = figures["per_second"] / figures["floor_per_second"]
    ratios |= {
        name: figures[f"gcc_audit_{level}_ms_p50"] / figures["gcc_ms_p50"]
        for name, level in (("audit_gcc_overhead", "cheap"), ("audit_full_gcc_overhead", "full"))
        if f"gcc_audit_{level}_ms_p50" in figures
    }
    for user in ("", "_user"):
        for name in ("per_second{}", "result{}_ms_p50"):
            fresh, reused = name.format("_beside_reused") + user, name.format("_reused") + user
            if reused in figures:
                ratios[f"reused_over_fresh_{name.split('{')[0]}{user}"] = (
                    figures[reused] / figures[fresh]
                )
    for name in ("bwrap", "crun", "runc"):
        if f"{name}_ms_p50" in figures:
            ratios[f"{name}_over_ours"] = figures[f"{name}_ms_p50"] / figures["result_ms_p50"]
    return figures, {name: round(value, 3) for name, value in ratios.items()}


if __name__ == "__main__":
    print(json.dumps(measured()))
