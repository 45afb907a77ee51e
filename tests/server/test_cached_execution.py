"""Executions whose result is cached: answered in place as they are by a task."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.base.digest import HEX_LENGTHS, Digest, digest_of
from builder.base.errors import Code, StatusError
from builder.reapi.digests import to_proto
from builder.reapi.pb import operations_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.schedule.machine import Machine
from builder.schedule.operation import Ending, OperationView, Stage
from builder.schedule.reasons import Reason, ReasonCode
from builder.schedule.spec import ActionKey
from builder.server.admission import METADATA_HEADER, Admission, Timeouts
from builder.server.execution import ExecutionService, ExecutionStores
from builder.server.history import History
from builder.server.instances import Instances
from builder.server.operation_bytes import (
    cached_operation,
    cached_response,
    lasting_of,
    operation_bytes,
)
from builder.server.operation_messages import finished_message, operation_message
from builder.server.scheduler import Scheduler
from builder.server.shelf import Hit
from builder.stores.action_cache import CheckedActionCache
from builder.stores.interface import ActionCache
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from tests.server.direct import DirectCall

EXECUTE = "/build.bazel.remote.execution.v2.Execution/Execute"
KNOWN = digest_of(b"an action")
RESULT = pb.ActionResult(exit_code=0, stdout_raw=b"x" * 300)
REQUEST = pb.ExecuteRequest(action_digest=to_proto(KNOWN), instance_name="main")
METADATA = pb.RequestMetadata(tool_invocation_id="inv", target_id="//a:a")


class Slow:
    """A cache that has to be waited for."""

    def __init__(self, cache: ActionCache) -> None:
        self.lookup, self.store = cache.lookup, cache.store


@asynccontextmanager
async def both_ways() -> AsyncIterator[tuple[ExecutionService, ExecutionService]]:
    """A service that may answer in place, and one that never does."""
    blobs = MemoryBlobStore(1 << 20)
    cache = CheckedActionCache(blobs, MemoryRecords(1 << 20))
    await cache.store("main", KNOWN, RESULT)
    made = []
    async with trio.open_nursery() as nursery:
        for one in (cache, Slow(cache)):
            scheduler = Scheduler(Machine(), cache, lambda: "id", lambda _name: None)
            await nursery.start(scheduler.run)
            stores = ExecutionStores(blobs, one, Instances(("main", "other")))
            admission = Admission(blobs, Timeouts(60.0, 600.0))
            made.append(ExecutionService(scheduler, stores, admission, lambda: 1))
        yield made[0], made[1]
        nursery.cancel_scope.cancel()


async def outcome(service: ExecutionService, data: bytes) -> bytes | tuple[type, str]:
    """The messages, joined, or the error."""
    call = DirectCall(EXECUTE, {METADATA_HEADER: METADATA.SerializeToString()})
    try:
        answer = service.execute(data, call)
        if isinstance(answer, bytes):
            return answer
        await answer(call)
    except StatusError as error:
        return type(error), error.message
    return call.responses_out.receive_nowait()


requests = st.builds(
    pb.ExecuteRequest,
    instance_name=st.sampled_from(["main", "other", "foreign"]),
    skip_cache_lookup=st.booleans(),
    action_digest=st.one_of(
        st.just(to_proto(KNOWN)),
        st.builds(
            pb.Digest,
            hash=st.sampled_from([KNOWN.hash, KNOWN.hash.upper(), "ab", "é" * 64, ""]),
            size_bytes=st.sampled_from([KNOWN.size_bytes, 0, -1]),
        ),
    ),
    execution_policy=st.builds(pb.ExecutionPolicy, priority=st.sampled_from([0, 7, -101, 200])),
    inline_stdout=st.booleans(),
    inline_output_files=st.lists(st.sampled_from(["a", "b"]), max_size=1),
    digest_function=st.sampled_from([0, 1, 9, 3]),
).map(lambda request: request.SerializeToString())


def test_requests_of_all_kinds_are_answered_alike() -> None:
    """Well-formed or not, a hit or not, with hints or without."""

    @settings(max_examples=40, deadline=None)
    @example(REQUEST.SerializeToString())
    @given(st.one_of(requests, st.binary(max_size=100)))
    def run(data: bytes) -> None:
        async def main() -> None:
            async with both_ways() as (quick, slow):
                assert await outcome(quick, data) == await outcome(slow, data)

        trio.run(main)

    run()


async def test_a_hit_is_answered_in_place_and_remembered() -> None:
    """With whom it was for."""
    async with both_ways() as services:
        for service in services:
            data = await outcome(service, REQUEST.SerializeToString())
            assert isinstance(data, bytes)
            operation = operations_pb2.Operation.FromString(data)
            response = pb.ExecuteResponse()
            assert operation.response.Unpack(response)
            assert response == pb.ExecuteResponse(result=RESULT, cached_result=True)
            record = next(service._scheduler.history.newest())
            assert record.operation == operation.name
            assert operation.name == f"main/operations/hit-1-{KNOWN.hash[:16]}"
            assert (record.spec.client.invocation, record.spec.client.target) == ("inv", "//a:a")
            assert record.cached
            assert record.ending is not None
            assert record.ending.response == operation.response.value
        call = DirectCall(EXECUTE)
        assert isinstance(services[0].execute(REQUEST.SerializeToString(), call), bytes)


@settings(deadline=None)
@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=200),
    st.sampled_from(sorted(HEX_LENGTHS)),
    st.integers(0, 2**63 - 1),
    st.binary(max_size=300),
)
def test_an_operation_is_spliced_as_protobuf_writes_it(
    name: str, function: str, size: int, stdout: bytes
) -> None:
    action = Digest("a" * HEX_LENGTHS[function], size, function)
    result = pb.ActionResult(stdout_raw=stdout).SerializeToString()
    response = pb.ExecuteResponse(result=pb.ActionResult.FromString(result), cached_result=True)
    assert cached_response(result) == response.SerializeToString()
    message = finished_message(name, action, cached_response(result))
    spliced = cached_operation(name, action, result)
    assert operations_pb2.Operation.FromString(spliced) == message
    assert spliced == message.SerializeToString()


def test_hits_are_bounded_and_found_as_other_operations_are() -> None:
    """They count by their bytes before and after somebody has looked."""
    history = History(most=3, most_bytes=10_000)
    for number in range(5):
        key = ActionKey("", "sha256", f"{number}" * 64, 1)
        history.hit(Hit(f"operations/cached-{number}", key, b"\xff", b"r" * 100, float(number)))
    assert history.find("4444").operation == "operations/cached-4"
    assert history.find("operations/cached-3").moments[0].at == 3.0
    assert [one.operation[-1] for one in history.newest()] == ["4", "3", "2"]
    assert history.find("cached-2") is next(iter(history.before(history.find("cached-3"))))
    for _ in range(2):
        history.hit(Hit("operations/large", key, b"", b"r" * 20_000, 9.0))
        assert [one.operation for one in history.newest()] == ["operations/large"]
    history.hit(Hit("operations/small", key, b"", b"", 9.0))
    assert [one.operation for one in history.newest()] == ["operations/small"]


KEY = ActionKey("", "sha256", KNOWN.hash, KNOWN.size_bytes)
PROGRESS = pb.ExecutedActionMetadata(worker="w").SerializeToString()
SAID = Reason(ReasonCode.RUNNING, "runs")


@pytest.mark.parametrize(
    "view",
    [
        OperationView("operations/ä", KEY, Stage.QUEUED, SAID),
        OperationView("a/operations/1", KEY._replace(size_bytes=0), Stage.EXECUTING, SAID, "w"),
        OperationView("operations/1", KEY, Stage.EXECUTING, SAID, "w", PROGRESS),
        OperationView(
            "operations/1", KEY, Stage.COMPLETED, SAID, ending=Ending(SAID, Code.ABORTED)
        ),
        OperationView("o/1", KEY, Stage.COMPLETED, SAID, ending=Ending(SAID, response=PROGRESS)),
    ],
    ids=lambda view: view.stage.name,
)
def test_a_view_is_spliced_as_protobuf_writes_it(view: OperationView) -> None:
    lasting = lasting_of(view.name, view.key)
    assert operation_bytes(view, lasting) == operation_message(view).SerializeToString(
        deterministic=True
    )
