"""A real `builder serve` for tests, as a process of its own, and what it says about itself.

`running(folder)` starts it on ephemeral ports with all its state below `folder`, and ends it by
SIGTERM. The status comes over grpcio, so that what is asked does not depend on our own client.
"""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from builder.reapi.pb import control_pb2

ROOT = Path(__file__).parent.parent.parent
FROM_SOURCE = (sys.executable, "-m", "builder")
READY = "Remote execution service ready"
PATIENCE_S = 120.0  # with another process; what takes milliseconds may take long on a busy machine
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
    kept |= {"HOME": str(home), "SHIV_ROOT": str(home / ".shiv")}
    return {**kept, "BUILDER_LOG_FORMAT": "human", **more}


def free_port() -> int:
    """For a service that is to be there again; no port that the kernel gives to others."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(lowest // 2, lowest)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@dataclass
class Service:
    """A running service: its process, its lines so far, and the addresses found in them."""

    process: subprocess.Popen[str]
    folder: Path
    lines: list[str] = field(default_factory=list)
    grown: threading.Condition = field(default_factory=threading.Condition)

    def heard(self, line: str) -> None:
        with self.grown:
            self.lines.append(line.rstrip("\n"))
            self.grown.notify_all()

    def said(self, text: str) -> str:
        """The first line with this text, once it has come: a state may be there before its line."""

        def line() -> str:
            return next((line for line in self.lines if text in line), "")

        with self.grown:
            assert self.grown.wait_for(line, PATIENCE_S), (text, self.lines)
            return line()

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
            return call(control_pb2.GetStatusRequest(details=True), timeout=PATIENCE_S)

    def actions(self, invocation: str) -> list[control_pb2.Action]:
        """All of an invocation that have rows, the newest first."""
        with grpc.insecure_channel(self.coordinator) as channel:
            call = channel.unary_unary(
                "/builder.control.Control/ListActions",
                request_serializer=control_pb2.ListActionsRequest.SerializeToString,
                response_deserializer=control_pb2.ListActionsResponse.FromString,
            )
            asked = control_pb2.ListActionsRequest(invocation=invocation, limit=10_000)
            return list(call(asked, timeout=PATIENCE_S).actions)

    def until(self, what: str, holds: Callable[[control_pb2.Status], bool]) -> control_pb2.Status:
        """The first status of which this holds; fails after PATIENCE_S."""
        end = time.monotonic() + PATIENCE_S
        while not holds(status := self.status()):
            assert time.monotonic() < end, f"never: {what}\n{status}"
            time.sleep(0.1)  # another process's progress: there is nothing to wait on
        return status


def follow(service: Service, ready: threading.Event) -> None:
    """Collect the lines of the service until it ends."""
    assert service.process.stdout
    with (service.folder / "serve.log").open("w") as log:
        for line in service.process.stdout:
            log.write(line)
            log.flush()
            service.heard(line)
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
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    service, ready = Service(process, folder), threading.Event()
    thread = threading.Thread(target=follow, args=(service, ready))
    thread.start()
    try:
        ready.wait(PATIENCE_S)
        if not any(READY in line for line in service.lines):
            raise NotReadyError("\n".join(service.lines[-30:]) or "it said nothing")
        yield service
    finally:
        stop(process)
        thread.join()
        assert process.stdout
        process.stdout.close()


def stop(process: "subprocess.Popen[str]") -> int:
    """Drain by SIGTERM; its exit code, or -9 when it took longer than PATIENCE_S."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
