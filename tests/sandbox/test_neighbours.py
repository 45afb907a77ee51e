"""What actions of one host have in common is their user's: none can use it up for the others."""

from pathlib import Path

import trio

from builder.sandbox.interface import Outcome, Sandbox
from builder.sandbox.native import open_sandbox
from tests.sandbox.support import READ_ONLY, python, shell

FLOOD = """
import os, socket, sys, time
held, fd = [], os.open("/dev/null", os.O_RDONLY).to_bytes(4, "little")
try:
    while True:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        one.setblocking(False)
        held += [one, other]
        try:
            while True:
                one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fd * 250)])
        except BlockingIOError:
            pass
except OSError as error:
    print(error.errno, flush=True)
time.sleep(300)
"""


async def test_descriptors_on_their_way(tmp_path: Path) -> None:
    """The kernel bounds a user's descriptors that are in messages. An action that sends as many as
    it may to itself hinders none of the others: not those that are ready, not new ones."""
    async with (
        open_sandbox(read_only=READ_ONLY, ready=1) as sandbox,
        trio.open_nursery() as nursery,
    ):
        (tmp_path / "flood").mkdir()
        nursery.start_soon(flood, sandbox, tmp_path / "flood")
        with trio.fail_after(120):
            # its output is the one sign of it
            while not any(path.read_text() for path in (tmp_path / "flood").glob("*/stdout")):  # noqa: ASYNC110
                await trio.sleep(0.05)
        for number in range(4):
            base = tmp_path / str(number)
            base.mkdir()
            with trio.fail_after(120):
                done = await shell(sandbox, base, "echo out > result; echo said")
            assert done.exit.outcome is Outcome.EXITED, done.exit
            assert (done.out, done.tree) == ("said\n", {"result": b"out\n"})
        nursery.cancel_scope.cancel()


async def flood(sandbox: Sandbox, base: Path) -> None:
    await python(sandbox, base, FLOOD)
