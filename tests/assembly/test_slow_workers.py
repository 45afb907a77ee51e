"""Workers that are slow, or stand still in mid-action: every client gets one right result.

Nothing here depends on how slow: a worker that stands still is never given up, and each wait is for
a state.
"""

import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.assembly.client import Client
from tests.assembly.workers import names, worker
from tests.e2e.held import holding
from tests.e2e.service import PATIENCE_S, running

CONFIG = """role: coordinator
store: {{path: {folder}/store}}
artifacts: {{enabled: false}}
scheduler: {{heartbeat_interval: 500ms, heartbeat_timeout: 10m, hedge: true, hedge_after: 1s}}
"""
FLAGS = ["--coordinator", "127.0.0.1:0", "--reapi", "0", "--metrics", "0"]
ACTIONS = 8
ALIKE = 6  # more than it takes to know how long one takes
STANDS_S, WORKS_S = 0.3, 0.05


@contextmanager
def bursts(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """The worker, its sandboxes and what runs in them get a seventh of the time."""
    ended = threading.Event()

    def tell(told: signal.Signals) -> None:
        with suppress(psutil.NoSuchProcess):
            whole = psutil.Process(process.pid)
            for one in (whole, *whole.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    one.send_signal(told)

    def run() -> None:
        while not ended.is_set():
            tell(signal.SIGSTOP)
            ended.wait(STANDS_S)
            tell(signal.SIGCONT)
            ended.wait(WORKS_S)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.slow
def test_a_worker_that_works_in_bursts(tmp_path: Path) -> None:
    """It has one of the eight actions at least; its results are as right as the other one's."""
    results: list[tuple[int, bytes]] = []
    with ExitStack() as stack:
        held = stack.enter_context(holding())
        threads = stack.enter_context(ThreadPoolExecutor(ACTIONS))
        service = stack.enter_context(running(tmp_path, config=CONFIG, flags=FLAGS))
        processes = {
            name: stack.enter_context(worker(tmp_path, name, service.coordinator))
            for name in ("slow", "quick")
        }

        def ask(number: int) -> None:
            with Client(service.reapi) as client:
                response = client.execute_for_sure(held.script(f"echo {number}"))
                assert response.status.code == 0, response
                results.append((number, response.result.stdout_raw))

        with held:
            service.until("both are there", lambda s: names(s) == {"slow", "quick"})
            asked = [threads.submit(ask, number) for number in range(ACTIONS)]
            service.until("both work", lambda s: (s.workers.busy, s.queue.pending) == (2, 6))
            held.let_go()
            with bursts(processes["slow"]):
                for one in asked:
                    one.result(PATIENCE_S)
        status = service.until("nothing is left", lambda s: not s.queue.pending + s.queue.executing)
    assert sorted(results) == [(number, b"%d\n" % number) for number in range(ACTIONS)]
    assert (status.queue.completed, status.executions.failed) == (ACTIONS, 0)


@pytest.mark.slow
def test_what_stands_still_gets_a_second_attempt(tmp_path: Path) -> None:
    """The worker stands still with an action whose like took no time; another one comes, and the
    client has its answer from there. When the first goes on, nobody hears of it again."""
    with ExitStack() as stack:
        service = stack.enter_context(running(tmp_path, config=CONFIG, flags=FLAGS))
        client = stack.enter_context(Client(service.reapi))
        threads = stack.enter_context(ThreadPoolExecutor(1))

        def run(number: int) -> tuple[bytes, str]:
            result = client.execute("cat n", {"n": b"%d" % number}).result
            return result.stdout_raw, result.execution_metadata.worker

        still = stack.enter_context(worker(tmp_path, "still", service.coordinator))
        assert [run(number) for number in range(ALIKE)] == [
            (b"%d" % number, "still") for number in range(ALIKE)
        ]
        still.send_signal(signal.SIGSTOP)
        last = threads.submit(run, ALIKE)
        service.until("the worker has it", lambda s: s.queue.executing == 1)
        stack.enter_context(worker(tmp_path, "other", service.coordinator))
        assert last.result(PATIENCE_S) == (b"%d" % ALIKE, "other")
        assert "second attempt on other" in service.said("hedged")
        still.send_signal(signal.SIGCONT)
        status = service.until("both are idle", lambda s: (s.workers.busy, len(s.worker)) == (0, 2))
    assert names(status) == {"still", "other"}
    assert (status.queue.completed, status.executions.failed) == (ALIKE + 1, 0)
