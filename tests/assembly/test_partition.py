"""A network that is cut and heals, and wall clocks that jump: nothing lost, nothing done twice."""

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from builder.reapi.pb import control_pb2
from tests.assembly.client import Client
from tests.assembly.workers import names
from tests.e2e.held import Held, holding
from tests.e2e.service import FROM_SOURCE, PATIENCE_S, ROOT, Service, environment, running

CONFIG = """role: coordinator
store: {folder: {folder}}
artifacts: {{enabled: false}}
metrics: {{enabled: false}}
coordinator: {{listen: "127.0.0.1:9000"}}
reapi: {{listen: "unix:{folder}/api"}}
scheduler: {{heartbeat_interval: 500ms, heartbeat_timeout: 3s, infrastructure_retries: 20}}
"""
CONFIG = CONFIG.replace("{folder: {folder}}", "{{path: {folder}/store}}")
ACTIONS = 4
DAY_S = 86_400
CLOCK = """
import os
import time

real, jump = time.time_ns, os.environ["JUMP"]


def jumped() -> int:
    with open(jump) as file:
        return real() + int(file.read()) * 10**9


time.time_ns, time.time = jumped, lambda: jumped() / 1e9
"""


class Network:
    """A network namespace of its own; programs that are begun with `enter` are in it."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.enter = ("nsenter", f"--net=/proc/{process.pid}/ns/net")

    def set_up(self, up: bool) -> None:
        state = "up" if up else "down"
        subprocess.run([*self.enter, "ip", "link", "set", "lo", state], check=True)


@contextmanager
def network() -> Iterator[Network]:
    """One with a loopback that works; it is gone with its last process."""
    words = ["unshare", "--net", "sh", "-c", "echo there; exec sleep infinity"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"there\n"
            made = Network(process)
            made.set_up(True)
            yield made
        finally:
            process.kill()


class Inside(Service):
    """A service whose API is had by a socket in its folder."""

    @property
    def coordinator(self) -> str:
        return f"unix:{self.folder}/api"


@contextmanager
def serving(folder: Path, net: Network, **variables: str) -> Iterator[Inside]:
    with running(
        folder, [*net.enter, *FROM_SOURCE], flags=(), config=CONFIG, variables=variables
    ) as service:
        yield Inside(service.process, folder)


@contextmanager
def worker(
    folder: Path, net: Network, name: str, **variables: str
) -> Iterator["subprocess.Popen[bytes]"]:
    words = ["--coordinator", "127.0.0.1:9000", "--name", name, "--slots", "1"]
    process = subprocess.Popen(
        [*net.enter, *FROM_SOURCE, "worker", *words, "--scratch", str(folder / name)],
        cwd=ROOT,
        env={**environment(folder), **variables},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def jumped_days(before: control_pb2.Status, after: control_pb2.Status) -> int:
    """By how much the times that people are shown have moved."""
    return round((after.action[0].queued.seconds - before.action[0].queued.seconds) / DAY_S)


@contextmanager
def working(service: Inside, held: Held) -> Iterator[list[tuple[int, bytes]]]:
    """Actions that run on two workers or wait, until `held` lets go; what came of them."""
    results: list[tuple[int, bytes]] = []

    def ask(number: int) -> None:
        with Client(service.coordinator) as client:
            response = client.execute_for_sure(held.script(f"echo {number}"))
            assert response.status.code == 0, response
            results.append((number, response.result.stdout_raw))

    with ThreadPoolExecutor(ACTIONS) as threads, held:
        service.until("the workers are there", lambda s: names(s) == {"a", "b"})
        asked: list[Future[None]] = [threads.submit(ask, number) for number in range(ACTIONS)]
        service.until("they work", lambda s: (s.workers.busy, s.queue.pending) == (2, 2))
        yield results
        assert results == []
        held.let_go()
        for one in asked:
            one.result(PATIENCE_S)
    status = service.until("nothing is left", lambda s: not s.queue.pending + s.queue.executing)
    assert sorted(results) == [(number, b"%d\n" % number) for number in range(ACTIONS)]
    assert (status.queue.completed, status.executions.failed) == (ACTIONS, 0)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own wants root")
def test_a_network_that_is_cut_and_heals(tmp_path: Path) -> None:
    """The workers are given up and their actions wait; they come back with what they run."""
    with ExitStack() as stack:
        net = stack.enter_context(network())
        held = stack.enter_context(holding())
        service = stack.enter_context(serving(tmp_path, net))
        for name in "ab":
            stack.enter_context(worker(tmp_path, net, name))
        with working(service, held):
            net.set_up(False)
            cut = service.until("all wait", lambda s: (s.workers.total, s.queue.pending) == (0, 4))
            assert all(one.reason_code == "no-worker" for one in cut.action), cut.action
            net.set_up(True)
            service.until("they are back", lambda s: s.workers.busy == 2)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own wants root")
def test_wall_clocks_that_jump(tmp_path: Path) -> None:
    """To the next month and years back, of coordinator and workers, while actions run: decisions
    go by clocks that do not jump. A third worker, which is stopped, is given up after each jump as
    ever, and those that speak are not."""
    program, jump = tmp_path / "clock", tmp_path / "jump"
    program.mkdir()
    (program / "sitecustomize.py").write_text(CLOCK)
    jump.write_text("0")
    variables = {"PYTHONPATH": f"{program}:{ROOT}", "JUMP": str(jump)}
    with ExitStack() as stack:
        net = stack.enter_context(network())
        held = stack.enter_context(holding())
        service = stack.enter_context(serving(tmp_path, net, **variables))
        for name in "ab":
            stack.enter_context(worker(tmp_path, net, name, **variables))
        with working(service, held):
            third = stack.enter_context(worker(tmp_path, net, "c", **variables))
            for days in (31, -4000):
                before = service.until("all are there", lambda s: names(s) == {"a", "b", "c"})
                jump.write_text(str(days * DAY_S))
                third.send_signal(signal.SIGSTOP)
                after = service.until("one is given up", lambda s: names(s) == {"a", "b"})
                assert jumped_days(before, after) in (31, -4031)
                assert after.uptime.seconds < DAY_S
                third.send_signal(signal.SIGCONT)
            service.until("they work", lambda s: s.workers.busy == 3)
