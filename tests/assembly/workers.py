"""Worker programs as processes of their own, for tests that are hard on them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.reapi.pb import control_pb2
from tests.e2e.service import FROM_SOURCE, ROOT, environment


@contextmanager
def worker(folder: Path, name: str, address: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of its own with one slot; leaving kills it, whatever state it is in."""
    words = ["--name", name, "--slots", "1", "--scratch", str(folder / name)]
    process = subprocess.Popen(
        [*FROM_SOURCE, "worker", "--coordinator", address, *words],
        cwd=ROOT,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def names(status: control_pb2.Status) -> set[str]:
    return {one.name for one in status.worker if one.state != "away"}
