"""Execute and WaitExecution as a client sees them."""

import pytest
import trio

from builder.base.digest import Digest, digest_of
from builder.base.errors import (
    Code,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from builder.reapi.digests import to_proto
from builder.reapi.pb import error_details_pb2, status_pb2, workers_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.schedule import events
from builder.schedule.policy import Policy
from builder.server.admission import AVOID_HEADER
from tests.server.farm import Farm, farming, metadata_of, response_of

STAGE = pb.ExecutionStage


async def test_an_action_is_queued_executed_and_completed() -> None:
    """The first Operation comes at once, typed and named; the last has the response."""
    async with farming() as farm:
        action = await farm.put_action("gcc")
        async with farm.execute(action) as client:
            first = await client.next()
            assert first.name.startswith("operations/id")
            assert not first.done
            assert first.metadata.type_url == (
                "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteOperationMetadata"
            )
            assert metadata_of(first) == pb.ExecuteOperationMetadata(
                stage=STAGE.QUEUED,
                action_digest=to_proto(action),
                digest_function=pb.DigestFunction.SHA256,
            )
            async with farm.worker() as worker:
                granted = await worker.granted()
                assert metadata_of(await client.next()).stage == STAGE.EXECUTING
                await worker.finish(granted.lease_id)
                last = await client.next()
        assert last.done
        assert last.name == first.name
        assert metadata_of(last).stage == STAGE.COMPLETED
        assert response_of(last).result.execution_metadata.worker == "w1"
        assert not response_of(last).cached_result


async def test_a_worker_gets_all_that_it_needs_with_the_lease() -> None:
    """The grant holds the action, its time of queueing, its timeout and who asked."""
    async with farming() as farm, farm.worker() as worker:
        action = await farm.put_action("gcc", timeout_s=7)
        metadata = pb.RequestMetadata(tool_invocation_id="inv", target_id="//a:b")
        header = "build.bazel.remote.execution.v2.requestmetadata-bin"
        async with farm.channel.stream(
            "/build.bazel.remote.execution.v2.Execution/Execute",
            metadata={header: metadata.SerializeToString()},
        ) as call:
            request = pb.ExecuteRequest(action_digest=to_proto(action), instance_name="main")
            await call.send(request.SerializeToString())
            await call.done_sending()
            granted = await worker.granted()
            assert granted.lease_id.startswith("main/operations/id")
            assert granted.lease_id.endswith("/1")
            assert granted.instance_name == "main"
            assert granted.attempt == 1
            assert granted.timeout.seconds == 7
            assert granted.queued_timestamp.seconds == 1_700_000_000
            assert granted.action.SerializeToString() == await farm.blobs.get(action)
            assert granted.request_metadata == metadata
            seen = (await farm.status()).action[0]
            assert (seen.target, seen.stage, seen.worker) == ("//a:b", "executing", "w1")


async def test_workers_to_be_avoided_are_named_in_a_header() -> None:
    """For a client that compares; what is no list of names is not heeded."""
    async with farming() as farm, farm.worker("w1") as one, farm.worker("w2") as two:
        action = await farm.put_action(do_not_cache=True)
        for avoided, worker in (("w1", two), ("w2, nobody ,", one), ("w1", two)):
            async with farm.execute(action, {AVOID_HEADER: avoided}) as client:
                await worker.finish((await worker.granted()).lease_id)
                await client.result()


async def test_a_result_is_cached_before_the_client_hears_of_it() -> None:
    """The next Execute of the same action is one Operation, ended, with cached_result."""
    async with farming() as farm, farm.worker() as worker:
        action = await farm.put_action()
        async with farm.execute(action) as client:
            await worker.finish((await worker.granted()).lease_id)
            await client.result()
        assert await farm.cache.lookup("", action) is not None
        async with farm.execute(action) as client:
            only = await client.next()
            assert only.done
            assert only.name
            assert response_of(only).cached_result
            assert response_of(only).result.execution_metadata.worker == "w1"
            assert await client.call.receive() is None
        status = await farm.status()
        assert (status.executions.cache_hits, status.executions.cache_misses) == (1, 1)


async def test_skip_cache_lookup_executes_again() -> None:
    """A client that skips the look-up gets a new run although a result is cached."""
    async with farming() as farm, farm.worker() as worker:
        action = await farm.put_action()
        for _ in range(2):
            async with farm.execute(action, skip_cache_lookup=True) as client:
                await worker.finish((await worker.granted()).lease_id)
                assert not (await client.result()).cached_result


@pytest.mark.parametrize(
    "response",
    [
        pb.ExecuteResponse(result=pb.ActionResult(exit_code=1, stderr_raw=b"no such header")),
        pb.ExecuteResponse(
            result=pb.ActionResult(stdout_raw=b"half"),
            status=status_pb2.Status(code=Code.DEADLINE_EXCEEDED, message="timed out"),
        ),
    ],
    ids=["exit code", "timeout"],
)
async def test_failures_come_whole_and_are_not_cached(response: pb.ExecuteResponse) -> None:
    """What the worker said reaches the client byte by byte; the cache does not take it."""
    async with farming() as farm, farm.worker() as worker:
        action = await farm.put_action()
        async with farm.execute(action) as client:
            await worker.finish((await worker.granted()).lease_id, response)
            assert await client.result() == response
        assert await farm.cache.lookup("", action) is None


async def test_do_not_cache_runs_each_time() -> None:
    """Such actions are neither merged nor written to the cache."""
    async with farming() as farm, farm.worker(slots=2) as worker:
        action = await farm.put_action(do_not_cache=True)
        async with farm.execute(action) as one, farm.execute(action) as two:
            for _ in range(2):
                await worker.finish((await worker.granted()).lease_id)
            await one.result()
            await two.result()
        assert await farm.cache.lookup("", action) is None


async def test_a_result_whose_output_was_cut_is_not_cached() -> None:
    """It succeeded, but whoever hits it would take what is left of its output for all of it."""
    async with farming() as farm, farm.worker() as worker:
        action = await farm.put_action()
        response = pb.ExecuteResponse(result=pb.ActionResult(stdout_raw=b"the beginning"))
        proof = workers_pb2.ExecutionProof(output_cut=True)
        response.result.execution_metadata.auxiliary_metadata.add().Pack(proof)
        async with farm.execute(action) as client:
            await worker.finish((await worker.granted()).lease_id, response)
            assert (await client.result()).result.stdout_raw == b"the beginning"
        assert await farm.cache.lookup("", action) is None


async def test_identical_actions_share_one_run() -> None:
    """Two clients have operations of their own and one result."""
    async with farming() as farm:
        action = await farm.put_action()
        async with farm.execute(action) as one, farm.execute(action) as two:
            names = {(await one.next()).name, (await two.next()).name}
            assert len(names) == 2
            async with farm.worker(slots=2) as worker:
                await worker.finish((await worker.granted()).lease_id)
                assert await one.result() == await two.result()
        assert farm.scheduler.snapshot().counters.granted == 1


async def test_blobs_that_are_missing_are_named_exactly() -> None:
    """FAILED_PRECONDITION with one MISSING violation for each absent blob."""
    async with farming() as farm:
        absent = digest_of(b"no such action")
        assert await refusal(farm, absent) == [f"blobs/{absent.hash}/{absent.size_bytes}"]
        command, root = digest_of(b"no such command"), digest_of(b"no such root")
        action = pb.Action(command_digest=to_proto(command), input_root_digest=to_proto(root))
        assert await refusal(farm, await farm.put(action.SerializeToString())) == [
            f"blobs/{command.hash}/{command.size_bytes}",
            f"blobs/{root.hash}/{root.size_bytes}",
        ]


async def refusal(farm: Farm, action: object) -> list[str]:
    """Subjects of the violations, after their type is checked."""
    with pytest.raises(FailedPreconditionError) as caught:
        async with farm.execute(action) as client:
            await client.next()
    status = status_pb2.Status.FromString(caught.value.details)
    failure = error_details_pb2.PreconditionFailure()
    assert len(status.details) == 1
    assert status.details[0].Unpack(failure)
    assert {violation.type for violation in failure.violations} == {"MISSING"}
    return [violation.subject for violation in failure.violations]


async def test_malformed_requests_are_refused_before_anything_is_queued() -> None:
    """INVALID_ARGUMENT with a sentence that names the fault."""
    async with farming() as farm:
        empty = await farm.put(pb.Command().SerializeToString())
        root = await farm.put(pb.Directory().SerializeToString())
        bare = pb.Action(command_digest=to_proto(empty), input_root_digest=to_proto(root))
        good = await farm.put_action()
        junk = await farm.put(b"\xff\xff")
        unreadable = pb.Action(command_digest=to_proto(junk), input_root_digest=to_proto(root))
        cases = [
            (await farm.put(b"\xff\xff\xff"), {}, "no Action message"),
            (await farm.put(bare.SerializeToString()), {}, "no program"),
            (await farm.put_action(timeout_s=601), {}, "maximum of 10m"),
            (await farm.put_action(platform={"max-memory": "lots"}), {}, "max-memory"),
            (good, {"execution_policy": pb.ExecutionPolicy(priority=101)}, "-100 (soonest)"),
            (good, {"digest_function": pb.DigestFunction.MURMUR3}, "not served"),
            (good._replace(hash="abc"), {}, "abc"),
            (good._replace(size_bytes=17 * 1024 * 1024), {}, "larger than"),
            (await action_of(farm, timeout_s=-1), {}, "negative"),
            (await action_of(farm, output="/tmp/out"), {}, "absolute"),
            (await farm.put(unreadable.SerializeToString()), {}, "no Command message"),
        ]
        for action, fields, words in cases:
            with pytest.raises(
                InvalidArgumentError, match=words.replace("(", r"\(")[:12]
            ) as caught:
                async with farm.execute(action, **fields) as client:
                    await client.next()
            assert words in str(caught.value)
        assert farm.scheduler.snapshot().counters.submitted == 0


async def action_of(farm: Farm, output: str = "out", timeout_s: int = 0) -> Digest:
    command = pb.Command(arguments=["true"], output_files=[output])
    root = await farm.put(pb.Directory().SerializeToString())
    action = pb.Action(
        command_digest=to_proto(await farm.put(command.SerializeToString())),
        input_root_digest=to_proto(root),
    )
    action.timeout.FromSeconds(timeout_s)
    return await farm.put(action.SerializeToString())


async def test_broken_request_metadata_is_no_reason_to_refuse() -> None:
    """It is for people's eyes only; a timeout of zero is the default one."""
    header = "build.bazel.remote.execution.v2.requestmetadata-bin"
    async with farming() as farm, farm.worker() as worker:
        request = pb.ExecuteRequest(action_digest=to_proto(await action_of(farm)))
        async with farm.channel.stream(
            "/build.bazel.remote.execution.v2.Execution/Execute", metadata={header: b"\xff\xff"}
        ) as call:
            await call.send(request.SerializeToString())
            await call.done_sending()
            assert (await worker.granted()).timeout.seconds == 60


async def test_a_platform_that_nobody_serves_fails_at_once() -> None:
    """The error names the nearest pool and the property that differs."""
    async with farming() as farm:
        action = await farm.put_action(platform={"OSFamily": "windows", "Pool": "default"})
        with pytest.raises(FailedPreconditionError, match="nearest is pool default") as caught:
            async with farm.execute(action) as client:
                await client.next()
        assert "OSFamily=windows is asked for, it has OSFamily=linux" in str(caught.value)


async def test_a_client_comes_back_by_name() -> None:
    """WaitExecution tells the state at once, then the end; and the end again, for a while."""
    async with farming() as farm:
        action = await farm.put_action()
        async with farm.execute(action) as client:
            name = (await client.next()).name
        async with farm.wait_execution(name) as client:
            assert metadata_of(await client.next()).stage == STAGE.QUEUED
            async with farm.worker() as worker:
                await worker.finish((await worker.granted()).lease_id)
                result = await client.result()
        async with farm.wait_execution(name) as client:
            assert await client.result() == result


async def test_unknown_operations_are_not_found() -> None:
    """NOT_FOUND makes clients execute again."""
    async with farming() as farm:
        with pytest.raises(NotFoundError):
            async with farm.wait_execution("operations/none") as client:
                await client.next()


async def test_an_action_stops_when_its_last_client_has_gone() -> None:
    """After the grace the worker is told to stop, and its slot is free when it has."""
    async with farming(Policy(abandon_grace_s=0.0)) as farm, farm.worker() as worker:
        async with farm.execute(await farm.put_action()):
            granted = await worker.granted()
        cancelled = await worker.cancelled()
        assert cancelled.lease_id == granted.lease_id
        assert "client went away" in cancelled.reason
        await worker.give_back(granted.lease_id, "killed")
        async with farm.execute(await farm.put_action("next")):
            await worker.granted()


async def test_outputs_come_inline_where_the_client_asks() -> None:
    """stdout's bytes are in the response, cached or not, when they were asked for."""
    async with farming() as farm, farm.worker() as worker:
        stdout = await farm.put(b"hello")
        response = pb.ExecuteResponse(result=pb.ActionResult(stdout_digest=to_proto(stdout)))
        action = await farm.put_action()
        async with farm.execute(action, inline_stdout=True) as client:
            await worker.finish((await worker.granted()).lease_id, response)
            assert (await client.result()).result.stdout_raw == b"hello"
        async with farm.execute(action, inline_stdout=True) as client:
            assert (await client.result()).result.stdout_raw == b"hello"
        async with farm.execute(action) as client:
            assert (await client.result()).result.stdout_raw == b""


async def test_a_coordinator_that_shuts_down_takes_nothing_new() -> None:
    """UNAVAILABLE makes clients go elsewhere or try again."""
    async with farming() as farm:
        farm.scheduler.post(events.ShutdownStarted())
        with pytest.raises(UnavailableError):
            async with farm.execute(await farm.put_action()) as client:
                await client.next()


async def test_hundreds_of_actions_at_once() -> None:
    """Every client gets the result of its own action, whatever the order."""
    async with farming() as farm:

        async def build(number: int) -> None:
            action = await farm.put_action(str(number))
            async with farm.execute(action) as client:
                response = await client.result()
                assert response.message == str(number)

        async def work(name: str) -> None:
            async with farm.worker(name, slots=4) as worker:
                while True:
                    data = await worker.call.receive()
                    assert data is not None
                    message = workers_pb2.ToWorker.FromString(data)
                    if message.WhichOneof("kind") == "granted":
                        lease = message.granted
                        command = pb.Command.FromString(
                            await farm.blobs.get(digest_of_command(lease))
                        )
                        response = pb.ExecuteResponse(
                            result=pb.ActionResult(), message=command.arguments[0]
                        )
                        await worker.say(
                            finished=workers_pb2.LeaseFinished(
                                lease_id=lease.lease_id, response=response
                            )
                        )

        async with trio.open_nursery() as workers:
            for name in ("w1", "w2", "w3"):
                workers.start_soon(work, name)
            async with trio.open_nursery() as clients:
                for number in range(300):
                    clients.start_soon(build, number)
            workers.cancel_scope.cancel()


def digest_of_command(lease: workers_pb2.LeaseGranted) -> object:
    digest = lease.action.command_digest
    return digest_of(b"")._replace(hash=digest.hash, size_bytes=digest.size_bytes)
