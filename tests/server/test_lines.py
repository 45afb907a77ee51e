"""What the coordinator writes down about an action, line by line."""

import io
import json
from collections.abc import Iterator

import pytest

from builder.base.errors import FailedPreconditionError
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.admission import METADATA_HEADER
from builder.telemetry.log import SET_UP, configure
from tests.server.farm import farming

WHO = pb.RequestMetadata(tool_invocation_id="inv-1", target_id="//a:b").SerializeToString()
HEADERS = {METADATA_HEADER: WHO}


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure("debug", "json", stream)
    yield stream
    SET_UP.reset()


def lines(stream: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_each_line_says_which_operation_of_whom(written: io.StringIO) -> None:
    """From asking to the result; with the worker, as soon as there is one."""
    async with farming() as farm, farm.worker() as worker:
        action = await farm.put_action("one")
        async with farm.execute(action, HEADERS) as stream:
            lease = await worker.granted()
            await worker.finish(lease.lease_id, pb.ExecuteResponse(result=pb.ActionResult()))
            await stream.result()
    told = [line for line in lines(written) if line["message"].startswith(("Operation", "Lease"))]
    assert [line["message"] for line in told][-1] == "Operation completed"
    assert "Lease granted" in [line["message"] for line in told]
    for line in told:
        assert (line["level"], line["action"]) == ("debug", action.hash)
        assert (line["invocation"], line["target"]) == ("inv-1", "//a:b")
        assert line["operation"].startswith("operations/")
        assert line["worker"] == "w1"


async def test_a_refusal_is_written_down(written: io.StringIO) -> None:
    async with farming() as farm:
        action = await farm.put_action("one", platform={"OSFamily": "windows"})
        with pytest.raises(FailedPreconditionError):
            async with farm.execute(action, HEADERS) as stream:
                await stream.result()
    [line] = [line for line in lines(written) if line["message"] == "Operation refused"]
    assert (line["invocation"], line["action"]) == ("inv-1", action.hash)
    assert "OSFamily=windows" in line["why"]
