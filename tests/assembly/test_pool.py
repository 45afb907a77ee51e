"""A pool of real worker processes that follows its load, and the operator's commands."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builder.reapi.pb import control_pb2
from tests.assembly.client import Client
from tests.e2e.held import Held, holding
from tests.e2e.service import (
    FROM_SOURCE,
    PATIENCE_S,
    ROOT,
    Service,
    environment,
    free_port,
    running,
)

CONFIG = """role: all
store: {{path: {folder}/store}}
worker: {{scratch: {folder}/worker, slots: 1}}
artifacts: {{enabled: false}}
pool: {{scale_up_cooldown: 1s, scale_down_cooldown: 3s}}
"""
CUSTOM = """role: coordinator
store: {{{{path: {{folder}}/store}}}}
artifacts: {{{{enabled: false}}}}
coordinator: {{{{listen: "127.0.0.1:{port}"}}}}
pool: {{{{provider: custom, min: 1, max: 3, autoscale: true, scale_down_cooldown: 3s}}}}
providers:
  custom:
    launch: {launch}
    terminate: {terminate}
    list: {list}
"""
PORTS = ["--coordinator", "0", "--reapi", "0", "--metrics", "0"]
FLAGS = [*PORTS, "--workers-min", "1", "--workers-max", "4"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("pool")
    with running(folder, config=CONFIG, flags=[*FLAGS, "--autoscale"]) as started:
        yield started


def remote(service: Service, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*FROM_SOURCE, "remote", *words, "--coordinator", service.coordinator],
        cwd=ROOT,
        env=environment(service.folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


@dataclass
class Burst:
    """Actions that run until they are let go, and the results so far."""

    held: Held
    results: list[bytes] = field(default_factory=list)

    def run(self, address: str, number: int) -> None:
        with Client(address) as client:
            response = client.execute(self.held.script(f"echo {number}"))
            assert response.status.code == 0, response
            self.results.append(response.result.stdout_raw.strip())


@contextmanager
def burst(service: Service, count: int) -> Iterator[Burst]:
    """So many actions at once; leaving lets them go and waits for their results."""
    with holding() as held, ThreadPoolExecutor(count) as threads:
        made = Burst(held)
        running = [threads.submit(made.run, service.reapi, number) for number in range(count)]
        with held:
            yield made
        for one in running:
            one.result(PATIENCE_S)


def size(status: control_pb2.Status) -> int:
    return status.pool.ready + status.pool.starting


def test_a_burst_grows_the_pool_and_quiet_shrinks_it(service: Service) -> None:
    """Within its bounds, and no action is lost or run twice."""
    assert size(service.status()) == 1
    with burst(service, 12) as actions:
        status = service.until("it grows", lambda s: (s.workers.busy, s.queue.pending) == (4, 8))
        assert size(status) == 4
        assert actions.results == []
    assert sorted(map(int, actions.results)) == list(range(12))
    status = service.until("it shrinks", lambda s: size(s) == 1 and s.workers.total == 1)
    assert status.queue.completed == 12
    assert status.problems == []
    service.said("Worker pool: launches ")
    service.said("Worker pool: retires ")
    assert "died" not in "\n".join(service.lines)


def test_an_operator_holds_a_size_and_releases_it(service: Service) -> None:
    """`scale --workers`, what the status says of it, `--release`, and sizes out of bounds."""
    held = remote(service, "scale", "--workers", "3")
    assert (held.returncode, held.stderr) == (0, "")
    assert "held at 3 workers" in held.stdout
    service.until("three joined", lambda status: status.workers.idle == 3)
    shown = remote(service, "status").stdout
    assert "  Predicted load: " in shown
    assert "  Trend: " in shown
    assert "  Next action: Hold at 3 workers until it is released" in shown
    refused = remote(service, "scale", "--workers", "5")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "1 to 4" in refused.stderr
    absurd = remote(service, "scale", "--workers", str(2**40))
    assert (absurd.returncode, absurd.stderr.count("\n")) == (2, 1)
    released = remote(service, "scale", "--release")
    assert "follows the policy predictive again" in released.stdout
    service.until("back to its minimum", lambda status: status.workers.total == 1)


def test_a_drained_worker_finishes_and_is_replaced(service: Service) -> None:
    """Its action gets its result; a new worker stands in before it has gone."""
    (worker,) = service.until("one", lambda status: status.workers.total == 1).worker
    with burst(service, 1) as actions:
        service.until("it runs", lambda status: status.workers.busy == 1)
        drained = remote(service, "drain", worker.name)
        assert drained.stdout == f"{worker.name} drains: 1 action to finish first.\n"
        service.until("a second", lambda status: status.workers.total == 2)
        assert actions.results == []
    assert actions.results == [b"0"]
    left = service.until("one is gone", lambda status: status.workers.total == 1)
    assert [one.name for one in left.worker] != [worker.name]
    unknown = remote(service, "drain", worker.name)
    assert unknown.returncode == 1
    assert f"no worker is named '{worker.name}'" in unknown.stderr


def test_without_autoscale_the_size_stays(tmp_path: Path) -> None:
    """Whatever waits."""
    with running(tmp_path, config=CONFIG, flags=FLAGS) as fixed:
        assert "[INFO] Worker pool: 1 worker" in fixed.lines
        with burst(fixed, 4):
            status = fixed.until("the others wait", lambda status: status.queue.pending == 3)
            assert size(status) == 1
        assert size(fixed.status()) == 1


def cloud(folder: Path) -> str:
    """The configuration of a coordinator whose machines are processes, kept in a folder."""
    port = free_port()
    machines = folder / "machines"
    machines.mkdir()
    script = str(ROOT / "tests" / "providers" / "machines.py")
    words = [sys.executable, "-S", script, str(machines)]
    worker = [*FROM_SOURCE, "worker", "--coordinator", f"127.0.0.1:{port}", "--slots", "1"]
    worker += ["--name", "{{id}}", "--scratch", f"{folder}/scratch-{{{{id}}}}"]
    return CUSTOM.format(
        port=port,
        launch=json.dumps([*words, "launch", *worker]),
        terminate=json.dumps([*words, "terminate"]),
        list=json.dumps([*words, "list"]),
    )


def machines(folder: Path) -> list[str]:
    """Those that cost something."""
    files = sorted((folder / "machines").iterdir())
    return [path.name for path in files if path.read_text().endswith("running")]


def test_machines_of_the_user_s_own_commands(tmp_path: Path) -> None:
    """They are launched, work, shrink; a killed coordinator's successor takes them over."""
    config, flags = cloud(tmp_path), ["--reapi", "0", "--metrics", "0"]
    with running(tmp_path, config=config, flags=flags) as first:
        assert "[INFO] Worker pool: 1 worker from custom (autoscale enabled)" in first.lines
        first.until("one joined", lambda status: status.workers.idle == 1)
        with burst(first, 8) as actions:
            first.until("three work", lambda status: status.workers.busy == 3)
            assert len(machines(tmp_path)) == 3
        assert len(actions.results) == 8
        first.process.kill()
        first.process.wait()
    left = machines(tmp_path)
    assert left
    with running(tmp_path, config=config, flags=flags) as second:
        second.until("they are back", lambda status: status.workers.idle >= 1)
        second.said("takes over")
        with burst(second, 1) as again:
            pass
        assert again.results == [b"0"]
        second.until("one is left", lambda status: status.workers.total == 1)
        assert set(machines(tmp_path)) < set(left) or machines(tmp_path) == left
        remaining = machines(tmp_path)
    for name in remaining:  # machines outlive their coordinator: end them by their provider
        words = [sys.executable, "-S", str(ROOT / "tests" / "providers" / "machines.py")]
        subprocess.run(
            [*words, str(tmp_path / "machines"), "terminate"],
            input=json.dumps({"pool": "default", "ids": [name]}),
            text=True,
            check=True,
            capture_output=True,
        )


def test_a_worker_whose_machine_is_wanted_back_drains(tmp_path: Path) -> None:
    """The cloud's metadata service says so: its action is finished, then it is gone."""

    class Metadata(BaseHTTPRequestHandler):
        called_back = threading.Event()

        def do_PUT(self) -> None:
            self._say(200, b"key")

        def do_GET(self) -> None:
            rebalance = self.path.endswith("rebalance") and self.called_back.is_set()
            self._say(200 if rebalance else 404, b"{}")

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    config = "role: coordinator\nstore: {{path: {folder}/store}}\nartifacts: {{enabled: false}}\n"
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as imds:
        thread = threading.Thread(target=imds.serve_forever)
        thread.start()
        with running(tmp_path, config=config, flags=PORTS) as service:
            own = tmp_path / "worker.yaml"
            address = f"http://127.0.0.1:{imds.server_port}"
            own.write_text(f"role: worker\nworker: {{notices: aws, metadata_endpoint: {address}}}")
            argv = [*FROM_SOURCE, "worker", "--coordinator", service.coordinator, "--name", "spot"]
            argv += ["--scratch", str(tmp_path / "scratch"), "--config", str(own)]
            with subprocess.Popen(
                argv, cwd=ROOT, env=environment(tmp_path), stderr=subprocess.PIPE, text=True
            ) as worker:
                with burst(service, 1) as actions:
                    service.until("it runs", lambda status: status.workers.busy == 1)
                    Metadata.called_back.set()
                    service.until("it drains", lambda status: status.workers.draining == 1)
                assert actions.results == [b"0"]
                assert worker.wait(PATIENCE_S) == 0
                assert worker.stderr
                assert "AWS expects to interrupt this spot instance" in worker.stderr.read()
            service.until("it is gone", lambda status: status.workers.total == 0)
        imds.shutdown()
        thread.join()
