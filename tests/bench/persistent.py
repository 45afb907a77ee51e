"""A Java compiler that stays, beside one that is started for each action; both in the sandbox.

The tool is `examples/persistent-worker/Javac.java`. Each action compiles one small class of its
own, by a worker's runner with its store in memory, one after the other; the first few, in which the
compiler warms up, do not count. `alone` is the same action without the properties that ask for a
persistent worker. Needs javac.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import trio

from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.sandbox.native import open_sandbox
from builder.stores.memory import MemoryBlobStore
from builder.telemetry.clock import SystemClock
from builder.worker.inputs import InputCache
from builder.worker.job import Job, say_nothing
from builder.worker.persistent.pool import Recycling
from builder.worker.persistent.workers import open_persistent
from builder.worker.runner import ActionRunner
from tests.worker.kit import MIB, put

TOOL = Path(__file__).parent.parent.parent / "examples" / "persistent-worker" / "Javac.java"
WARM_UP, RUNS = 5, 30
ASKED = {"supports-workers": "1"}
SOURCE = "public class C{n} {{ long f(long x) {{ return x * {n}; }} }}\n"

Numbers = dict[str, float]


def run() -> tuple[Numbers, Numbers]:
    with tempfile.TemporaryDirectory() as folder:
        classes = Path(folder) / "classes"
        subprocess.run(["javac", "-d", str(classes), str(TOOL)], check=True)
        tool = {path.name: path.read_bytes() for path in classes.glob("*.class")}
        alone, served = trio.run(measure, Path(folder), tool)
    one, other = statistics.median(alone), statistics.median(served)
    figures = {
        "alone_ms_p50": round(one * 1e3, 1),
        "served_ms_p50": round(other * 1e3, 1),
        "served_ms_first": round(served[0] * 1e3, 1),
    }
    return figures, {"alone_over_served": round(one / other, 1)}


async def measure(base: Path, tool: Mapping[str, bytes]) -> tuple[list[float], list[float]]:
    """Seconds of each action: alone, and by the program that stays."""
    blobs = MemoryBlobStore(64 * MIB)
    async with (
        open_sandbox() as sandbox,
        open_persistent(sandbox, base / "actions", Recycling()) as workers,
    ):
        runner = ActionRunner(
            "bench",
            blobs,
            sandbox,
            InputCache(base / "cache", 64 * MIB),
            base / "actions",
            SystemClock(),
            persistent=workers,
        )
        found = []
        for asked in ({}, ASKED):
            times = []
            for number in range(WARM_UP + RUNS):
                job = await compilation(blobs, tool, number, asked)
                start = time.perf_counter()
                response = await runner.run(job, say_nothing)
                times.append(time.perf_counter() - start)
                check(response, bool(asked))
            found.append(times[WARM_UP:])
    return found[0], found[1]


def check(response: pb.ExecuteResponse, served: bool) -> None:
    """A bench of failures, or of something else, would be none."""
    proof = workers_pb2.ExecutionProof()
    response.result.execution_metadata.auxiliary_metadata[0].Unpack(proof)
    compiled = [file.path for file in response.result.output_files]
    if response.result.exit_code or not compiled or proof.persistent_worker.fell_back:
        sys.exit(f"the action failed: {response}")
    if bool(proof.persistent_worker.request) != served:
        sys.exit("the action was not run as it was to be")


async def compilation(
    blobs: MemoryBlobStore, tool: Mapping[str, bytes], number: int, asked: Mapping[str, str]
) -> Job:
    """An action that compiles one class."""
    below = pb.Directory()
    for name, data in sorted(tool.items()):
        node = below.files.add(name=name, digest=to_proto(await put(blobs, data)))
        node.node_properties.properties.add(name="bazel_tool_input")
    source = SOURCE.format(n=number).encode()
    flags = f"-d\nout\nC{number}.java\n".encode()
    root = pb.Directory()
    for name, data in sorted({f"C{number}.java": source, "args": flags}.items()):
        root.files.add(name=name, digest=to_proto(await put(blobs, data)))
    digest = await put(blobs, below.SerializeToString())
    root.directories.add(name="tool", digest=to_proto(digest))
    command = pb.Command(
        arguments=["/usr/bin/java", "-cp", "tool", "Javac", "@args"],
        output_paths=[f"out/C{number}.class"],
    )
    action = pb.Action(
        command_digest=to_proto(await put(blobs, command.SerializeToString())),
        input_root_digest=to_proto(await put(blobs, root.SerializeToString())),
        do_not_cache=True,
    )
    for name, value in asked.items():
        action.platform.properties.add(name=name, value=value)
    return Job(await put(blobs, action.SerializeToString()))
