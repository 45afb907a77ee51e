"""Workers as child processes: the contract, and that none outlives its parent."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from builder.providers.interface import Provider, RefusedError
from builder.providers.local import LocalProvider
from tests.providers.contract import CONTRACT

# as `builder worker --exit-with-stdin` does: lives until its stdin ends
CHILD = "import sys; print(sys.argv[1], flush=True, file=sys.stderr); sys.stdin.read()"
STUBBORN = "import signal, sys; signal.signal(15, signal.SIG_IGN); sys.stdin.read()"


def child(name: str) -> list[str]:
    return [sys.executable, "-S", "-c", CHILD, name]


@asynccontextmanager
async def local(
    argv_for: Callable[[str], list[str]] = child, grace_s: float = 10.0
) -> AsyncIterator[LocalProvider]:
    with trio.fail_after(60):
        async with LocalProvider(argv_for, grace_s) as provider:
            yield provider


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("promise", CONTRACT)
async def test_keeps_the_contract(promise: Callable[[Provider], Awaitable[None]]) -> None:
    async with local() as provider:
        await promise(provider)


async def test_leaving_ends_every_worker() -> None:
    async with local() as provider:
        await provider.launch(3, "one")
        pids = provider.pids().values()
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids)


async def test_a_worker_that_will_not_end_is_killed_after_the_grace() -> None:
    async with local(lambda _: [sys.executable, "-S", "-c", STUBBORN], 0.2) as provider:
        await provider.launch(1, "one")
        (pid,) = provider.pids().values()
    assert not alive(pid)


async def test_a_worker_that_dies_is_told_of_and_not_listed() -> None:
    died = trio.Event()
    ends: list[tuple[str, str]] = []
    with trio.fail_after(60):
        async with LocalProvider(
            child, 10.0, lambda *end: ends.append(end) or died.set()
        ) as provider:
            first, second = await provider.launch(2, "one")
            os.kill(provider.pids()[first.id], signal.SIGKILL)
            await died.wait()
            assert await provider.list() == [second]
            assert ends == [(first.id, "SIGKILL")]


async def test_a_program_that_is_not_there_is_a_provider_error() -> None:
    """Each time that it is asked for; only a person can help."""
    async with local(lambda _: ["/no/such/program"]) as provider:
        for _ in range(2):
            with pytest.raises(RefusedError, match="cannot start /no/such/program"):
                await provider.launch(1, "one")
        assert await provider.list() == []


async def test_what_could_be_started_is_given() -> None:
    """The third cannot be: two are the answer, now and when it is asked again."""
    argv = {"worker-1": child("1"), "worker-2": child("2")}
    async with local(lambda name: argv.get(name, ["/no/such/program"])) as provider:
        started = await provider.launch(3, "one")
        assert [instance.id for instance in started] == ["worker-1", "worker-2"]
        assert await provider.launch(3, "one") == started


PARENT = """
import sys, trio
from builder.providers.local import LocalProvider

def child(name):
    return [sys.executable, "-S", "-c", sys.argv[1], name]

async def main():
    async with LocalProvider(child, 5.0) as provider:
        await provider.launch(2, "one")
        print(*provider.pids().values(), flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_no_worker_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    """kill -9 of the coordinator: the kernel ends the children's stdin, and they stop."""
    parent = await trio.lowlevel.open_process(
        [sys.executable, "-c", PARENT, CHILD],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert parent.stdout is not None
    async with parent.stdout:
        with trio.fail_after(60):
            line = b""
            while not line.endswith(b"\n"):
                line += await parent.stdout.receive_some()
            pids = [int(word) for word in line.split()]
            assert len(pids) == 2
            handles = [os.pidfd_open(pid) for pid in pids]
            parent.kill()
            await parent.wait()
            for handle in handles:
                await trio.lowlevel.wait_readable(handle)  # readable once it has ended
                os.close(handle)
