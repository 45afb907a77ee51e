"""A no-op action from Execute to its result at the client, one in flight at a time.

The service is a process of its own with two workers, as `builder serve` starts it; the action is
`/bin/true` in the sandbox with a fresh salt, so that nothing comes from a cache. `bare_ms_p50` is
what it costs here to start the same program without anything around it.
"""

import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import trio

from builder.base.digest import Digest, digest_of
from builder.net.channel import Channel
from builder.reapi.digests import to_proto
from builder.reapi.pb import operations_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores.remote import RemoteBlobStore
from tests.e2e.service import running

EXECUTE = "/build.bazel.remote.execution.v2.Execution/Execute"
WARM_UP = 30
RUNS = 300

Numbers = dict[str, float]


def run() -> tuple[Numbers, Numbers]:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as service:
        times = trio.run(partial(measure, service.reapi))
    bare = [bare_start() for _ in range(50)]
    p50, p99 = statistics.median(times), sorted(times)[int(len(times) * 0.99) - 1]
    base = statistics.median(bare)
    figures = {
        "noop_ms_p50": round(p50 * 1e3, 2),
        "noop_ms_p99": round(p99 * 1e3, 2),
        "noop_ms_min": round(min(times) * 1e3, 2),
        "bare_ms_p50": round(base * 1e3, 2),
    }
    return figures, {"noop_vs_bare": round(p50 / base, 1)}


def bare_start() -> float:
    start = time.perf_counter()
    subprocess.run(["/bin/true"], check=True)
    return time.perf_counter() - start


async def measure(address: str) -> list[float]:
    async with Channel(address) as channel:
        digests = await upload(channel)
        times = [await execute(channel, digest) for digest in digests]
    return times[WARM_UP:]


async def upload(channel: Channel) -> list[Digest]:
    """As many no-op actions as are run, each with a digest of its own."""
    blobs = RemoteBlobStore(channel)
    command = pb.Command(arguments=["/bin/true"]).SerializeToString()
    root = pb.Directory(files=[]).SerializeToString()
    for data in (command, root):
        await blobs.put(digest_of(data), data)
    digests = []
    for number in range(WARM_UP + RUNS):
        action = pb.Action(
            command_digest=to_proto(digest_of(command)),
            input_root_digest=to_proto(digest_of(root)),
            tools={"number": str(number)},
        ).SerializeToString()
        digests.append(digest_of(action))
        await blobs.put(digests[-1], action)
    return digests


async def execute(channel: Channel, digest: Digest) -> float:
    request = pb.ExecuteRequest(action_digest=to_proto(digest)).SerializeToString()
    start = time.perf_counter()
    async with channel.stream(EXECUTE) as call:
        await call.send(request)
        await call.done_sending()
        while (data := await call.receive()) is not None:
            operation = operations_pb2.Operation.FromString(data)
            if operation.done:
                elapsed = time.perf_counter() - start
    response = pb.ExecuteResponse()
    assert operation.response.Unpack(response)
    assert not response.cached_result
    assert (response.status.code, response.result.exit_code) == (0, 0), response
    return elapsed
