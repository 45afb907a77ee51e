"""A whole service, as processes: it runs actions, survives its workers, and leaves nothing."""

import json
import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from builder.reapi.pb import control_pb2
from tests.assembly.client import Client, digest
from tests.assembly.independent import message
from tests.e2e.held import holding
from tests.e2e.service import (
    CONFIG,
    FLAGS,
    FROM_SOURCE,
    PATIENCE_S,
    ROOT,
    Service,
    environment,
    running,
)

pytestmark = pytest.mark.slow
NOBODY = 65534


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.reapi) as client:
        yield client


def family(pid: int) -> list[psutil.Process]:
    """All descendants of a process: workers, brokers, sandboxes and what runs in them."""
    return psutil.Process(pid).children(recursive=True)


def gone(processes: list[psutil.Process], seconds: float = 60.0) -> bool:
    """Whether all of them end within this time."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def groups_of(processes: list[psutil.Process]) -> set[Path]:
    """Control groups that these processes are in and this one is not."""

    def lines(pid: int) -> set[str]:
        try:
            return set(Path(f"/proc/{pid}/cgroup").read_text().splitlines())
        except OSError:
            return set()

    ours = lines(os.getpid())
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    roots = [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]
    names = {line.split(":", 2)[2].lstrip("/") for p in processes for line in lines(p.pid) - ours}
    return {root / name for root in roots for name in names if (root / name).is_dir()}


def until_running(service: Service) -> control_pb2.Status:
    return service.until("an action runs", lambda status: any(a.worker for a in status.action))


def test_an_action_by_a_client_that_is_not_ours(client: Client) -> None:
    """grpcio with messages of grpcio-tools: inputs in, outputs, streams and proof back."""
    response = client.execute("cat in > out; echo said; echo cried >&2", {"in": b"data"}, "out")
    assert response.status.code == 0, response
    result = response.result
    assert (result.exit_code, result.stdout_raw, result.stderr_raw) == (0, b"said\n", b"cried\n")
    assert client.get(result.output_files[0].digest) == b"data"
    assert client.get(result.stdout_digest) == b"said\n"
    proof = message("builder.workers.ExecutionProof")()
    assert result.execution_metadata.auxiliary_metadata[0].Unpack(proof)
    assert proof.outcome == "exited"
    assert proof.attempt == 1


def test_an_action_that_takes_too_long(client: Client) -> None:
    """DEADLINE_EXCEEDED in the response, with what it said and made by then."""
    script = "echo part > out; echo early; sleep 60 & sleep 60"
    for timeout_s in (1, 5, 30):  # until it comes so far in that time
        response = client.execute(script, {}, "out", timeout_s=timeout_s)
        if response.result.stdout_raw:
            break
    assert response.status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert "execution timeout exceeded" in response.status.message
    assert response.result.stdout_raw == b"early\n"
    assert client.get(response.result.output_files[0].digest) == b"part\n"


def test_missing_inputs_are_named_and_can_be_sent_later(client: Client) -> None:
    """FAILED_PRECONDITION with MISSING violations alone: what Bazel uploads again and retries."""
    files = {"a": b"here", "b": b"lost one", "c": b"lost two"}
    response = client.execute("cat a b c", files, lost=[files["b"], files["c"]])
    assert response.status.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    (detail,) = response.status.details
    failure = message("google.rpc.PreconditionFailure")()
    assert detail.Unpack(failure)
    names = [digest(files[name]) for name in "bc"]
    assert {(one.type, one.subject) for one in failure.violations} == {
        ("MISSING", f"blobs/{name.hash}/{name.size_bytes}") for name in names
    }
    assert client.execute("cat a b c", files).result.stdout_raw == b"herelost onelost two"


def test_a_killed_worker_costs_time_but_not_the_action(service: Service, client: Client) -> None:
    """kill -9 in mid-action: another worker runs it, and the pool is filled again."""
    with holding() as held, ThreadPoolExecutor() as threads, held:
        answer = threads.submit(client.execute, held.script("echo survived"))
        status = until_running(service)
        name = next(action.worker for action in status.action if action.worker)
        pid = next(worker.pid for worker in status.worker if worker.name == name)
        below = family(pid)
        os.kill(pid, signal.SIGKILL)
        held.let_go()
        response = answer.result(PATIENCE_S)
    assert response.status.code == 0, response
    assert response.result.stdout_raw == b"survived\n"
    assert response.result.execution_metadata.worker != name
    proof = message("builder.workers.ExecutionProof")()
    assert response.result.execution_metadata.auxiliary_metadata[0].Unpack(proof)
    assert proof.attempt == 2
    assert gone(below), "the killed worker's action lives on"
    names = service.until("two workers again", lambda s: s.workers.total == 2).worker
    assert name not in {worker.name for worker in names}


def test_the_metrics_port_tells_what_happened(service: Service, client: Client) -> None:
    """Prometheus gets figures, load balancers readiness, people a page."""
    before = figures(service)["builder_actions_total", ("failed",)]
    assert client.execute("exit 3").result.exit_code == 3
    found = figures(service)
    assert found["builder_actions_total", ("failed",)] == before + 1
    assert found["builder_workers", ("busy",)] + found["builder_workers", ("idle",)] == 2
    assert found["builder_store_used_bytes", ("blobs",)] > 0
    execute = "build.bazel.remote.execution.v2.Execution.Execute"
    assert found["builder_rpcs_total", ("OK", execute)] >= 1
    assert page(service, "readyz") == "ready\n"
    assert '<a class="name" href="/">Builder</a>' in page(service, "")


def test_the_artifact_store_speaks_http(service: Service, client: Client) -> None:
    """A blob that an action made can be had by HTTP, and one put by HTTP is in the storage."""
    made = client.execute("printf made > out", {}, "out").result.output_files[0].digest
    store = f"http://{service.address('Artifact storage')}"
    with urllib.request.urlopen(f"{store}/cas/{made.hash}", timeout=60) as answer:
        assert answer.read() == b"made"
    given = digest(b"given")
    put = urllib.request.Request(f"{store}/cas/{given.hash}", data=b"given", method="PUT")
    with urllib.request.urlopen(put, timeout=60) as answer:
        assert answer.status in (200, 201, 204)
    assert client.get(given) == b"given"


@pytest.mark.parametrize("label", ["Metrics", "Artifact storage"])
def test_a_web_page_cannot_point_its_name_at_us(service: Service, label: str) -> None:
    """DNS rebinding: what a browser asks of another name is refused on every HTTP port."""
    request = urllib.request.Request(f"http://{service.address(label)}/", method="PUT")
    request.add_header("Host", "evil.example")
    with pytest.raises(urllib.error.HTTPError, match="421"):
        urllib.request.urlopen(request, timeout=60)


def page(service: Service, path: str) -> str:
    with urllib.request.urlopen(
        f"http://{service.address('Metrics')}/{path}", timeout=60
    ) as answer:
        text: bytes = answer.read()
    return text.decode()


def figures(service: Service) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page(service, "metrics"))
        for sample in family.samples
    }


def test_killing_the_service_leaves_nothing(tmp_path: Path) -> None:
    """kill -9 of the coordinator in mid-action: workers, sandboxes and groups end by themselves."""
    with (
        running(tmp_path) as service,
        Client(service.reapi) as client,
        ThreadPoolExecutor() as pool,
    ):
        answer = pool.submit(client.execute, "sleep 300 & sleep 300")
        until_running(service)
        below = family(service.process.pid)
        groups = groups_of(below)
        assert len(below) > 4
        service.process.kill()
        assert gone(below), [process for process in below if process.is_running()]
        assert answer.exception(60) is not None
    assert [group for group in groups if group.exists()] == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_a_worker_that_hangs_is_given_up_and_welcome_again(tmp_path: Path) -> None:
    """SIGSTOP in mid-action: another runs it after the timeout; SIGCONT brings the first back."""
    config = CONFIG + "scheduler: {{heartbeat_interval: 300ms, heartbeat_timeout: 4s}}\n"
    with (
        running(tmp_path, config=config) as service,
        Client(service.reapi) as client,
        holding() as held,
        ThreadPoolExecutor() as pool,
        held,
    ):
        answer = pool.submit(client.execute, held.script("echo once"))
        status = until_running(service)
        name = next(action.worker for action in status.action if action.worker)
        pid = next(worker.pid for worker in status.worker if worker.name == name)
        os.kill(pid, signal.SIGSTOP)
        try:
            service.until(
                "another runs it",
                lambda status: any(one.worker not in ("", name) for one in status.action),
            )
            held.let_go()
            response = answer.result(PATIENCE_S)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert response.status.code == 0, response
        assert response.result.stdout_raw == b"once\n"
        assert response.result.execution_metadata.worker != name
        again = service.until("both are there", lambda s: s.workers.total == 2 == s.workers.idle)
        assert name in {worker.name for worker in again.worker}
        assert again.queue.completed == 1


def test_a_drain_ends_when_its_grace_is_over(tmp_path: Path) -> None:
    """What runs longer is handed back, and the service ends in order; what ran is on record."""
    config = CONFIG + "coordinator: {{drain_grace: 1s}}\npool: {{record: {folder}/work.jsonl}}\n"
    with (
        running(tmp_path, config=config) as service,
        Client(service.reapi) as client,
        ThreadPoolExecutor() as pool,
    ):
        assert client.execute("true").result.exit_code == 0
        answer = pool.submit(client.execute, "sleep 300")
        until_running(service)
        below = family(service.process.pid)
        service.process.terminate()
        assert service.process.wait(60) == 0, service.lines
        (recorded,) = (tmp_path / "work.jsonl").read_text().splitlines()
        assert json.loads(recorded).keys() == {"at_s", "duration_s"}
        assert gone(below)
        assert answer.exception(60) is not None


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    with (
        running(tmp_path) as service,
        Client(service.reapi) as client,
        ThreadPoolExecutor() as pool,
    ):
        answer = pool.submit(client.execute, "sleep 300")
        until_running(service)
        below = family(service.process.pid)
        groups = groups_of(below)
        service.process.send_signal(signal.SIGTERM)
        service.said("draining")
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) is not None
        assert gone(below)
        assert answer.exception(60) is not None
    assert [group for group in groups if group.exists()] == []


def refused(folder: Path, *flags: str, config: str = "") -> subprocess.CompletedProcess[str]:
    """`builder serve` that should not come up."""
    argv = [*FROM_SOURCE, "serve", "--state", str(folder / "state"), *flags]
    if config:
        (folder / "config.yaml").write_text(config)
        argv += ["--config", str(folder / "config.yaml")]
    return subprocess.run(
        argv, env=environment(folder), cwd=folder, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("option", ["--coordinator", "--reapi", "--metrics", "--artifacts"])
def test_a_port_in_use_is_one_clear_line(tmp_path: Path, option: str) -> None:
    """It names the address, exits with 2, and shows no traceback."""
    ports = dict.fromkeys(["--coordinator", "--reapi", "--metrics", "--artifacts"], "0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports[option] = str(taken.getsockname()[1])
        done = refused(tmp_path, *(word for pair in ports.items() for word in pair))
        assert done.returncode == 2
        errors = [line for line in done.stderr.splitlines() if not line.startswith("[INFO]")]
        address = f"127.0.0.1:{ports[option]}"
        assert errors == [f"error: cannot listen on {address}: Address already in use"]


def test_two_services_do_not_share_a_directory(tmp_path: Path) -> None:
    flags = ("--coordinator", "0", "--reapi", "0", "--metrics", "0")
    state = tmp_path / "shared"
    with running(tmp_path / "first", flags=[*flags, "--state", str(state)]):
        done = refused(tmp_path, *flags, "--state", str(state))
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if not line.startswith("[INFO]")]
    assert len(errors) == 1
    assert re.match(r"error: .*shared/.*(in use|has it|another)", errors[0]), errors


def test_a_role_that_is_no_service_is_refused(tmp_path: Path) -> None:
    done = refused(tmp_path, config="role: worker\n")
    assert done.returncode == 2
    assert "role: worker" in done.stderr
    assert "builder worker" in done.stderr


def test_a_worker_of_its_own_joins_and_leaves(tmp_path: Path) -> None:
    """`builder worker` beside a coordinator that has none: it serves, drains and is gone."""
    config = "role: coordinator\nstore: {{path: {folder}/store}}\nartifacts: {{enabled: false}}\n"
    with running(
        tmp_path, config=config, flags=["--coordinator", "0", "--reapi", "0", "--metrics", "0"]
    ) as s:
        argv = [*FROM_SOURCE, "worker", "--coordinator", s.coordinator, "--name", "guest"]
        argv += ["--slots", "1", "--scratch", str(tmp_path / "guest")]
        with (
            subprocess.Popen(
                argv, env=environment(tmp_path), stderr=subprocess.PIPE, text=True
            ) as worker,
            Client(s.reapi) as client,
        ):
            s.until("the worker is there", lambda status: status.workers.total == 1)
            response = client.execute("echo hello")
            assert response.result.stdout_raw == b"hello\n"
            assert response.message.startswith("guest (hermetic: ")
            worker.terminate()
            assert worker.wait(60) == 0
            s.until("the worker is gone", lambda status: status.workers.total == 0)


def test_a_pool_with_a_token_takes_no_strangers(tmp_path: Path) -> None:
    """The service's own workers bring the token; one without it is refused and told so."""
    (tmp_path / "token").write_text("s3cret")
    config = CONFIG + f"coordinator: {{{{join_token: 'file:{tmp_path}/token'}}}}\n"
    with running(tmp_path / "service", config=config) as service:
        assert service.status().workers.total == 2
        argv = [*FROM_SOURCE, "worker", "--coordinator", service.coordinator]
        argv += ["--name", "stranger", "--scratch", str(tmp_path / "stranger")]
        with subprocess.Popen(
            argv, env=environment(tmp_path), stderr=subprocess.PIPE, text=True
        ) as worker:
            assert worker.stderr is not None
            line = next(line for line in worker.stderr if line.startswith("[WARNING]"))
            assert "Not connected" in line
            assert "token" in line
            worker.terminate()
            assert "s3cret" not in worker.stderr.read()
        assert {worker.name for worker in service.status().worker} == {"worker-1", "worker-2"}
        assert not any("s3cret" in line for line in service.lines)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_serves_too() -> None:
    """Namespaces of its own, the same lines, nothing left behind."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        os.chown(home, NOBODY, NOBODY)
        argv = [*FROM_SOURCE, "serve", *FLAGS.split(), "--state", str(home / "state")]
        with subprocess.Popen(
            argv,
            cwd=ROOT,
            env=environment(home),
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            service = Service(process, home)
            assert process.stdout is not None
            for line in process.stdout:
                service.lines.append(line.rstrip("\n"))
                if "service ready" in line:
                    break
            with Client(service.reapi) as client:
                response = client.execute("id -u; cat in", {"in": b"data"})
            assert response.result.exit_code == 0, response
            assert response.result.stdout_raw.endswith(b"data")
            assert "hermetic: namespaces" in response.message
            below = family(process.pid)
            process.terminate()
            rest = process.stdout.read()
            assert process.wait(60) == 0, rest
            assert gone(below)
            assert "Traceback" not in rest
