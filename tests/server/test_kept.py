"""What people are told of an entry in the action cache."""

from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.kept import kept_sentence
from builder.stores.kept_result import Entry
from tests.server.farm import farming
from tests.server.test_actions import put_action, run, shown


def test_the_sentence() -> None:
    """Its age, its hits, and for whom it was written, as far as anybody knows."""
    metadata = pb.RequestMetadata(tool_invocation_id="8f3c")
    metadata.tool_details.tool_name = "bazel"
    metadata.tool_details.tool_version = "7.1.0"
    full = Entry(b"", 1000.0, 1000.0, 12, metadata.SerializeToString())
    assert kept_sentence(full, 8200.0) == (
        "for 2h 0m, 12 hits; written by bazel 7.1.0, invocation 8f3c"
    )
    assert kept_sentence(Entry(b"", 1000.0, 0.0, 1), 1030.0) == "for 30.0s, 1 hit"
    assert kept_sentence(Entry(b"", metadata=b"\xff"), 1030.0) == "for an unknown time, 0 hits"


async def test_a_kept_result_is_told_with_its_action() -> None:
    """The invocation that ran it wrote it; whoever asks again is a hit."""
    async with farming() as farm:
        action = await put_action(farm, "true")
        name = await run(farm, action)
        assert (await shown(farm, name)).kept == "for 0ms, 0 hits; written by invocation inv-1"
        await run(farm, action)
        assert (await shown(farm, name)).kept == "for 0ms, 1 hit; written by invocation inv-1"
