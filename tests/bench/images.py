"""Container images: the first action in one, and every later one beside the host's own system.

The image has a small system, 2,000 files of source size, and one large file. GNU tar unpacking the
same layers, without verifying anything, is the measure of the cold part.
"""

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import trio

from builder.images.cache import LayerCache
from builder.images.endpoint import Registry
from builder.images.images import Allowed, Images
from builder.sandbox.interface import Sandbox, SandboxSpec
from builder.sandbox.native import open_sandbox
from tests.images.pictures import Picture, entry, layout, picture, system, tar
from tests.images.registry import PROGRAM, running

Numbers = dict[str, float]
GIB, ACTIONS = 1 << 30, 300


def sample() -> Picture:
    small = (entry(f"src/{n // 20}/{n}", os.urandom(4096) * 2) for n in range(2000))
    return picture(system(), tar(*small), tar(entry("large", os.urandom(64 << 20))))


async def cold(place: Path, name: str, allowed: Allowed) -> float:
    """Seconds from the name to a directory for each layer."""
    images = Images(LayerCache(str(place), GIB), allowed, GIB)
    started = time.perf_counter()
    async with images.checkout(name):
        took_s = time.perf_counter() - started
    images.close()
    return took_s


def by_tar(place: Path, one: Picture) -> float:
    started = time.perf_counter()
    for number, layer in enumerate(one.packed):
        target = place / str(number)
        target.mkdir(parents=True)
        command = ["tar", "-xzf", "-", "-C", str(target)]
        subprocess.run(command, input=layer, check=True)
    return time.perf_counter() - started


async def act(sandbox: Sandbox, place: Path, layers: tuple[str, ...]) -> float:
    """Milliseconds of /bin/sh that does nothing."""
    scratch = tempfile.mkdtemp(dir=place)
    spec = SandboxSpec(("/bin/sh", "-c", ":"), str(place / "inputs"), scratch, layers=layers)
    started = time.perf_counter()
    async with await sandbox.run(spec) as finished:
        took_ms = (time.perf_counter() - started) * 1000
        assert finished.exit.exit_code == 0, finished.exit
    return took_ms


async def warm(place: Path, name: str, allowed: Allowed) -> Numbers:
    """Medians, taken in turn; and what it takes to find that an image is there."""
    (place / "inputs").mkdir()
    images = Images(LayerCache(str(place / "warm"), GIB), allowed, GIB)
    host, imaged, looked = list[float](), list[float](), list[float]()
    async with open_sandbox(ready=2) as sandbox:
        for _ in range(ACTIONS):
            host.append(await act(sandbox, place, ()))
            started = time.perf_counter()
            async with images.checkout(name) as image:
                looked.append((time.perf_counter() - started) * 1e6)
                imaged.append(await act(sandbox, place, image.layers))
    images.close()
    found = {"host_ms_p50": host, "image_ms_p50": imaged, "checkout_us_p50": looked}
    return {key: statistics.median(values[5:]) for key, values in found.items()}


def run() -> tuple[Numbers, Numbers]:
    one = sample()
    figures: Numbers = {"megabytes": sum(map(len, one.packed)) / 1e6}
    with tempfile.TemporaryDirectory(prefix="builder-images-") as name:
        place = Path(name)
        local = f"oci:{layout(place / 'layouts/a', {'': one})}"
        allowed = Allowed(layouts=(name,))
        figures["tar_s"] = by_tar(place / "tar", one)
        figures["layout_cold_s"] = trio.run(cold, place / "cold", local, allowed)
        if PROGRAM is not None:
            with running(place / "registry") as registry:
                registry.push("a/b", "1", one)
                known = Allowed((Registry(registry.host, insecure=True),))
                remote = f"{registry.host}/a/b:1"
                figures["registry_cold_s"] = trio.run(cold, place / "pulled", remote, known)
        figures |= trio.run(warm, place, local, allowed)
    ratios = {"image_over_host": figures["image_ms_p50"] / figures["host_ms_p50"]}
    ratios["layout_over_tar"] = figures["layout_cold_s"] / figures["tar_s"]
    if "registry_cold_s" in figures:
        ratios["registry_over_tar"] = figures["registry_cold_s"] / figures["tar_s"]
    return figures, ratios
