"""A worker on its stream: leases, results, cancellation, lost connections, draining."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from builder.base.digest import digest_of
from builder.base.errors import Code, ResourceExhaustedError, UnavailableError
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.worker.job import Job, Report, Stage
from builder.worker.program import Identity, WorkerProgram
from builder.worker.upload import StoreFullError
from tests.worker.coordinator import Coordinator, Stream

ACTION = digest_of(b"action")
IDENTITY = Identity(
    "worker-1", 2, {"OSFamily": "linux", "ISA": "x86-64"}, "plain", ("mounts",), host="here", pid=7
)


class Jobs:
    """Runs jobs as the test says: each waits until it is let go."""

    def __init__(self) -> None:
        self.seen: list[Job] = []
        self.started, self._starts = trio.open_memory_channel[Job](100)
        self.go = trio.Event()
        self.killed = 0
        self.error: Exception | None = None

    async def run(self, instance: str, job: Job, report: Report) -> pb.ExecuteResponse:
        self.seen.append(job)
        report(Stage.EXECUTING, pb.ExecutedActionMetadata(worker="worker-1"))
        try:
            await self.go.wait()
        except trio.Cancelled:
            self.killed += 1
            raise
        if self.error is not None:
            raise self.error
        return pb.ExecuteResponse(message=f"ran for {instance!r}")


class Story:
    """A worker, its coordinator and its jobs."""

    def __init__(self) -> None:
        self.jobs = Jobs()
        self.coordinator = Coordinator()
        self.program = WorkerProgram(
            IDENTITY,
            self.coordinator,
            self.jobs.run,
            lambda: (0.25, 0.5),
            lambda: 0.0,
            persistent=lambda: ("a", "", "b"),
        )
        self.ended = trio.Event()

    async def run(self) -> None:
        await self.program.run()
        self.ended.set()

    async def connected(self, *unknown: str) -> Stream:
        stream = await self.coordinator.next_stream()
        await stream.welcome(*unknown)
        return stream


@pytest.fixture
async def story() -> AsyncIterator[Story]:
    async with running() as story:
        yield story


@asynccontextmanager
async def running() -> AsyncIterator[Story]:
    async with trio.open_nursery() as nursery:
        story = Story()
        nursery.start_soon(story.run)
        with trio.fail_after(1000):
            yield story
        nursery.cancel_scope.cancel()


def lease(lease_id: str) -> workers_pb2.LeaseGranted:
    granted = workers_pb2.LeaseGranted(
        lease_id=lease_id,
        instance_name="main",
        digest_function=pb.DigestFunction.SHA256,
        action_digest=to_proto(ACTION),
        action=pb.Action(do_not_cache=True),
        attempt=3,
    )
    granted.queued_timestamp.FromNanoseconds(5)
    granted.timeout.FromMilliseconds(1500)
    return granted


async def kinds(stream: Stream, count: int) -> list[str]:
    found = []
    for _ in range(count):
        message = await stream.heard()
        assert message is not None
        found.append(message.WhichOneof("kind") or "")
    return found


async def test_the_hello_says_who_it_is(story: Story, autojump_clock: MockClock) -> None:
    stream = await story.coordinator.next_stream()
    hello = await stream.welcome()
    assert (hello.worker_name, hello.slots, hello.backend) == ("worker-1", 2, "plain")
    assert [(p.name, p.value) for p in hello.platform.properties] == [
        ("ISA", "x86-64"),
        ("OSFamily", "linux"),
    ]
    assert (hello.host, hello.pid, list(hello.guarantees)) == ("here", 7, ["mounts"])


async def test_a_lease_becomes_a_job_and_its_result_comes_back(
    story: Story, autojump_clock: MockClock
) -> None:
    stream = await story.connected()
    await stream.say(granted=lease("l1"))
    progress = await stream.heard()
    assert progress is not None
    assert progress.progress.stage == workers_pb2.LeaseProgress.EXECUTING
    assert story.jobs.seen == [
        Job(ACTION, pb.Action(do_not_cache=True), 5, 3, 1.5, absolute_outputs=False)
    ]
    story.jobs.go.set()
    finished = await stream.heard()
    assert finished is not None
    assert finished.finished.response.message == "ran for 'main'"
    assert not finished.finished.infrastructure_failure


async def test_heartbeats_name_what_is_held(story: Story, autojump_clock: MockClock) -> None:
    """Also a result that nobody has taken yet; after the acknowledgement it is forgotten."""
    stream = await story.connected()
    assert list((await stream.beat()).running_lease_ids) == []
    await stream.say(granted=lease("l1"))
    story.jobs.go.set()
    assert await kinds(stream, 2) == ["progress", "finished"]
    beat = await stream.beat()
    assert list(beat.running_lease_ids) == ["l1"]
    assert (beat.cpu_fraction, beat.memory_fraction) == (0.25, 0.5)
    assert (beat.persistent_workers, list(beat.programs)) == (3, ["a", "b"])
    await stream.say(acknowledged=workers_pb2.LeaseAcknowledged(lease_ids=["l1"]))
    assert list((await stream.beat()).running_lease_ids) == []


async def test_faults_of_the_worker_are_marked(story: Story, autojump_clock: MockClock) -> None:
    stream = await story.connected()
    story.jobs.error = UnavailableError("no namespaces")
    story.jobs.go.set()
    await stream.say(granted=lease("l1"))
    assert await kinds(stream, 1) == ["progress"]
    message = await stream.heard()
    assert message is not None
    assert message.finished.infrastructure_failure
    assert message.finished.response.status.code == Code.UNAVAILABLE


@pytest.mark.parametrize("error", [StoreFullError("no room"), ResourceExhaustedError("no memory")])
async def test_a_full_store_is_told_from_a_fault_of_the_worker(
    story: Story, autojump_clock: MockClock, error: Exception
) -> None:
    """Whatever else it may have run out of is its own."""
    stream = await story.connected()
    story.jobs.error = error
    story.jobs.go.set()
    await stream.say(granted=lease("l1"))
    assert await kinds(stream, 1) == ["progress"]
    message = await stream.heard()
    assert message is not None
    assert message.finished.infrastructure_failure
    assert message.finished.store_full is isinstance(error, StoreFullError)
    assert message.finished.response.status.code == Code.RESOURCE_EXHAUSTED


async def test_a_bug_of_ours_is_internal_and_no_crash(
    story: Story, autojump_clock: MockClock
) -> None:
    stream = await story.connected()
    story.jobs.error = ZeroDivisionError("bug")
    story.jobs.go.set()
    await stream.say(granted=lease("l1"))
    assert await kinds(stream, 1) == ["progress"]
    message = await stream.heard()
    assert message is not None
    assert message.finished.infrastructure_failure
    assert message.finished.response.status.code == Code.INTERNAL


async def test_a_cancelled_lease_is_killed_and_handed_back(
    story: Story, autojump_clock: MockClock
) -> None:
    stream = await story.connected()
    await stream.say(granted=lease("l1"))
    assert await kinds(stream, 1) == ["progress"]
    await stream.say(cancelled=workers_pb2.LeaseCancelled(lease_id="l1", reason="nobody waits"))
    message = await stream.heard()
    assert message is not None
    assert message.returned == workers_pb2.LeaseReturned(lease_id="l1", reason="nobody waits")
    assert story.jobs.killed == 1


async def test_work_goes_on_while_the_connection_is_lost(
    story: Story, autojump_clock: MockClock
) -> None:
    """The next Hello names the lease, and its result, made meanwhile, is sent at once."""
    stream = await story.connected()
    await stream.say(granted=lease("l1"))
    await stream.say(granted=lease("l2"))
    assert await kinds(stream, 2) == ["progress", "progress"]
    await stream.cut()
    story.jobs.go.set()
    again = await story.coordinator.next_stream()
    hello = await again.welcome()
    assert list(hello.running_lease_ids) == ["l1", "l2"]
    assert await kinds(again, 2) == ["finished", "finished"]
    assert len(story.jobs.seen) == 2


async def test_leases_that_nobody_wants_after_a_reconnect_are_killed(
    story: Story, autojump_clock: MockClock
) -> None:
    stream = await story.connected()
    await stream.say(granted=lease("l1"))
    assert await kinds(stream, 1) == ["progress"]
    await stream.cut()
    again = await story.connected("l1")
    assert await kinds(again, 1) == ["returned"]
    assert story.jobs.killed == 1


async def test_a_lease_granted_twice_runs_once(story: Story, autojump_clock: MockClock) -> None:
    stream = await story.connected()
    await stream.say(granted=lease("l1"))
    await stream.say(granted=lease("l1"))
    await stream.say(granted=lease("l2"))
    assert await kinds(stream, 2) == ["progress", "progress"]
    assert len(story.jobs.seen) == 2


async def test_draining_finishes_what_runs_and_takes_no_more(
    story: Story, autojump_clock: MockClock
) -> None:
    stream = await story.connected()
    await stream.say(granted=lease("l1"))
    assert await kinds(stream, 1) == ["progress"]
    story.program.drain("SIGTERM", 60)
    assert await kinds(stream, 1) == ["draining"]
    await stream.say(granted=lease("late"))
    assert await kinds(stream, 1) == ["returned"]
    story.jobs.go.set()
    assert await kinds(stream, 1) == ["finished"]
    await stream.say(acknowledged=workers_pb2.LeaseAcknowledged(lease_ids=["l1"]))
    assert await stream.heard() is None  # it ends its side
    await stream.end()
    await story.ended.wait()
    assert story.jobs.killed == 0


async def test_what_is_not_done_within_the_grace_is_handed_back(
    story: Story, autojump_clock: MockClock
) -> None:
    stream = await story.connected()
    await stream.say(granted=lease("l1"))
    assert await kinds(stream, 1) == ["progress"]
    drain = workers_pb2.Drain(reason="scale down")
    drain.grace.FromSeconds(10)
    start = trio.current_time()
    await stream.say(drain=drain)
    assert await kinds(stream, 2) == ["draining", "returned"]
    assert trio.current_time() - start == pytest.approx(10, abs=0.1)
    assert await stream.heard() is None
    await stream.end()
    await story.ended.wait()
    assert story.jobs.killed == 1


async def test_a_second_drain_can_shorten_the_grace(
    story: Story, autojump_clock: MockClock
) -> None:
    """A worker told to end by a signal is told by its coordinator that there is no time."""
    stream = await story.connected()
    await stream.say(granted=lease("l1"))
    assert await kinds(stream, 1) == ["progress"]
    story.program.drain("SIGTERM", 3600)
    assert await kinds(stream, 1) == ["draining"]
    start = trio.current_time()
    drain = workers_pb2.Drain(reason="the service stops")
    drain.grace.FromSeconds(2)
    await stream.say(drain=drain)
    story.program.drain("again", 3600)
    assert await kinds(stream, 1) == ["returned"]
    assert trio.current_time() - start == pytest.approx(2, abs=0.1)


async def test_draining_without_a_coordinator_ends_too(
    story: Story, autojump_clock: MockClock
) -> None:
    """A coordinator that is gone cannot keep a worker from leaving."""
    stream = await story.coordinator.next_stream()
    await stream.cut()
    story.program.drain("SIGTERM", 1)
    with trio.fail_after(30):
        await story.ended.wait()


async def test_an_idle_worker_drains_at_once(story: Story, autojump_clock: MockClock) -> None:
    stream = await story.connected()
    assert list((await stream.beat()).running_lease_ids) == []
    story.program.drain("SIGTERM", 60)
    assert await kinds(stream, 1) == ["draining"]
    assert await stream.heard() is None
    await stream.end()
    with trio.fail_after(1):
        await story.ended.wait()
