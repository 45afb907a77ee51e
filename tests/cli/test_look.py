"""`builder remote ...` against a service that runs."""

import json
import os
import pty
import subprocess
import sys

import trio

from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from tests.server.farm import Farm, farming

PROGRAM = "import sys; sys.argv[0] = 'builder'; from builder.cli.start import main; main()"


async def said(farm: Farm, *args: str) -> tuple[int, str, str]:
    command = [sys.executable, "-c", PROGRAM, "remote", *args, "--coordinator", farm.address]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def ended(farm: Farm, *arguments: str, **result: object) -> str:
    """The id of an action that has run with this result."""
    async with farm.worker() as worker, farm.execute(await farm.put_action(*arguments)) as stream:
        name = (await stream.next()).name
        lease = await worker.granted()
        response = pb.ExecuteResponse(result=pb.ActionResult(**result))
        await worker.finish(lease.lease_id, response)
        await stream.result()
    return name.rpartition("/")[2]


async def test_an_action_is_followed_from_the_list_to_its_logs() -> None:
    """List, details, logs, and why it was a miss; the exit code of logs is that of the action."""
    async with farming(patience_s=240) as farm:
        await ended(farm, "cc", "-O2")
        id_ = await ended(farm, "cc", "-O3", exit_code=1, stdout_raw=b"out", stderr_raw=b"err")
        code, out, _ = await said(farm, "actions")
        assert (code, out.count("\n")) == (0, 3)
        code, out, _ = await said(farm, "action", id_)
        assert "Arguments: cc -O3" in out
        assert await said(farm, "logs", id_) == (1, "out", "err")
        code, out, _ = await said(farm, "explain-miss", id_)
        assert "before: -O2" in out
        code, out, _ = await said(farm, "action", id_, "--json")
        assert json.loads(out)["summary"]["exit_code"] == 1
        code, _, err = await said(farm, "cancel", id_)
        assert (code, err.count("\n")) == (1, 1)
        code, _, err = await said(farm, "action", "nonsense")
        assert (code, err[:6]) == (1, "error:")


async def test_logs_are_followed_while_the_action_runs() -> None:
    """Each piece comes when it is written; the exit code is the action's in the end."""
    async with (
        farming(patience_s=240) as farm,
        farm.worker() as worker,
        farm.execute(await farm.put_action("make")) as stream,
        trio.open_nursery() as nursery,
    ):
        id_ = (await stream.next()).name.rpartition("/")[2]
        lease = await worker.granted()
        seen, heard = trio.open_memory_channel[str](10)
        codes: list[int] = []

        async def follow() -> None:
            command = [sys.executable, "-c", PROGRAM, "remote", "logs", id_, "-f"]
            process = await trio.lowlevel.open_process(
                [*command, "--coordinator", farm.address],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,  # nothing but the output is said, on either
            )
            assert process.stdout is not None
            async for piece in process.stdout:
                seen.send_nowait(piece.decode())
            codes.append(await process.wait())
            seen.close()

        nursery.start_soon(follow)
        while (wanted := (await worker.take("output_wanted")).output_wanted).stderr:
            pass
        piece = workers_pb2.Output(request_id=wanted.request_id, data=b"one\n")
        await worker.say(output=piece)  # all that it ever answers
        assert await heard.receive() == "one\n"  # the action goes on
        result = pb.ActionResult(exit_code=3, stdout_raw=b"one\ntwo\n")
        await worker.finish(lease.lease_id, pb.ExecuteResponse(result=result))
        await stream.result()
        assert "".join([piece async for piece in heard]) == "two\n"
        assert codes == [1]


async def test_health_is_the_exit_code_of_status() -> None:
    """An action that no worker can take is a problem."""
    async with farming(patience_s=240) as farm:
        code, out, _ = await said(farm, "status")
        assert (code, "State: healthy" in out) == (0, True)
        async with farm.execute(await farm.put_action("one")) as stream:
            await stream.next()
            code, out, _ = await said(farm, "status")
            assert code == 1
            assert "no worker for it is connected" in out


async def read(terminal: int) -> bytes:
    """What was written to it; nothing when its program has ended."""
    await trio.lowlevel.wait_readable(terminal)
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: nobody has the other end any more
        return b""


async def test_watch_is_lines_without_a_terminal_and_a_screen_on_one() -> None:
    """Keys change the view, q ends it, and the terminal is as it was."""
    async with farming(patience_s=240) as farm:
        code, out, _ = await said(farm, "watch", "--count", "1")
        assert (code, out.count("\n")) == (0, 1)
        master, slave = pty.openpty()
        command = [sys.executable, "-c", PROGRAM, "remote", "watch", "--coordinator", farm.address]
        screen = b""
        process = await trio.lowlevel.open_process(command, stdin=slave, stdout=slave)
        os.close(slave)
        for wanted, key in ((b"actions/min", b"a"), (b"No action is known", b"q")):
            while wanted not in screen:
                screen += await read(master)
            os.write(master, key)
        while data := await read(master):
            screen += data
        assert await process.wait() == 0
        os.close(master)
        assert screen.endswith(b"\x1b[?1049l")
