"""Work stealing between two hosts: network namespaces with a cable, and TLS between the workers."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from builder.reapi.pb import control_pb2
from tests.assembly.client import Client
from tests.assembly.test_partition import Inside, Network, network
from tests.e2e.held import Held, holding
from tests.e2e.service import FROM_SOURCE, PATIENCE_S, ROOT, environment, running
from tests.net.certificates import make

FIRST, SECOND = "10.77.0.1", "10.77.0.2"
COORDINATOR = """role: coordinator
insecure: true
store: {{path: {folder}/store}}
artifacts: {{enabled: false}}
metrics: {{enabled: false}}
coordinator: {{listen: "10.77.0.1:9000"}}
reapi: {{listen: "unix:{folder}/api"}}
scheduler:
  work_stealing: true
  heartbeat_interval: 500ms
  heartbeat_timeout: 3s
  reconnect_grace: 2s
  infrastructure_retries: 20
"""
WORKER = """role: worker
tls: {{cert: {folder}/server.pem, key: {folder}/server.key}}
scheduler: {{work_stealing: true, stealing: {{timeout: 60s}}}}
worker:
  coordinator: "10.77.0.1:9000"
  ca: {folder}/ca.pem
  name: {name}
  slots: 1
  scratch: {folder}/{name}
  peers: {{listen: "{address}:0"}}
"""


class Hosts:
    """Two, with a cable between them; each has a network of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.nets = {FIRST: stack.enter_context(network()), SECOND: stack.enter_context(network())}
        first, second = self.nets.values()
        there = second.enter[1].partition("=")[2]
        cable = ["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns"]
        laid = subprocess.run([*first.enter, *cable, there], capture_output=True, text=True)
        if laid.returncode:
            pytest.skip(f"this kernel gives no cable between networks: {laid.stderr.strip()}")
        for address, net in self.nets.items():
            plug(net, "address", "add", f"{address}/24", "dev", "cable")
            plug(net, "link", "set", "cable", "up")

    def worker(self, name: str, address: str) -> "subprocess.Popen[bytes]":
        config = self._folder / f"{name}.yaml"
        config.write_text(WORKER.format(folder=self._folder, name=name, address=address))
        with (self._folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [*self.nets[address].enter, *FROM_SOURCE, "worker", "--config", str(config)],
                cwd=ROOT,
                env=environment(self._folder),
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


def plug(net: Network, *words: str) -> None:
    subprocess.run([*net.enter, "ip", *words], check=True)


def loaded(status: control_pb2.Status, name: str, waiting: int) -> bool:
    known = {one.name: (one.slots_busy, one.backlog) for one in status.worker}
    return known.get(name) == (1, waiting)


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="two networks want root and iproute2"
)
def test_a_worker_of_another_host_takes_what_waits(tmp_path: Path) -> None:
    """Peer to peer by the cable, each action with one result; also when the cable is cut and what
    runs on the other host is given to the first."""
    make(tmp_path, names=f"IP:{FIRST},IP:{SECOND}")
    with ExitStack() as stack:
        hosts = Hosts(tmp_path, stack)
        held, late = stack.enter_context(holding()), stack.enter_context(holding())
        threads = stack.enter_context(ThreadPoolExecutor(8))
        started = running(
            tmp_path, [*hosts.nets[FIRST].enter, *FROM_SOURCE], flags=(), config=COORDINATOR
        )
        service = Inside(stack.enter_context(started).process, tmp_path)
        stack.enter_context(late)
        stack.enter_context(held)

        def ask(word: str, holder: Held | None) -> Any:
            script = f"echo {word}" if holder is None else holder.script(f"echo {word}")
            with Client(service.coordinator) as client:
                return client.execute_for_sure(script)

        hosts.worker("victim", FIRST)
        asked = {"first": threads.submit(ask, "first", held)}
        service.until("it runs", lambda status: loaded(status, "victim", 0))
        asked["second"] = threads.submit(ask, "second", None)
        service.until("it waits", lambda status: loaded(status, "victim", 1))
        hosts.worker("thief", SECOND)
        service.until("it is taken", lambda status: status.stealing.moved == 1)
        response = asked["second"].result(PATIENCE_S)
        assert response.result.execution_metadata.worker == "thief"

        service.until("the thief tells of its call", lambda status: status.stealing.succeeded == 1)

        asked["third"] = threads.submit(ask, "third", late)
        service.until("the thief has it", lambda status: loaded(status, "thief", 0))
        plug(hosts.nets[SECOND], "link", "set", "cable", "down")
        held.let_go()
        service.until("the thief is lost", lambda status: status.workers.total == 1)
        late.let_go()
        for word, answer in asked.items():
            response = answer.result(PATIENCE_S)
            assert (response.status.code, response.result.stdout_raw) == (0, f"{word}\n".encode())
        assert asked["third"].result().result.execution_metadata.worker == "victim"
        status = service.until("nothing is left", lambda s: not s.queue.pending + s.queue.executing)
        assert (status.queue.completed, status.executions.failed) == (3, 0)
