"""A program's end, and what others still read of it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import trio
import trio.testing

from builder.reapi.persistent import Persistent
from builder.sandbox.interface import Limits, Sandbox
from builder.sandbox.native import open_sandbox
from builder.worker.persistent.command import WorkerCommand
from builder.worker.persistent.place import Place
from builder.worker.persistent.process import Process

SLEEPS = WorkerCommand(
    "key", ("sleep", "1000"), {}, Limits(), frozenset(), frozenset(), Persistent()
)


async def lives(process: Process, sandbox: Sandbox, over: trio.Event) -> None:
    await process.live(sandbox)
    over.set()


async def test_what_was_taken_stays_until_it_is_released(tmp_path: Path) -> None:
    """Though the program is gone: an action may have made its outputs just before that."""
    (tmp_path / "inputs" / "made").mkdir(parents=True)
    base = tmp_path / "base"
    base.mkdir()
    process = Process(SLEEPS, Place(str(base), frozenset(), together=False), trio.current_time())
    over = trio.Event()
    async with open_sandbox() as sandbox, trio.open_nursery() as nursery:
        nursery.start_soon(lives, process, sandbox, over)
        for _ in range(2):
            process.hold()
        number = process.place.put(str(tmp_path / "inputs"), ())
        taken = Path(process.place.take(number))
        process.end("it has served enough")
        with trio.fail_after(60):
            await process.gone.wait()
            process.release()
            await trio.testing.wait_all_tasks_blocked()
            assert (taken / "made").is_dir()
            assert not over.is_set()
            process.release()
            await over.wait()
    assert not base.exists()


def test_requests_that_come_at_once_have_numbers_of_their_own(tmp_path: Path) -> None:
    """Each is prepared in a thread, and all are counted once."""
    (tmp_path / "inputs").mkdir()
    (tmp_path / "base").mkdir()
    for number in range(20):
        (tmp_path / "inputs" / str(number)).touch()
    place = Place(str(tmp_path / "base"), frozenset(), together=True)
    barrier = Barrier(8)

    def put(_: int) -> int:
        barrier.wait(60)
        return place.put(str(tmp_path / "inputs"), ())

    with ThreadPoolExecutor(8) as pool:
        numbers = [number for _ in range(5) for number in pool.map(put, range(8))]
    assert len(set(numbers)) == 40
    assert {len(list(Path(place.take(number)).iterdir())) for number in numbers} == {20}
    place.close()
