"""The journal: a file that outlives the coordinator, and what comes of it."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.base.errors import NotFoundError
from builder.reapi.pb import journal_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.schedule.policy import Policy
from builder.server.journal import FileJournal, frame, message_of, records
from builder.stores.memory import MemoryBlobStore
from tests.server.farm import MIB, farming, metadata_of
from tests.server.journal_kit import entry, reopened

TREE = Path(__file__).parent.parent.parent
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]


def test_what_is_remembered_comes_back_as_it_was(tmp_path: Path) -> None:
    """In the order of asking, without what has ended."""
    path = tmp_path / "journal"
    journal = FileJournal(path)
    assert journal.load() == ()
    one, two, three = entry("one"), entry("two"), entry("three", task="two")
    for each in (one, two, three):
        journal.remember(each)
    journal.flush()
    journal.forget("one")
    journal.forget("never heard of")
    journal.flush()
    assert reopened(path) == [two, three]
    assert reopened(path) == [two, three]


def test_its_figures_tell_what_it_did(tmp_path: Path) -> None:
    """What waits, what it has written, and what it took over."""
    path = tmp_path / "journal"
    journal = FileJournal(path)
    journal.load()
    for name in ("one", "two"):
        journal.remember(entry(name))
    journal.flush()
    journal.forget("one")
    journal.flush()
    figures = journal.figures
    assert (journal.waiting, figures.replayed, figures.rewrites) == (1, 0, 1)
    assert figures.size_bytes == figures.written_bytes == path.stat().st_size
    assert figures.write_s > 0
    journal.close()
    again = FileJournal(path)
    again.load()
    assert (again.waiting, again.figures.replayed) == (1, 1)
    assert again.figures.size_bytes == path.stat().st_size < figures.size_bytes
    again.close()


def test_a_full_disk_costs_the_safety_of_a_restart_and_nothing_else(tmp_path: Path) -> None:
    """A really full one: nobody is hindered, the file stays whole, and catches up when it can."""
    full, copy = tmp_path / "full", tmp_path / "copy"
    full.mkdir()
    probe = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", full], check=False)
    if probe.returncode:
        pytest.skip("this user may not mount a tmpfs in a namespace of its own")
    program = [sys.executable, "-m", "tests.server.full_journal", str(full), str(copy)]
    done = subprocess.run([*UNSHARE, *program], cwd=TREE, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "ok\n"


def test_nothing_is_written_before_the_flush(tmp_path: Path) -> None:
    """One write for each round, however much happened in it."""
    path = tmp_path / "journal"
    journal = FileJournal(path)
    journal.load()
    journal.remember(entry("one"))
    assert path.read_bytes() == b""
    journal.close()
    assert len(reopened(path)) == 1


def test_an_action_that_is_not_taken_any_more_keeps_nobody_from_starting(tmp_path: Path) -> None:
    """A newer version finds a property invalid: the others come back, it does not."""
    path = tmp_path / "journal"
    journal = FileJournal(path)
    journal.load()
    odd = entry("odd", properties=(("max-memory", "?"),))
    for each in (entry("one"), odd, entry("two")):
        journal.remember(each)
    journal.flush()
    assert [one.operation for one in reopened(path)] == ["one", "two"]
    assert len(reopened(path)) == 2


@given(cut=st.integers(0, 600), flip=st.integers(0, 599))
def test_a_torn_or_damaged_end_is_left_out(cut: int, flip: int) -> None:
    """Whatever is whole before it counts; no bytes make it raise."""
    framed = [
        frame(journal_pb2.Record(remembered=message_of(entry(str(number)))).SerializeToString())
        for number in range(3)
    ]
    whole, lengths = b"".join(framed), list(map(len, framed))
    torn = whole[:cut]
    complete = sum(sum(lengths[: n + 1]) <= len(torn) for n in range(3))
    assert len(list(records(torn))) == complete
    damaged = bytearray(whole)
    damaged[flip % len(whole)] ^= 0x40
    assert len(list(records(bytes(damaged)))) <= 2


def test_the_file_stays_in_proportion_to_what_is_live(tmp_path: Path) -> None:
    """A million ended operations do not make a file of them."""
    path = tmp_path / "journal"
    journal = FileJournal(path, small_bytes=20_000)
    journal.load()
    journal.remember(entry("kept"))
    largest = 0
    for number in range(500):
        journal.remember(entry(str(number), size=200))
        journal.forget(str(number))
        journal.flush()
        largest = max(largest, path.stat().st_size)
    journal.close()
    assert 15_000 < largest <= 20_500
    assert [each.operation for each in reopened(path)] == ["kept"]
    assert [each.name for each in tmp_path.iterdir()] == ["journal"]


async def test_a_coordinator_dies_and_its_successor_goes_on(tmp_path: Path) -> None:
    """What ran is taken up with its worker, what waited with its client; nothing runs twice."""
    path = tmp_path / "journal"
    blobs = MemoryBlobStore(64 * MIB)
    policy = Policy(remember=True)
    async with farming(policy, journal=FileJournal(path), blobs=blobs) as farm:
        ran, waited = await farm.put_action("ran"), await farm.put_action("waited")
        ended = await farm.put_action("ended")
        async with (
            farm.worker("w1") as worker,
            farm.execute(ended) as client,
        ):
            ended_name = (await client.next()).name
            await worker.finish((await worker.granted()).lease_id)
            await client.result()
            async with farm.execute(ran) as one:
                names = [(await one.next()).name]
                lease = (await worker.granted()).lease_id
                async with farm.execute(waited) as two:
                    names.append((await two.next()).name)
    # nobody said goodbye: the journal was not closed, the operations never ended
    async with farming(policy, journal=FileJournal(path), blobs=blobs) as farm:
        async with farm.worker("w1", running=(lease,)) as worker:
            assert not worker.welcome.unknown_lease_ids
            async with farm.wait_execution(names[0]) as one:
                assert metadata_of(await one.next()).stage == pb.ExecutionStage.EXECUTING
                await worker.finish(lease)
                assert (await one.result()).result.execution_metadata.worker == "w1"
            async with farm.wait_execution(names[1]) as two:
                granted = await worker.granted()
                assert granted.action.SerializeToString() == await blobs.get(waited)
                await worker.finish(granted.lease_id)
                await two.result()
            with pytest.raises(NotFoundError):
                async with farm.wait_execution(ended_name) as client:
                    await client.next()
        assert farm.scheduler.snapshot().counters.granted == 1
    assert reopened(path) == []
