"""Two pools of real worker processes, each with its own policy and kind of workers."""

import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.assembly.client import Client
from tests.e2e.service import FROM_SOURCE, PATIENCE_S, ROOT, Service, environment, running

CONFIG = """role: all
store: {{path: {folder}/store}}
worker: {{scratch: {folder}/worker, slots: 1}}
artifacts: {{enabled: false}}
pool: {{min: 1, max: 1}}
pools:
  - name: gpu
    min: 0
    max: 2
    autoscale: true
    workers: {{platform: {{GPU: t4}}, resources: [{{name: gpu, count: 1}}]}}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    flags = ["--coordinator", "0", "--reapi", "0", "--metrics", "0"]
    with running(tmp_path_factory.mktemp("pools"), config=CONFIG, flags=flags) as started:
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


def sizes(service: Service) -> dict[str, int]:
    return {pool.name: pool.ready + pool.starting for pool in service.status().pools}


def test_each_pool_serves_its_own(service: Service) -> None:
    """One grows from nothing for the action that only it serves; the other stays as it is."""
    assert "[INFO] Worker pool default: 1 worker" in service.lines
    assert "[INFO] Worker pool gpu: 0 workers (autoscale enabled)" in service.lines
    with Client(service.reapi) as client:
        plain = client.execute("echo plain")
        wanted = {"GPU": "t4", "resources:gpu": "1"}
        special = client.execute("echo special", platform=wanted)
    assert plain.result.execution_metadata.worker == "worker-1"
    assert special.result.execution_metadata.worker.startswith("gpu-worker-")
    assert special.result.stdout_raw == b"special\n"
    service.said("Worker pool gpu: launches ")
    assert [pool.name for pool in service.status().pools] == ["default", "gpu"]


def test_an_operator_names_the_pool(service: Service) -> None:
    """Without its name nothing happens; status and metrics tell each pool's size."""
    vague = remote(service, "scale", "--workers", "1")
    assert (vague.returncode, vague.stderr.count("\n")) == (2, 1)
    assert "there are several pools; say which: default, gpu" in vague.stderr
    unknown = remote(service, "scale", "--workers", "1", "--pool", "gpuu")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert "no pool is named 'gpuu'; did you mean 'gpu'?" in unknown.stderr
    held = remote(service, "scale", "--workers", "2", "--pool", "gpu")
    assert "The pool gpu is held at 2 workers" in held.stdout
    service.until("three joined", lambda status: status.workers.idle == 3)
    assert sizes(service) == {"default": 1, "gpu": 2}
    shown = remote(service, "status").stdout
    assert "Autoscaling of default:" in shown
    assert "Autoscaling of gpu:" in shown
    address = service.address("Metrics")
    metrics = httpx.get(f"http://{address}/metrics", timeout=120.0).text
    assert 'builder_pool_workers{pool="gpu",size="ready"} 2.0' in metrics
    assert 'builder_pool_workers{pool="default",size="ready"} 1.0' in metrics
    remote(service, "scale", "--workers", "0", "--pool", "gpu")
    service.until("they are gone", lambda status: status.workers.total == 1)
    released = remote(service, "scale", "--release", "--pool", "gpu")
    assert "The pool gpu follows the policy predictive again" in released.stdout
