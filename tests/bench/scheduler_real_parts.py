"""The real coordinator, as `builder --config` starts it, under a thousand fake workers.

Its speed is that of a closed loop: `DEPTH` calls are open all the time, so every action waits for
about as many others, and `closed_dispatch_ms_p99` tells of the queue and not of the coordinator.
By Little's law a call takes `closed_little_ms` from its asking to its end on the average, DEPTH by
the speed, however quickly each decision is made: with less of a queue it would be less.
`closed_few_...` are the same with `FEW` calls open: still a loop that keeps the coordinator busy.
The time to dispatch is that of an open loop: calls are due at a steady rate, `dispatch_at_per_s`,
whether or not earlier ones are answered, and it counts from when a call was due until its lease is
at a worker. The rate is a third of what the closed loop has reached, and `RATE` at most.
`client_busy` is the share of a core that the fake workers and the client took in the closed loop:
near 1 they are what was measured. `client_late_ms_p99` is by how much they asked too late in the
open one; on a machine that does other things, that is what the time to dispatch is made of.
"""

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import trio

from builder.base.digest import Digest, digest_of
from builder.net.channel import Channel
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores.remote import RemoteBlobStore
from tests.bench.scheduler_farm_parts import Farm

WORKERS = 1000
DEPTH = 400  # Execute calls that are open at a time
FEW = 16
COUNT = 4000  # actions of a round
ROUNDS = 3
RATE = 600.0  # actions a second at most, for the time to dispatch
STEADY = 3000
LINUX = (("ISA", "x86-64"), ("OSFamily", "linux"), ("Pool", "default"))
FILES = 8192
CONFIG = """\
role: coordinator
coordinator: {{listen: 127.0.0.1:{coordinator}}}
reapi: {{listen: 127.0.0.1:{reapi}}}
artifacts: {{enabled: false}}
metrics: {{enabled: false}}
store: {{path: {store}}}
logging: {{level: warning}}
"""


def free_ports(count: int) -> list[int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as two:
        return [one.getsockname()[1], two.getsockname()[1]][:count]


@contextmanager
def coordinator(folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """A process of its own, and the port of its API."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(FILES, hard)), hard))
    first, second = free_ports(2)
    config = folder / "builder.yaml"
    config.write_text(CONFIG.format(coordinator=first, reapi=second, store=folder / "store"))
    argv = [sys.executable, "-m", "builder", "--config", str(config)]
    with subprocess.Popen(argv, env={**os.environ, "BUILDER_LOG_LEVEL": "warning"}) as process:
        try:
            yield psutil.Process(process.pid), second
        finally:
            process.terminate()


async def put_actions(port: int, count: int) -> list[Digest]:
    """Actions that differ in their salt, and what they are made of."""
    found: dict[Digest, bytes] = {}
    command = pb.Command(arguments=["true"]).SerializeToString()
    root = pb.Directory().SerializeToString()
    actions = []
    for number in range(count):
        action = pb.Action(
            command_digest=to_proto(digest_of(command)),
            input_root_digest=to_proto(digest_of(root)),
            salt=b"%d" % number,
        )
        for name, value in LINUX:
            action.platform.properties.add(name=name, value=value)
        data = action.SerializeToString()
        actions.append(digest_of(data))
        found[actions[-1]] = data
    async with Channel(f"127.0.0.1:{port}") as channel:
        blobs = RemoteBlobStore(channel, "")
        for data in (command, root):
            await blobs.put(digest_of(data), data)
        limit = trio.CapacityLimiter(64)

        async def put(digest: Digest) -> None:
            async with limit:
                await blobs.put(digest, found[digest])

        async with trio.open_nursery() as nursery:
            for digest in actions:
                nursery.start_soon(put, digest)
    return actions


def wait_for(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            continue
        return


def requests_of(actions: list[Digest]) -> deque[tuple[str, bytes]]:
    return deque(
        (digest.hash, pb.ExecuteRequest(action_digest=to_proto(digest)).SerializeToString())
        for digest in actions
    )


def _ms(waits: list[float], percent: int) -> float:
    """Of sorted seconds."""
    return round(waits[len(waits) * percent // 100] * 1e3, 2)


def run() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name, coordinator(Path(name)) as (process, port):
        wait_for(port)
        actions = trio.run(put_actions, port, (ROUNDS + 1) * COUNT + STEADY + DEPTH)
        farm = Farm(port, WORKERS, requests_of(actions))
        farm.closed(DEPTH, DEPTH)
        before, own = process.cpu_times(), time.process_time()
        took = [farm.closed(DEPTH, COUNT) for _ in range(ROUNDS)]
        after, own = process.cpu_times(), time.process_time() - own
        cpu_s = after.user + after.system - before.user - before.system
        closed, best = sorted(farm.waits), COUNT / min(took)
        few_per_s = COUNT / farm.closed(FEW, COUNT)
        few = sorted(farm.waits)
        rate = min(RATE, best / 3)
        waits = farm.steady(rate, STEADY, DEPTH)
        late = sorted(farm.late)
        figures = {
            "real_actions_per_s": round(best),
            "real_actions_per_cpu_s": round(ROUNDS * COUNT / cpu_s),
            "client_busy": round(own / sum(took), 2),
            "closed_dispatch_ms_p99": _ms(closed, 99),
            "closed_little_ms": round(DEPTH / best * 1e3, 1),
            "closed_few_per_s": round(few_per_s),
            "closed_few_dispatch_ms_p99": _ms(few, 99),
            "dispatch_at_per_s": round(rate),
            "client_late_ms_p99": _ms(late, 99),
            "dispatch_ms_p50": _ms(waits, 50),
            "dispatch_ms_p99": _ms(waits, 99),
            "rss_mib_1000_workers": round(process.memory_info().rss / 2**20),
        }
        farm.close()
        return figures
