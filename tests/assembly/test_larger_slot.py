"""An action that the worker's own limit killed for memory runs once more on a larger slot."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.assembly.client import Client
from tests.e2e.held import holding
from tests.e2e.service import PATIENCE_S, running

CONFIG = """role: all
store: {{path: {folder}/store}}
artifacts: {{enabled: false}}
sandbox: {{limits: {{memory: 64MiB}}}}
worker: {{scratch: {folder}/worker, slots: 2, memory: 2GiB}}
"""
FLAGS = ["--coordinator", "0", "--reapi", "0", "--metrics", "0"]
FLAGS += ["--workers-min", "1", "--workers-max", "1"]
TAKES = "python3 -S -c 'print(len(bytes(1) * {}))'"


def test_once_more_with_room_and_its_neighbour_unharmed(tmp_path: Path) -> None:
    """The result says so; what wants more than any slot has is told that it was killed."""
    with running(tmp_path, config=CONFIG, flags=FLAGS) as service:
        (worker,) = service.until("it is there", lambda s: s.workers.idle == 1).worker
        if "memory-cgroup" not in worker.guarantees:
            pytest.skip("this host gives no control group that limits memory")
        assert list(worker.capacity) == ["memory=2GiB"]
        with holding() as held, ThreadPoolExecutor(1) as threads, Client(service.reapi) as client:
            with held:
                neighbour = threads.submit(client.execute, held.script("echo unharmed"))
                service.until("it runs", lambda s: s.workers.busy == 1)
                response = client.execute(TAKES.format(120_000_000))
                assert response.result.stdout_raw == b"120000000\n", response
                assert "was killed for memory with memory=" in response.message
                assert "runs once more with memory=256MiB" in response.message
            assert neighbour.result(PATIENCE_S).result.stdout_raw == b"unharmed\n"
        service.said("reason=out-of-memory")
