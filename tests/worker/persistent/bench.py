"""What the tests of persistent workers share: a runner over a real sandbox, and the tool."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.base.digest import Digest
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.sandbox.interface import Limits, Sandbox
from builder.stores.memory import MemoryBlobStore
from builder.telemetry.clock import SystemClock
from builder.worker.inputs import InputCache
from builder.worker.job import Job, say_nothing
from builder.worker.persistent.pool import Recycling
from builder.worker.persistent.workers import PersistentWorkers, open_persistent
from builder.worker.runner import ActionRunner, Policy
from tests.sandbox.support import PYTHON
from tests.worker.kit import MIB, memory, put

TOOL = Path(__file__).parent / "tool.py"
ASKED = {"supports-workers": "1"}
JSON = {**ASKED, "requires-worker-protocol": "json"}
CANCELLABLE = {**JSON, "supports-worker-cancellation": "1"}
TOGETHER = {
    **CANCELLABLE,
    "supports-multiplex-workers": "1",
    "supports-multiplex-sandboxing": "1",
}


@dataclass(frozen=True)
class Told:
    """A response, with what it says of the program that served it."""

    response: pb.ExecuteResponse
    outputs: Mapping[str, bytes]
    worker: workers_pb2.PersistentWorker
    proof: workers_pb2.ExecutionProof

    @property
    def out(self) -> Any:
        """What the tool wrote to `out`."""
        return json.loads(self.outputs["out"])

    @property
    def stderr(self) -> str:
        return self.response.result.stderr_raw.decode()


class PersistentBench:
    """Actions of one tool. Their input trees are `tool/tool.py`, marked, the request's `args`, and
    what is given."""

    def __init__(self, runner: ActionRunner, blobs: MemoryBlobStore, workers: PersistentWorkers):
        self.runner, self.blobs, self.workers = runner, blobs, workers

    async def job(
        self,
        *arguments: str,
        platform: Mapping[str, str] = ASKED,
        files: Mapping[str, bytes] | None = None,
        flags: tuple[str, ...] = (),
        outputs: tuple[str, ...] = ("out",),
        marked: bool = True,
        tool: bytes = TOOL.read_bytes(),
        timeout_s: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Job:
        given = {"args": "\n".join(arguments).encode(), **(files or {})}
        root = pb.Directory()
        for name, data in sorted(given.items()):
            root.files.add(name=name, digest=to_proto(await put(self.blobs, data)))
        below = pb.Directory()
        node = below.files.add(name="tool.py", digest=to_proto(await put(self.blobs, tool)))
        if marked:
            node.node_properties.properties.add(name="bazel_tool_input")
        digest = await put(self.blobs, below.SerializeToString())
        root.directories.add(name="tool", digest=to_proto(digest))
        command = pb.Command(
            arguments=[PYTHON, "tool/tool.py", *words(platform), *flags, "@args"],
            output_paths=outputs,
        )
        for name, value in sorted((environment or {}).items()):
            command.environment_variables.add(name=name, value=value)
        action = pb.Action(
            command_digest=to_proto(await put(self.blobs, command.SerializeToString())),
            input_root_digest=to_proto(await put(self.blobs, root.SerializeToString())),
        )
        for name, value in sorted(platform.items()):
            action.platform.properties.add(name=name, value=value)
        return Job(await put(self.blobs, action.SerializeToString()), timeout_s=timeout_s)

    async def run(self, *arguments: str, **more: Any) -> Told:
        return await self.told(await self.job(*arguments, **more))

    async def told(self, job: Job) -> Told:
        response = await self.runner.run(job, say_nothing)
        proof = workers_pb2.ExecutionProof()
        assert response.result.execution_metadata.auxiliary_metadata[0].Unpack(proof)
        outputs = {
            file.path: await self.blobs.get(Digest(file.digest.hash, file.digest.size_bytes))
            for file in response.result.output_files
        }
        return Told(response, outputs, proof.persistent_worker, proof)


def words(platform: Mapping[str, str]) -> list[str]:
    """What the tool has to know of the protocol."""
    found = ["json"] if platform.get("requires-worker-protocol") == "json" else []
    found += ["cancellable"] if "supports-worker-cancellation" in platform else []
    return found + (["together"] if "supports-multiplex-sandboxing" in platform else [])


@asynccontextmanager
async def persistent_bench(
    base: Path, sandbox: Sandbox, recycling: Recycling | None = None, limits: Limits | None = None
) -> AsyncIterator[PersistentBench]:
    blobs = memory()
    async with open_persistent(sandbox, base / "actions", recycling or Recycling()) as workers:
        runner = ActionRunner(
            "worker-1",
            blobs,
            sandbox,
            InputCache(base / "cache", 64 * MIB),
            base / "actions",
            SystemClock(),
            Policy(limits=limits or Limits(grace_s=0.5)),
            persistent=workers,
        )
        yield PersistentBench(runner, blobs, workers)
