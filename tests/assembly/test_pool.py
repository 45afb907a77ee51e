"""A pool of real worker processes that follows its load, and the operator's commands."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builder.reapi.pb import control_pb2
from tests.assembly.client import Client
from tests.e2e.service import FROM_SOURCE, ROOT, Service, environment, running

CONFIG = """role: all
store: {{path: {folder}/store}}
worker: {{scratch: {folder}/worker}}
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
        timeout=60,
    )


@contextmanager
def burst(service: Service, count: int, sleep_s: float) -> Iterator[list[bytes]]:
    """So many actions at once; leaving waits for their results."""
    results: list[bytes] = []

    def one(number: int) -> None:
        with Client(service.reapi) as client:
            script = f"sleep {sleep_s}; echo {number} {time.monotonic_ns()} | cut -d' ' -f1"
            response = client.execute(script)
            assert response.status.code == 0, response
            results.append(response.result.stdout_raw.strip())

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    yield results
    for thread in threads:
        thread.join(120)


def size(status: control_pb2.Status) -> int:
    return status.pool.ready + status.pool.starting


def test_a_burst_grows_the_pool_and_quiet_shrinks_it(service: Service) -> None:
    """Within its bounds, within a second, and no action is lost or run twice."""
    assert size(service.status()) == 1
    seen: list[int] = []
    with burst(service, 12, 1.0) as results:
        service.until("all is known", lambda status: status.queue.pending >= 6)
        began = time.monotonic()
        service.until("it grows", lambda status: size(status) > 1)
        assert time.monotonic() - began < 1.0
        while len(results) < 12:
            seen.append(size(service.status()))
            threading.Event().wait(0.2)
    assert sorted(map(int, results)) == list(range(12))
    assert max(seen) == 4
    status = service.until("it shrinks", lambda s: size(s) == 1 and s.workers.total == 1)
    assert status.queue.completed == 12
    assert status.problems == []
    said = "\n".join(service.lines)
    assert "Worker pool: launches " in said
    assert "Worker pool: retires " in said
    assert "died" not in said


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
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "1 to 4" in refused.stderr
    released = remote(service, "scale", "--release")
    assert "follows the policy predictive again" in released.stdout
    service.until("back to its minimum", lambda status: status.workers.total == 1)


def test_a_drained_worker_finishes_and_is_replaced(service: Service) -> None:
    """Its action gets its result; a new worker stands in before it has gone."""
    (worker,) = service.until("one", lambda status: status.workers.total == 1).worker
    with burst(service, 1, 8.0) as results:
        service.until("it runs", lambda status: status.workers.busy == 1)
        drained = remote(service, "drain", worker.name)
        assert drained.stdout == f"{worker.name} drains: 1 action to finish first.\n"
        service.until("a second", lambda status: status.workers.total == 2)
        assert results == []
    assert results == [b"0"]
    left = service.until("one is gone", lambda status: status.workers.total == 1)
    assert [one.name for one in left.worker] != [worker.name]
    unknown = remote(service, "drain", worker.name)
    assert unknown.returncode == 1
    assert f"no worker is named '{worker.name}'" in unknown.stderr


def test_without_autoscale_the_size_stays(tmp_path: Path) -> None:
    """Whatever waits."""
    with running(tmp_path, config=CONFIG, flags=FLAGS) as fixed:
        assert "[INFO] Worker pool: 1 worker" in fixed.lines
        with burst(fixed, 4, 0.3):
            fixed.until("some wait", lambda status: status.queue.pending >= 2)
            assert size(fixed.status()) == 1
        assert size(fixed.status()) == 1


def cloud(folder: Path) -> str:
    """The configuration of a coordinator whose machines are processes, kept in a folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
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
        with burst(first, 8, 2.5) as results:
            first.until("three work", lambda status: status.workers.busy == 3)
            assert len(machines(tmp_path)) == 3
        assert len(results) == 8
        first.process.kill()
        first.process.wait()
    left = machines(tmp_path)
    assert left
    with running(tmp_path, config=config, flags=flags) as second:
        second.until("they are back", lambda status: status.workers.idle >= 1)
        assert any("takes over" in line for line in second.lines)
        with burst(second, 1, 0.1) as again:
            pass
        assert again == [b"0"]
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
                with burst(service, 1, 6.0) as results:
                    service.until("it runs", lambda status: status.workers.busy == 1)
                    Metadata.called_back.set()
                    service.until("it drains", lambda status: status.workers.draining == 1)
                assert results == [b"0"]
                assert worker.wait(30) == 0
                assert worker.stderr
                assert "AWS expects to interrupt this spot instance" in worker.stderr.read()
            service.until("it is gone", lambda status: status.workers.total == 0)
        imds.shutdown()
        thread.join()
