"""Records in segments: the last value or none, whatever is evicted, killed, damaged or older."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.errors import UsageError
from builder.stores.disk_records import LEAST_CAPACITY, DiskRecords
from builder.stores.folder import Folder
from builder.stores.record_files import RecordFiles
from tests.stores.conftest import Time

TREE = Path(__file__).parent.parent.parent
CAPACITY = LEAST_CAPACITY
NAMES = [f"{number:02x}" * 32 for number in range(200)]
WRITER = """
import sys, trio
from pathlib import Path
from builder.stores.disk_records import DiskRecords
async def main():
    records = DiskRecords(Path(sys.argv[1]), 64 << 20)
    await records.load()
    for number in range(1_000_000):
        name, value = f"{number % 50:064x}", b"%d " % number * 100
        if not records.put_nowait("s", name, value):
            await records.put("s", name, value)
        print(number, flush=True)
trio.run(main)
"""


def killed(records: DiskRecords) -> None:
    """The directory is let go of, but nothing is written down."""
    records._log.log.close()
    records._folder.close()


def segments_of(records: DiskRecords) -> list[Path]:
    return [Path(one.path) for one in records._log.log.segments.values()]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1 << 32))
async def test_it_is_the_last_value_or_none(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Records of all sizes, replaced and evicted, over kills and restarts: never an older value,
    never one of another name; and the directory keeps to its capacity."""
    chance, clock, root = random.Random(seed), Time(), tmp_path_factory.mktemp("records")
    last: dict[str, bytes] = {}
    kept = 0
    for _ in range(4):
        records = DiskRecords(root, CAPACITY, clock)
        if chance.random() < 0.5:
            await records.load()
        for _ in range(200):
            clock.now += chance.choice((0, 1, 100))
            name, size = chance.choice(NAMES), chance.choice((0, 900, 60_000, 65_600, 150_000))
            if chance.random() < 0.8:
                value = chance.randbytes(8) + name.encode() + bytes(size)
                if not records.put_nowait("s", name, value):
                    await records.put("s", name, value)
                last[name] = value
            else:
                found = await records.get("s", name)
                assert found is None or found == last[name]
        await records.load()
        assert records.snapshot().used_bytes <= CAPACITY
        records._log.log.check()
        for name, value in last.items():
            found = await records.get("s", name)
            assert found is None or found == value
            assert found is None or not records.lacks("s", name)
            kept += found is not None
        killed(records) if chance.random() < 0.7 else records.close()
    assert kept


async def test_what_is_in_use_stays(tmp_path: Path, clock: Time) -> None:
    """While three times the capacity is written, a record that is asked for now and then stays,
    and what stays beside it is the youngest."""
    records = DiskRecords(tmp_path / "r", CAPACITY, clock)
    await records.load()
    hashes = [f"{number:064x}" for number in range(1000)]
    for hash_ in hashes:
        clock.now += 61
        await records.put("s", hash_, bytes(48 * 1024))
        assert await records.get("s", hashes[0]) is not None
    left = [hash_ for hash_ in hashes if not records.lacks("s", hash_)]
    assert 150 < len(left) < 350
    assert hashes[0] in left
    assert set(hashes[-100:]) <= set(left)
    assert records.snapshot().evicted_blobs == 1000 - len(left)
    records.close()


async def test_files_of_the_first_layout_are_served(tmp_path: Path, clock: Time) -> None:
    """Nothing of an older directory is lost: its files are records, until they are put anew; then
    the new value counts, after a restart too."""
    root = tmp_path / "r"
    folder = Folder(root)
    older = RecordFiles(folder, CAPACITY, clock)
    for name in NAMES[:10]:
        older.put("s", name, name.encode())
    folder.close()
    records = DiskRecords(root, CAPACITY, clock)
    assert [await records.get("s", name) for name in NAMES[:10]] == [n.encode() for n in NAMES[:10]]
    await records.put("s", NAMES[0], b"new")
    await records.load()
    assert not records.lacks("s", NAMES[1])
    assert records.snapshot().blobs == 10
    killed(records)
    assert not list(root.rglob(NAMES[0]))
    again = DiskRecords(root, CAPACITY, clock)
    assert await again.get("s", NAMES[0]) == b"new"
    assert await again.get("s", NAMES[1]) == NAMES[1].encode()
    again.close()


async def test_a_layout_of_the_future_is_refused(tmp_path: Path) -> None:
    """The refusal says which layout it is, and lets go of the directory."""
    DiskRecords(tmp_path, CAPACITY).close()
    layout = (tmp_path / "layout").read_text()
    (tmp_path / "layout").write_text("9\n")
    with pytest.raises(UsageError, match="has layout '9'"):
        DiskRecords(tmp_path, CAPACITY)
    (tmp_path / "layout").write_text(layout)
    DiskRecords(tmp_path, CAPACITY).close()


async def test_a_record_that_grows_and_shrinks_is_one(tmp_path: Path, clock: Time) -> None:
    """From a segment into a file and back: the other place forgets it."""
    for size in (10, 100_000, 20, 200_000):
        records = DiskRecords(tmp_path, CAPACITY, clock)
        await records.load()
        await records.put("s", NAMES[0], bytes(size))
        assert records.snapshot().blobs == 1
        killed(records)
        again = DiskRecords(tmp_path, CAPACITY, clock)
        assert await again.get("s", NAMES[0]) == bytes(size)
        killed(again)


async def test_damage_is_a_miss(tmp_path: Path, clock: Time) -> None:
    """A record whose bytes changed is not served, nor found again; its neighbours are."""
    records = DiskRecords(tmp_path, CAPACITY, clock)
    for number, name in enumerate(NAMES[:3]):
        await records.put("s", name, b"value %d" % number)
    [path] = segments_of(records)
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(data.index(b"value 1"))
        file.write(b"VALUE")
    assert await records.get("s", NAMES[1]) is None
    killed(records)
    again = DiskRecords(tmp_path, CAPACITY, clock)
    assert [await again.get("s", name) for name in NAMES[:3]] == [b"value 0", None, b"value 2"]
    again.close()


async def kept_in(root: Path) -> list[bytes | None]:
    records = DiskRecords(root, 64 << 20)
    values = [await records.get("s", f"{number:064x}") for number in range(50)]
    records.close()
    return values


@pytest.mark.slow
def test_a_kill_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    """Kill -9 of a writer at any moment: each name has the last value that was acknowledged, or the
    one that was being written."""
    for said_at_least in (1, 700, 9000):
        root = tmp_path / str(said_at_least)
        program = [sys.executable, "-c", WRITER, str(root)]
        with subprocess.Popen(program, cwd=TREE, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said = -1
            while said < said_at_least:
                said = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
            said = max([said, *map(int, writer.stdout.read().split("\n")[:-1])])
        for number, value in enumerate(trio.run(kept_in, root)):
            last = said - (said - number) % 50  # that was acknowledged; negative: none was
            fit = {b"%d " % one * 100 for one in (last, last + 50) if 0 <= one <= said + 1}
            assert value in fit or (last < 0 and value is None)
