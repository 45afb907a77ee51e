"""Processes that are killed and stopped in mid-build: every client gets one right result."""

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.assembly.client import Client
from tests.assembly.workers import names, worker
from tests.e2e.held import holding
from tests.e2e.service import PATIENCE_S, Service, free_port, running

CONFIG = """role: coordinator
store: {{{{path: {{folder}}/store}}}}
artifacts: {{{{enabled: false}}}}
coordinator: {{{{listen: "127.0.0.1:{port}"}}}}
reapi: {{{{listen: "127.0.0.1:{reapi}"}}}}
scheduler:
  heartbeat_interval: 500ms
  heartbeat_timeout: 3s
  reconnect_grace: 2s
  abandon_grace: 10m
  infrastructure_retries: 20
"""
ACTIONS = 6


@pytest.mark.slow
def test_every_client_gets_one_right_result_whatever_is_killed(tmp_path: Path) -> None:
    """A worker is killed, another one stopped until it is given up and then let go on, and the
    coordinator killed and started again, all while six clients wait."""
    port, reapi = free_port(), free_port()
    config = CONFIG.format(port=port, reapi=reapi)
    address, flags = f"127.0.0.1:{port}", ["--metrics", "0"]
    results: list[tuple[int, bytes]] = []

    def ask(number: int, script: str) -> None:
        with Client(f"127.0.0.1:{reapi}") as client:
            response = client.execute_for_sure(script)
            assert response.status.code == 0, response
            results.append((number, response.result.stdout_raw))

    with ExitStack() as stack:
        processes = {n: stack.enter_context(worker(tmp_path, n, address)) for n in "abc"}
        held = stack.enter_context(holding())
        threads = stack.enter_context(ThreadPoolExecutor(ACTIONS))
        with running(tmp_path, config=config, flags=flags) as first, held:
            first.until("all are there", lambda s: names(s) == {"a", "b", "c"})
            asked = [
                threads.submit(ask, number, held.script(f"echo {number}"))
                for number in range(ACTIONS)
            ]
            first.until("they work", lambda s: (s.workers.busy, s.queue.pending) == (3, 3))
            processes["a"].kill()
            first.until("a is lost", lambda s: names(s) == {"b", "c"})
            processes["b"].send_signal(signal.SIGSTOP)
            first.until("b is given up", lambda s: names(s) == {"c"})
            processes["b"].send_signal(signal.SIGCONT)
            status = first.until("b is back", lambda s: names(s) == {"b", "c"})
            assert status.queue.completed == 0
            first.process.kill()
            first.process.wait()
            with running(tmp_path, config=config, flags=flags) as second:
                second.until("they work again", lambda s: s.workers.busy == 2)
                assert results == []
                held.let_go()
                for one in asked:
                    one.result(PATIENCE_S)
                end(second)
    assert sorted(results) == [(number, b"%d\n" % number) for number in range(ACTIONS)]


def end(service: Service) -> None:
    """Nothing is left, and nothing was done twice."""
    status = service.until("nothing is left", lambda s: not s.queue.pending + s.queue.executing)
    assert status.executions.failed == 0
    assert status.queue.completed <= ACTIONS
