"""The workers' streams: joining, leases, coming back, draining, and a real worker program."""

import pytest
import trio

from builder.base.errors import (
    AbortedError,
    AlreadyExistsError,
    InvalidArgumentError,
    StatusError,
    UnauthenticatedError,
)
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.schedule import events
from builder.schedule.policy import Policy
from builder.worker.job import Job, Report, Stage
from builder.worker.program import Identity, WorkerProgram
from tests.server.farm import LINUX, Farm, farming, metadata_of, response_of

CONNECT = "/builder.workers.Workers/Connect"


async def test_a_worker_is_welcomed_and_shown() -> None:
    """The Welcome tells how often to report; the status shows who is there."""
    async with farming(Policy(heartbeat_interval_s=2.5)) as farm, farm.worker("w1", slots=3) as w:
        assert w.welcome.heartbeat_interval.ToMilliseconds() == 2500
        assert farm.joined == ["w1"]
        await w.heartbeat()
        status = await farm.status()
        assert (status.workers.total, status.workers.idle, status.workers.slots) == (1, 1, 3)
        shown = status.worker[0]
        assert (shown.name, shown.state, shown.backend, shown.host) == (
            "w1",
            "idle",
            "hand",
            "here",
        )
        assert dict(shown.platform) == LINUX


async def test_a_join_token_is_asked_for() -> None:
    """Without the right one a worker gets nothing."""
    async with farming(join_token="s3cret") as farm:
        async with farm.worker(token="s3cret"):
            pass
        for wrong in ("", "s3cre", "s3cret "):
            with pytest.raises(UnauthenticatedError, match="join token"):
                async with farm.worker("w2", token=wrong):
                    pass
        assert farm.joined == ["w1"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (workers_pb2.FromWorker(heartbeat=workers_pb2.Heartbeat()), "has to be a Hello"),
        (workers_pb2.FromWorker(hello=workers_pb2.Hello(slots=1)), "worker name"),
        (
            workers_pb2.FromWorker(hello=workers_pb2.Hello(worker_name="a b", slots=1)),
            "worker name",
        ),
        (workers_pb2.FromWorker(hello=workers_pb2.Hello(worker_name="w")), "0 slots"),
    ],
)
async def test_wrong_first_messages(message: workers_pb2.FromWorker, words: str) -> None:
    """INVALID_ARGUMENT that says what is wrong."""
    async with farming() as farm:
        with pytest.raises(InvalidArgumentError, match=words):
            async with farm.channel.stream(CONNECT) as call:
                await call.send(message.SerializeToString())
                await call.receive()


async def test_bytes_that_are_no_message_end_the_stream() -> None:
    """The worker hears why, and its session is gone."""
    async with farming() as farm:
        with pytest.raises(StatusError, match="are no builder"):
            async with farm.worker() as worker:
                await worker.call.send(b"\xff\xff")
                await worker.take("welcome")
        assert (await farm.status()).workers.total == 0


async def test_two_workers_of_one_name() -> None:
    """The second one is told to take another name."""
    async with farming() as farm, farm.worker("w1", pid=1):
        with pytest.raises(AlreadyExistsError, match="another name"):
            async with farm.worker("w1", pid=2):
                pass


async def test_a_worker_that_dials_again_replaces_its_old_stream() -> None:
    """The old one ends with ABORTED; the lease goes on over the new one."""
    async with farming() as farm, farm.worker() as old:
        async with farm.execute(await farm.put_action()) as client:
            lease = (await old.granted()).lease_id
            async with farm.worker(running=(lease, "stale/1")) as new:
                assert list(new.welcome.unknown_lease_ids) == ["stale/1"]
                with pytest.raises(AbortedError, match="connected again"):
                    await old.take("granted")
                await new.finish(lease)
                await client.result()


async def test_a_lost_worker_costs_the_client_nothing() -> None:
    """Its stream breaks, the grace passes, another worker brings the result."""
    async with farming(Policy(reconnect_grace_s=0.05)) as farm:
        async with farm.execute(await farm.put_action()) as client:
            assert metadata_of(await client.next()).stage == pb.ExecutionStage.QUEUED
            async with farm.worker("w1") as first:
                assert (await first.granted()).attempt == 1
            async with farm.worker("w2") as second:
                granted = await second.granted()
                assert granted.attempt == 2
                await second.finish(granted.lease_id)
                stages = []
                while not (operation := await client.next()).done:
                    stages.append(metadata_of(operation).stage)
                assert response_of(operation).result.exit_code == 0
        stage = pb.ExecutionStage
        assert stages == [stage.EXECUTING, stage.QUEUED, stage.EXECUTING]


async def test_a_silent_worker_is_dropped() -> None:
    """No heartbeat for the timeout: the stream ends and the action runs elsewhere."""
    policy = Policy(heartbeat_timeout_s=1.0)
    async with farming(policy) as farm, farm.worker("w1") as silent:
        async with farm.execute(await farm.put_action()) as client:
            granted = await silent.granted()
            assert granted.attempt == 1
            with pytest.raises(AbortedError, match="said nothing"):
                await silent.take("cancelled")
            async with farm.worker("w2") as other:
                await other.finish((await other.granted()).lease_id)
                await client.result()


async def test_an_operator_drains_a_worker() -> None:
    """It is told the grace, gets nothing new, hands back, and leaves by ending its side."""
    async with farming() as farm, farm.worker() as worker:
        async with farm.execute(await farm.put_action()):
            lease = (await worker.granted()).lease_id
            farm.scheduler.post(events.DrainRequested("w1", 4.0, "scale-down"))
            drain = (await worker.take("drain")).drain
            assert (drain.grace.seconds, drain.reason) == (4, "scale-down")
            assert (await farm.status()).worker[0].state == "draining"
            await worker.give_back(lease, "grace is over")
            await worker.call.done_sending()
            assert await worker.call.receive() is None
            status = await farm.status()
            assert status.workers.total == 0
            assert status.action[0].reason_code == "no-worker"
            assert status.problems


async def test_infrastructure_failures_are_not_shown_to_the_client() -> None:
    """The second attempt succeeds, and that is all that the client hears."""
    async with farming(Policy(retry_delay_s=0.01)) as farm, farm.worker() as worker:
        async with farm.execute(await farm.put_action()) as client:
            lease = (await worker.granted()).lease_id
            failure = workers_pb2.LeaseFinished(lease_id=lease, infrastructure_failure=True)
            failure.response.status.message = "no space left on device"
            await worker.say(finished=failure)
            await worker.acknowledged(lease)
            granted = await worker.granted()
            assert granted.attempt == 2
            await worker.finish(granted.lease_id)
            assert (await client.result()).status.code == 0


async def test_progress_reaches_the_status() -> None:
    """What the worker does at the moment is the reason that people see."""
    async with farming() as farm, farm.worker() as worker:
        async with farm.execute(await farm.put_action()) as client:
            name = (await client.next()).name
            lease = (await worker.granted()).lease_id
            metadata = pb.ExecutedActionMetadata(worker="w1")
            progress = workers_pb2.LeaseProgress(
                lease_id=lease, stage=workers_pb2.LeaseProgress.FETCHING, metadata=metadata
            )
            await worker.say(progress=progress)
            await worker.heartbeat(lease, "unknown/1")
            assert (await worker.cancelled()).lease_id == "unknown/1"
            assert (await farm.status()).action[0].reason == "fetches its inputs on w1"
            async with farm.wait_execution(name) as second:
                seen = metadata_of(await second.next())
                assert seen.partial_execution_metadata == metadata


async def real_worker(farm: Farm, name: str, ran: list[str]) -> WorkerProgram:
    """The program of a real worker; what it runs is an echo."""

    async def run(instance: str, job: Job, report: Report) -> pb.ExecuteResponse:
        await trio.lowlevel.checkpoint()
        metadata = pb.ExecutedActionMetadata(worker=name)
        report(Stage.EXECUTING, metadata)
        ran.append(job.digest.hash)
        result = pb.ActionResult(execution_metadata=metadata)
        return pb.ExecuteResponse(result=result, message=f"attempt {job.attempt}")

    identity = Identity(name, 2, LINUX, "echo", ())
    return WorkerProgram(identity, farm.channel, run, lambda: (0.0, 0.0), lambda: 0.5)


async def test_the_real_worker_program_and_the_coordinator_understand_each_other() -> None:
    """Every action runs once, every client gets its result, and draining ends the workers."""
    ran: list[str] = []
    async with farming() as farm:
        programs = [await real_worker(farm, name, ran) for name in ("w1", "w2")]
        actions = [await farm.put_action(str(number)) for number in range(50)]

        async def build(number: int) -> None:
            async with farm.execute(actions[number]) as client:
                assert (await client.result()).message == "attempt 1"

        async with trio.open_nursery() as nursery:
            for program in programs:
                nursery.start_soon(program.run)
            async with trio.open_nursery() as clients:
                for number in range(50):
                    clients.start_soon(build, number)
            for name in ("w1", "w2"):
                farm.scheduler.post(events.DrainRequested(name, 1.0, "the test is over"))
        assert sorted(ran) == sorted(action.hash for action in actions)
        assert (await farm.status()).workers.total == 0
