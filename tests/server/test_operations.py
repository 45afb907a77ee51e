"""google.longrunning.Operations and builder.control.Control."""

from contextlib import AsyncExitStack

import pytest
import trio

from builder.base.errors import Code, FailedPreconditionError, InvalidArgumentError, NotFoundError
from builder.reapi.pb import operations_pb2 as ops
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.listing import page_token
from builder.server.operations import OperationsService
from tests.server.direct import DirectCall
from tests.server.farm import Farm, farming, metadata_of, response_of


async def asked(farm: Farm, number: int, instance: str = "") -> list[str]:
    """Names of so many operations that wait; their clients have gone."""
    names = []
    for index in range(number):
        action = await farm.put_action(f"{instance}{index}")
        async with farm.execute(action, instance_name=instance) as client:
            names.append((await client.next()).name)
    return names


async def listed(farm: Farm, **fields: object) -> ops.ListOperationsResponse:
    answer = await farm.operations("ListOperations", ops.ListOperationsRequest(**fields))
    return ops.ListOperationsResponse.FromString(answer)


async def got(farm: Farm, name: str) -> ops.Operation:
    answer = await farm.operations("GetOperation", ops.GetOperationRequest(name=name))
    return ops.Operation.FromString(answer)


async def test_list_in_pages() -> None:
    """Every operation is on one page, the oldest first."""
    async with farming() as farm:
        names = await asked(farm, 5)
        seen: list[str] = []
        token = ""
        sizes = []
        while True:
            page = await listed(farm, page_size=2, page_token=token)
            seen += [operation.name for operation in page.operations]
            sizes.append(len(page.operations))
            token = page.next_page_token
            if not token:
                break
        assert seen == names
        assert sizes == [2, 2, 1]


async def test_list_by_instance_and_filter() -> None:
    """A collection is an instance's operations; filters are by stage and by end."""
    async with farming() as farm:
        plain, other = await asked(farm, 2), await asked(farm, 1, "main")
        await farm.operations("CancelOperation", ops.CancelOperationRequest(name=plain[0]))

        async def names(**fields: object) -> list[str]:
            return [operation.name for operation in (await listed(farm, **fields)).operations]

        assert await names(name="main/operations") == other
        assert await names(name="operations") == plain
        assert await names(filter="done=true") == plain[:1]
        assert await names(filter="done = false") == [plain[1], *other]
        assert await names(filter="stage=COMPLETED") == plain[:1]
        assert await names(filter="stage:queued") == [plain[1], *other]


@pytest.mark.parametrize(
    "fields",
    [
        {"page_size": -1},
        {"filter": "colour=red"},
        {"filter": "stage=true"},
        {"name": "things"},
        {"page_token": "gone"},
        {"page_token": page_token(-1.0, 0.0, "operations/x")},
    ],
    ids=str,
)
async def test_wrong_lists(fields: dict[str, object]) -> None:
    """INVALID_ARGUMENT."""
    async with farming() as farm:
        with pytest.raises(InvalidArgumentError):
            await listed(farm, **fields)


async def test_get() -> None:
    """The state as it is, with the stage; NOT_FOUND for unknown names."""
    async with farming() as farm:
        [name] = await asked(farm, 1)
        operation = await got(farm, name)
        assert metadata_of(operation).stage == pb.ExecutionStage.QUEUED
        assert not operation.done
        for method, request in [
            ("GetOperation", ops.GetOperationRequest(name="x")),
            ("WaitOperation", ops.WaitOperationRequest(name="x")),
            ("CancelOperation", ops.CancelOperationRequest(name="x")),
            ("DeleteOperation", ops.DeleteOperationRequest(name="x")),
        ]:
            with pytest.raises(NotFoundError):
                await farm.operations(method, request)


async def test_cancel() -> None:
    """The operation ends with CANCELLED inside its response; `error` stays unset."""
    async with farming() as farm:
        action = await farm.put_action()
        async with farm.execute(action) as client:
            name = (await client.next()).name
            await farm.operations("CancelOperation", ops.CancelOperationRequest(name=name))
            assert (await client.result()).status.code == Code.CANCELLED
        await farm.operations("CancelOperation", ops.CancelOperationRequest(name=name))
        operation = await got(farm, name)
        assert operation.done
        assert not operation.HasField("error")
        assert "cancelled by its client" in response_of(operation).status.message


async def test_delete() -> None:
    """Only what has ended can be forgotten."""
    async with farming() as farm:
        [name] = await asked(farm, 1)
        with pytest.raises(FailedPreconditionError, match="cancel it"):
            await farm.operations("DeleteOperation", ops.DeleteOperationRequest(name=name))
        await farm.operations("CancelOperation", ops.CancelOperationRequest(name=name))
        await farm.operations("DeleteOperation", ops.DeleteOperationRequest(name=name))
        with pytest.raises(NotFoundError):
            await got(farm, name)


async def test_what_is_deleted_is_gone_at_once() -> None:
    """Also for a request that comes before the scheduler has had its turn."""
    async with farming() as farm:
        [name] = await asked(farm, 1)
        await farm.operations("CancelOperation", ops.CancelOperationRequest(name=name))
        await farm.operations("WaitOperation", ops.WaitOperationRequest(name=name))
        service, call = OperationsService(farm.scheduler), DirectCall("")
        service.delete_operation(ops.DeleteOperationRequest(name=name).SerializeToString(), call)
        with pytest.raises(NotFoundError):
            service.get_operation(ops.GetOperationRequest(name=name).SerializeToString(), call)
        assert not (await listed(farm)).operations


async def test_wait() -> None:
    """It answers when the operation ends, or with the state when the timeout is over."""
    async with farming() as farm:
        [name] = await asked(farm, 1)
        request = ops.WaitOperationRequest(name=name)
        request.timeout.FromMilliseconds(1)
        early = ops.Operation.FromString(await farm.operations("WaitOperation", request))
        assert not early.done
        answers: list[ops.Operation] = []

        async def wait() -> None:
            request = ops.WaitOperationRequest(name=name)
            answer = await farm.operations("WaitOperation", request)
            answers.append(ops.Operation.FromString(answer))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            async with farm.worker() as worker:
                await worker.finish((await worker.granted()).lease_id)
        assert answers[0].done
        assert response_of(answers[0]).result.exit_code == 0
        request.timeout.seconds = -1
        with pytest.raises(InvalidArgumentError):
            await farm.operations("WaitOperation", request)


async def test_status_counts_and_explains() -> None:
    """Numbers add up, and each action that waits or runs says why."""
    async with farming() as farm, farm.worker("w1", slots=1) as worker:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(farm.execute(await farm.put_action("a")))
            lease = (await worker.granted()).lease_id
            second = await stack.enter_async_context(farm.execute(await farm.put_action("b")))
            await second.next()
            status = await farm.status()
            assert status.state == "running"
            assert (status.queue.pending, status.queue.executing, status.queue.completed) == (
                1,
                1,
                0,
            )
            assert (status.workers.busy, status.workers.slots_busy) == (1, 1)
            codes = {action.reason_code: action.reason for action in status.action}
            assert codes["running"] == "starts on w1"
            assert codes["all-busy"].endswith(": 1 busy, 1 action waiting")
            assert status.action[0].queued.seconds > 0
            response = pb.ExecuteResponse(result=pb.ActionResult())
            response.result.execution_metadata.execution_start_timestamp.FromSeconds(10)
            response.result.execution_metadata.execution_completed_timestamp.FromSeconds(13)
            await worker.finish(lease, response)
            await first.result()
            status = await farm.status(details=False)
            assert not status.action
            assert status.executions.succeeded == 1
            assert status.executions.mean_execution.seconds == 3
            assert status.executions.cache_misses == 2


async def test_a_cached_operation_is_known_like_others() -> None:
    """To Get, Wait and WaitExecution; one that is deleted is not, and its number is no other's."""
    async with farming() as farm, farm.worker() as worker:
        action = await farm.put_action()
        async with farm.execute(action) as client:
            await worker.finish((await worker.granted()).lease_id)
            await client.result()
        async with farm.execute(action, inline_stdout=True) as client:
            hit = await client.next()
        assert response_of(hit).cached_result
        assert action.hash[:16] in hit.name
        waited = await farm.operations("WaitOperation", ops.WaitOperationRequest(name=hit.name))
        async with farm.wait_execution(hit.name) as client:
            again = await client.next()
            assert await client.call.receive() is None
        [ran, shown] = (await listed(farm)).operations
        assert ran.name != hit.name
        for filter_, found in [
            ("cached=true", [shown]),
            ("cached=false", [ran]),
            ("done=true", [ran, shown]),
            ("stage=EXECUTING", []),
        ]:
            assert list((await listed(farm, filter=filter_)).operations) == found
        for known in (await got(farm, hit.name), ops.Operation.FromString(waited), again, shown):
            assert known.done
            assert known.response == hit.response
            assert metadata_of(known).action_digest == metadata_of(hit).action_digest
        await farm.operations("CancelOperation", ops.CancelOperationRequest(name=hit.name))
        assert (await got(farm, hit.name)).response == hit.response
        await farm.operations("DeleteOperation", ops.DeleteOperationRequest(name=hit.name))
        with pytest.raises(NotFoundError):
            await got(farm, hit.name)
        assert [one.name for one in (await listed(farm)).operations] == [ran.name]
        async with farm.wait_execution(hit.name) as client:
            with pytest.raises(NotFoundError):
                await client.next()


async def test_cached_operations_in_pages() -> None:
    """By age among the others, whatever is forgotten between two pages."""
    async with farming() as farm, farm.worker() as worker:
        action = await farm.put_action()
        async with farm.execute(action) as client:
            names = [(await client.next()).name]
            await worker.finish((await worker.granted()).lease_id)
            await client.result()
        for _ in range(10):
            async with farm.execute(action) as client:
                names.append((await client.next()).name)
        names += await asked(farm, 1)
        seen: list[str] = []
        page = ops.ListOperationsResponse()
        while page.next_page_token or not seen:
            page = await listed(farm, page_size=3, page_token=page.next_page_token)
            seen += [operation.name for operation in page.operations]
            if page.next_page_token:
                gone = ops.DeleteOperationRequest(name=seen[-1])
                await farm.operations("DeleteOperation", gone)
        assert seen == names
