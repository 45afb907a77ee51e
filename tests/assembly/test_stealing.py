"""Real workers that steal: results are right and come once, whoever is killed or stopped."""

import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    running,
)

CONFIG = """role: coordinator
store: {{path: {folder}/store}}
artifacts: {{enabled: false}}
scheduler:
  heartbeat_interval: 500ms
  heartbeat_timeout: 3s
  reconnect_grace: 2s
  infrastructure_retries: 20
  work_stealing: true
"""
FLAGS = ["--coordinator", "127.0.0.1:0", "--reapi", "0", "--metrics", "0"]


@dataclass
class Farm:
    """A coordinator that steals, and what tests ask of it."""

    folder: Path
    service: Service
    stack: ExitStack
    threads: ThreadPoolExecutor
    asked: dict[str, "Future[Any]"] = field(default_factory=dict)

    def worker(self, name: str, *flags: str) -> "subprocess.Popen[bytes]":
        """A process of its own with one slot, which is killed in the end."""
        words = ["--name", name, "--slots", "1", "--scratch", str(self.folder / name)]
        process = subprocess.Popen(
            [*FROM_SOURCE, "worker", "--coordinator", self.service.coordinator, *words, *flags],
            cwd=ROOT,
            env=environment(self.folder),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def thief(self, name: str) -> "subprocess.Popen[bytes]":
        return self.worker(name, "--work-stealing")

    def ask(self, word: str, held: Held | None = None) -> None:
        """For an action that says this word; a held one says it when it is let go."""
        script = f"echo {word}" if held is None else held.script(f"echo {word}")

        def wait() -> Any:
            with Client(self.service.reapi) as client:
                return client.execute_for_sure(script)

        self.asked[word] = self.threads.submit(wait)

    def ran_on(self, word: str) -> str:
        """The worker whose result it is, which has to be right."""
        response = self.asked[word].result(PATIENCE_S)
        assert response.status.code == 0, response
        assert response.result.stdout_raw == word.encode() + b"\n"
        return str(response.result.execution_metadata.worker)

    def loaded(self, name: str, waiting: int) -> None:
        """Wait until this worker runs one action and has so many in its backlog."""

        def holds(status: control_pb2.Status) -> bool:
            known = {one.name: (one.slots_busy, one.backlog) for one in status.worker}
            return known.get(name) == (1, waiting)

        self.service.until(f"{name} is loaded", holds)

    def end(self) -> control_pb2.Status:
        """Nothing is left, and each action has one result."""
        status = self.service.until(
            "nothing is left", lambda s: not s.queue.pending + s.queue.executing
        )
        assert status.queue.completed == len(self.asked)
        return status


@contextmanager
def farm(folder: Path) -> Iterator[tuple[Farm, Held]]:
    with ExitStack() as stack:
        held = stack.enter_context(holding())
        threads = stack.enter_context(ThreadPoolExecutor(8))
        service = stack.enter_context(running(folder, config=CONFIG, flags=FLAGS))
        stack.enter_context(held)
        yield Farm(folder, service, stack.enter_context(ExitStack()), threads), held


@pytest.mark.slow
def test_idle_workers_take_what_waits_and_may_be_killed_like_those_they_took_it_from(
    tmp_path: Path,
) -> None:
    """A thief takes what waits behind an action that hangs, and dies with it; another thief takes
    it again; then the victim dies, and what it ran and what waited there is run elsewhere."""
    with farm(tmp_path) as (farm_, held):
        victim = farm_.thief("victim")
        farm_.ask("first", held)
        farm_.loaded("victim", 0)
        farm_.ask("second", held)
        farm_.loaded("victim", 1)
        first = farm_.thief("first-thief")
        status = farm_.service.until("it is taken", lambda s: s.stealing.moved == 1)
        assert status.stealing.backlog == 0
        action = next(one for one in status.action if one.worker == "first-thief")
        assert action.reason.endswith(", attempt 2, taken from the backlog of victim")
        farm_.ask("third")
        farm_.service.until("it waits", lambda s: s.stealing.backlog == 1)
        first.kill()
        farm_.service.until("the thief is lost", lambda s: s.workers.total == 1)
        farm_.loaded("victim", 2)
        farm_.thief("second-thief")
        farm_.service.until("it is taken again", lambda s: s.stealing.moved == 2)
        victim.kill()
        farm_.service.until("the victim is lost", lambda s: s.workers.total == 1)
        held.let_go()
        assert {farm_.ran_on(word) for word in ("first", "second", "third")} == {"second-thief"}
        farm_.end()
        farm_.service.until("its calls are told", lambda s: s.stealing.attempted >= 1)


@pytest.mark.slow
def test_a_victim_that_is_stopped_gives_nothing_and_nothing_is_lost(tmp_path: Path) -> None:
    """Its thief does not wait for it for ever; what it held goes elsewhere, all of it, and when it
    goes on, it has nothing to do any more and takes what waits there."""
    with farm(tmp_path) as (farm_, held):
        victim = farm_.thief("victim")
        farm_.ask("first", held)
        farm_.loaded("victim", 0)
        farm_.ask("second")
        farm_.ask("third")
        farm_.loaded("victim", 2)
        victim.send_signal(signal.SIGSTOP)
        farm_.thief("thief")
        farm_.loaded("thief", 2)
        victim.send_signal(signal.SIGCONT)
        assert {farm_.ran_on("second"), farm_.ran_on("third")} == {"victim"}
        held.let_go()
        assert farm_.ran_on("first") == "thief"
        farm_.end()


@pytest.mark.slow
def test_a_worker_that_does_not_take_part_has_no_backlog(tmp_path: Path) -> None:
    """And a drained one that does hands its own back."""
    with farm(tmp_path) as (farm_, held):
        plain = farm_.worker("plain")
        farm_.service.until("it is there", lambda s: s.workers.total == 1)
        farm_.ask("first", held)
        farm_.ask("second", held)
        status = farm_.service.until("it works", lambda s: s.workers.busy == 1)
        farm_.service.until("one waits", lambda s: s.queue.pending == 1)
        assert status.stealing.backlog == 0
        drained = farm_.thief("drained")
        farm_.service.until("both work", lambda s: s.queue.executing == 2)
        farm_.ask("third")
        farm_.loaded("drained", 1)
        drained.send_signal(signal.SIGTERM)
        farm_.service.until("it is handed back", lambda s: s.stealing.backlog == 0)
        held.let_go()
        assert farm_.ran_on("third") == "plain"
        assert plain.poll() is None
        status = farm_.end()
        assert status.stealing.attempted == status.stealing.moved == 0
