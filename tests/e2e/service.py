"""A real `builder serve` for tests, as a process of its own, and what it says about itself.

`running(folder)` starts it on ephemeral ports with all its state below `folder`, and ends it by
SIGTERM. The status comes over grpcio, so that what is asked does not depend on our own client.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from builder.reapi.pb import control_pb2

ROOT = Path(__file__).parent.parent.parent
FROM_SOURCE = (sys.executable, "-m", "builder")
READY = "Remote execution service ready"
CONFIG = """role: all
store: {{path: {folder}/store}}
worker: {{scratch: {folder}/worker}}
artifacts: {{listen: ":0"}}
"""
FLAGS = "--remote --coordinator 127.0.0.1:0 --workers-min 2 --workers-max 20 --autoscale"
FLAGS += " --reapi 0 --metrics :0"


class NotReadyError(Exception):
    """The service ended, or was silent for too long; the message is what it said."""


def environment(home: Path, **more: str) -> dict[str, str]:
    """Variables of a program that starts with an empty home and knows no proxy or config."""
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    return {**kept, "HOME": str(home), "SHIV_ROOT": str(home / ".shiv"), **more}


@dataclass
class Service:
    """A running service: its process, its lines so far, and the addresses found in them."""

    process: subprocess.Popen[str]
    folder: Path
    lines: list[str] = field(default_factory=list)

    def address(self, label: str) -> str:
        """`host:port` that the start-up lines give for this label."""
        text = "\n".join(self.lines)
        found = re.search(rf"{re.escape(label)}: (?:\w+://)?([\w.]+:\d+)", text)
        assert found, f"no {label!r} in:\n{text}"
        return found[1]

    @property
    def coordinator(self) -> str:
        return self.address("Coordinator")

    @property
    def reapi(self) -> str:
        return self.address("REAPI endpoint")

    def status(self) -> control_pb2.Status:
        with grpc.insecure_channel(self.coordinator) as channel:
            call = channel.unary_unary(
                "/builder.control.Control/GetStatus",
                request_serializer=control_pb2.GetStatusRequest.SerializeToString,
                response_deserializer=control_pb2.Status.FromString,
            )
            return call(control_pb2.GetStatusRequest(details=True), timeout=20)

    def until(self, what: str, holds: Callable[[control_pb2.Status], bool]) -> control_pb2.Status:
        """The first status of which this holds; fails after 30 s."""
        for _ in range(300):
            status = self.status()
            if holds(status):
                return status
            threading.Event().wait(0.1)  # another process's progress: there is nothing to wait on
        raise AssertionError(f"never: {what}\n{status}")


def follow(service: Service, ready: threading.Event) -> None:
    """Collect the lines of the service until it ends."""
    assert service.process.stderr
    with (service.folder / "serve.log").open("w") as log:
        for line in service.process.stderr:
            log.write(line)
            log.flush()
            service.lines.append(line.rstrip("\n"))
            if READY in line:
                ready.set()
    ready.set()


@contextlib.contextmanager
def running(
    folder: Path,
    program: Sequence[str] = FROM_SOURCE,
    flags: Sequence[str] = tuple(FLAGS.split()),
    variables: Mapping[str, str] | None = None,
    config: str = CONFIG,
) -> Iterator[Service]:
    """A service that is ready. Leaving the block ends it, by force if SIGTERM does not."""
    folder.mkdir(parents=True, exist_ok=True)
    config_file = folder / "builder.yaml"
    config_file.write_text(config.format(folder=folder))
    process = subprocess.Popen(
        [*program, "--config", str(config_file), "serve", *flags],
        cwd=folder,
        env={**environment(folder), **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    service, ready = Service(process, folder), threading.Event()
    thread = threading.Thread(target=follow, args=(service, ready))
    thread.start()
    try:
        ready.wait(60)
        if not any(READY in line for line in service.lines):
            raise NotReadyError("\n".join(service.lines[-30:]) or "it said nothing for 60 s")
        yield service
    finally:
        stop(process)
        thread.join()
        assert process.stderr
        process.stderr.close()


def stop(process: "subprocess.Popen[str]") -> int:
    """Drain by SIGTERM; its exit code, or -9 when it took longer than a minute."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
