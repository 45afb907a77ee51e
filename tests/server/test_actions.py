"""Single actions for operators: listed, shown, cancelled, explained."""

import time

import pytest
import trio

from builder.base.digest import Digest
from builder.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    StatusError,
)
from builder.reapi.digests import to_proto
from builder.reapi.pb import control_pb2, workers_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.schedule.spec import ActionKey, ActionSpec, Client
from builder.server.actions import Actions
from builder.server.admission import METADATA_HEADER
from builder.server.history import History
from tests.server.farm import EXECUTION, Farm, Stream, farming

CONTROL = "/builder.control.Control/"


async def ask(farm: Farm, method: str, request: object, answer: type) -> object:
    data = await farm.channel.unary(CONTROL + method, request.SerializeToString())
    return answer.FromString(data)


async def listed(farm: Farm, **fields: object) -> list[control_pb2.Action]:
    request = control_pb2.ListActionsRequest(**fields)
    answer = await ask(farm, "ListActions", request, control_pb2.ListActionsResponse)
    return list(answer.actions)


async def shown(farm: Farm, id_: str, wait: bool = False) -> control_pb2.ActionDetails:
    request = control_pb2.GetActionRequest(id=id_, wait=wait)
    return await ask(farm, "GetAction", request, control_pb2.ActionDetails)


async def explained(farm: Farm, id_: str) -> control_pb2.MissExplanation:
    request = control_pb2.ExplainMissRequest(id=id_)
    return await ask(farm, "ExplainMiss", request, control_pb2.MissExplanation)


async def put_action(
    farm: Farm, *arguments: str, files: dict[str, bytes] | None = None, **fields: object
) -> Digest:
    """An action with files in the directory `src`."""
    source = pb.Directory()
    for name, data in sorted((files or {}).items()):
        source.files.add(name=name, digest=to_proto(await farm.put(data)))
    root = pb.Directory()
    root.directories.add(name="src", digest=to_proto(await farm.put(source.SerializeToString())))
    command = pb.Command(arguments=arguments, output_paths=["out"])
    action = pb.Action(
        command_digest=to_proto(await farm.put(command.SerializeToString())),
        input_root_digest=to_proto(await farm.put(root.SerializeToString())),
        **fields,
    )
    return await farm.put(action.SerializeToString())


async def run(
    farm: Farm,
    action: Digest,
    target: str = "//a:a",
    response: pb.ExecuteResponse | None = None,
    **fields: object,
) -> str:
    """Run it on a worker that answers so; the operation's name."""
    request = pb.ExecuteRequest(action_digest=to_proto(action), **fields)
    metadata = pb.RequestMetadata(
        target_id=target, action_mnemonic="Cc" if target else "", tool_invocation_id="inv-1"
    )
    header = {METADATA_HEADER: metadata.SerializeToString()}
    async with farm.channel.stream(EXECUTION + "Execute", metadata=header) as call:
        await call.send(request.SerializeToString())
        await call.done_sending()
        stream = Stream(call)
        operation = await stream.next()
        if not operation.done:
            async with farm.worker() as worker:
                lease = await worker.granted()
                await worker.finish(lease.lease_id, response)
                await stream.result()
    return operation.name


async def test_an_action_is_shown_whole_after_it_has_ended() -> None:
    """Command, inputs, timeline, proof and outputs; found by its operation or its hash."""
    async with farming() as farm:
        action = await put_action(farm, "cc", "a.c", files={"a.c": b"int a;"})
        proof = workers_pb2.ExecutionProof(backend="hand", peak_memory_bytes=5)
        big = await farm.put(b"warning: " + b"x" * 2_000_000 + b" end")
        response = pb.ExecuteResponse(result=pb.ActionResult(exit_code=3, stdout_raw=b"said"))
        response.result.stderr_digest.CopyFrom(to_proto(big))
        response.result.execution_metadata.auxiliary_metadata.add().Pack(proof)
        name = await run(farm, action, response=response)
        details = await shown(farm, name)
        assert details == await shown(farm, action.hash[:12])
        assert details.kept == ""  # what has failed is not kept
        assert details.summary.outcome == "failed"
        assert (details.summary.exit_code, details.summary.worker) == (3, "w1")
        assert (details.summary.target, details.summary.invocation) == ("//a:a", "inv-1")
        assert list(details.command.arguments) == ["cc", "a.c"]
        assert [entry.path for entry in details.inputs] == ["src/a.c"]
        assert (details.input_count, details.input_bytes) == (1, 6)
        assert details.proof.peak_memory_bytes == 5
        assert details.stdout == b"said"
        assert len(details.stderr) == 1024 * 1024
        assert details.stderr.endswith(b" end")
        assert details.notes == ["stderr has 2000013 bytes; this is the end of it"]
        codes = [moment.reason_code for moment in details.timeline]
        assert codes == ["asked", "no-worker", "running", "finished"]


async def test_times_that_are_none_keep_nothing_from_being_shown() -> None:
    """Who writes results may write anything of them."""
    async with farming() as farm:
        action = await put_action(farm, "cc")
        result = pb.ActionResult()
        times = result.execution_metadata
        times.execution_start_timestamp.nanos = -5
        times.execution_completed_timestamp.seconds = 2**62
        times.worker_completed_timestamp.seconds = -(2**62)
        times.virtual_execution_duration.nanos = 2**31 - 1
        await farm.cache.store("", action, result)
        name = await run(farm, action)
        [found] = await listed(farm)
        assert found.outcome == "cached"
        assert found.execution.seconds > 10**9
        assert (await shown(farm, name)).summary == found


async def test_actions_are_listed_newest_first() -> None:
    """Also hits and refusals; by invocation, by failure, and no more than asked for."""
    async with farming() as farm:
        first = await put_action(farm, "one")
        await run(farm, first)
        await run(farm, first)
        windows = await farm.put_action("two", platform={"OSFamily": "windows"})
        with pytest.raises(FailedPreconditionError):
            await run(farm, windows)
        found = await listed(farm)
        assert [one.outcome for one in found] == ["refused", "cached", "succeeded"]
        assert "OSFamily" in found[0].reason
        assert [one.outcome for one in await listed(farm, failures=True)] == ["refused"]
        assert {one.worker for one in await listed(farm, worker="w1")} == {"w1"}
        assert await listed(farm, worker="w2") == []
        assert len(await listed(farm, invocation="inv-1")) == 3
        assert await listed(farm, invocation="inv-2") == []
        assert await listed(farm, ran=True) == [found[0], found[2]]
        assert await listed(farm, target=found[2].target) == found
        assert await listed(farm, target="//no:such") == []
        assert len(await listed(farm, limit=1)) == 1
        assert await listed(farm, limit=1, skip=1) == found[1:2]
        assert await listed(farm, slowest=True, limit=1) == found[2:]  # none else had a worker
        with pytest.raises(InvalidArgumentError):
            await listed(farm, limit=-1)
        with pytest.raises(InvalidArgumentError):
            await listed(farm, skip=-1)


async def test_what_was_only_looked_up_is_listed_too() -> None:
    """Beside the invocation's operations, in the order of asking; found by name and by hash,
    explained as no miss; not among those that ran."""
    async with farming() as farm:
        lookups = farm.scheduler.history.lookups
        action = await put_action(farm, "one")
        ran = await run(farm, action)
        for target, invocation in (("//a:a", "inv-1"), ("//b:b", "inv-1"), ("//c:c", "inv-2")):
            metadata = pb.RequestMetadata(target_id=target, tool_invocation_id=invocation)
            known = Digest(target[2] * 64, 7)
            lookups.hit(metadata.SerializeToString(), ("", known), b"")
        found = await listed(farm, invocation="inv-1")
        assert [one.target for one in found] == ["//b:b", "//a:a", "//a:a"]
        assert [one.outcome for one in found] == ["cached", "cached", "succeeded"]
        assert len(await listed(farm)) == 4
        assert [one.operation for one in await listed(farm, ran=True)] == [ran]
        assert await listed(farm, failures=True) == []
        hit = await shown(farm, found[0].operation)
        assert hit.summary == found[0] == (await shown(farm, "b" * 12)).summary
        assert hit.notes == ["the action is no longer stored"]
        assert "no miss" in (await explained(farm, found[0].operation)).conclusion
        actions = Actions(farm.scheduler, lambda _: farm.blobs, time.time_ns)
        tallies = {one.id: one for one in actions.tallies()}
        assert [(one.actions, one.hits, one.rows) for one in tallies.values()] == [
            (1, 1, 1),
            (3, 2, 3),
        ]
        for tally in tallies.values():
            assert time.time() - 600 < tally.started_s <= tally.last_s <= time.time() + 600


def test_hits_by_look_up_are_bounded_and_push_out_no_operation() -> None:
    """Of each invocation it is known how many are listed; all of them are counted."""
    history = History(most=3, most_bytes=10_000)

    async def main() -> None:
        for number in range(3):
            history.asked(f"o{number}", ActionSpec(ActionKey("", "sha256", "f", 1)), 0.0)
        for number in range(20):
            raw = pb.RequestMetadata(tool_invocation_id=f"inv-{number % 2}").SerializeToString()
            history.lookups.hit(raw, ("i", Digest(f"{number:064x}", 1)), b"")
        assert [(id_, one.hits, rows) for id_, one, rows in history.looked_up()] == [
            ("inv-0", 10, 1),
            ("inv-1", 10, 2),
        ]
        names = [one.operation for one in history.newest()]
        found = [f"i/operations/got-{n:x}" for n in (20, 19, 18)]
        assert names == [*found, "o2", "o1", "o0"]

    trio.run(main)


async def test_a_waiting_action_is_cancelled_once() -> None:
    async with farming() as farm:
        action = await put_action(farm, "one")
        async with farm.execute(action) as stream:
            name = (await stream.next()).name
            request = control_pb2.CancelActionRequest(id=name)
            await ask(farm, "CancelAction", request, control_pb2.Action)
            assert (await stream.result()).status.message
            details = await shown(farm, name, wait=True)
            assert details.summary.outcome == "cancelled"
            assert "cancelled by an operator" in details.response.status.message
            with pytest.raises(FailedPreconditionError, match="ended already"):
                await ask(farm, "CancelAction", request, control_pb2.Action)


async def test_who_waits_for_an_action_is_answered_when_it_ends() -> None:
    async with farming() as farm, farm.worker() as worker:
        async with farm.execute(await put_action(farm, "one")) as stream:
            name = (await stream.next()).name
            answers = []

            async def look() -> None:
                answers.append(await shown(farm, name, wait=True))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
                lease = await worker.granted()
                assert (await shown(farm, name)).summary.outcome == ""
                await worker.finish(lease.lease_id)
            assert answers[0].summary.outcome == "succeeded"


async def test_ids_that_mean_nothing_or_several_are_refused() -> None:
    async with farming() as farm:
        with pytest.raises(NotFoundError, match="remote actions"):
            await shown(farm, "nonsense")
        with pytest.raises(InvalidArgumentError, match="too short"):
            await shown(farm, "a")


def test_an_id_with_several_meanings_names_them() -> None:
    history = History()
    for number in (1, 2):
        key = ActionKey("", "sha256", f"{number}" * 64, 1)
        history.asked(f"operations/abcd{number}", ActionSpec(key), 0.0)
    assert history.find("abcd1").spec.key.hash[0] == "1"
    assert history.find("2222").operation == "operations/abcd2"
    with pytest.raises(StatusError, match="means several"):
        history.find("abcd")


def test_log_lines_name_what_they_are_about() -> None:
    """Only what is known; what is no operation is a subject."""
    history = History()
    spec = ActionSpec(ActionKey("", "sha256", "ab", 1), client=Client(invocation="inv"))
    history.asked("o1", spec, 0.0)
    assert history.fields("o1") == {"operation": "o1", "action": "ab", "invocation": "inv"}
    assert history.fields("w1") == {"subject": "w1"}


def test_the_history_is_bounded_by_number_and_bytes() -> None:
    """The oldest go; the newest stays however large it is."""
    history = History(most=2, most_bytes=10_000)
    for number in range(3):
        history.asked(f"o{number}", ActionSpec(ActionKey("", "sha256", "a", 1)), 0.0)
    assert [one.operation for one in history.newest()] == ["o2", "o1"]
    spec = ActionSpec(ActionKey("", "sha256", "a", 1), client=Client(), payload=b"x" * 20_000)
    history.asked("large", spec, 0.0)
    assert [one.operation for one in history.newest()] == ["large"]


@pytest.mark.parametrize("target", ["//a:a", ""])
async def test_a_miss_is_explained_by_what_differs(target: str) -> None:
    """Argument and input, with a diff of the text; also for clients that name no target."""
    async with farming() as farm:
        await run(farm, await put_action(farm, "cc", "-O2", files={"a.c": b"a\n"}), target)
        await run(farm, await put_action(farm, "other", files={"z": b"z"}), target and "//z:z")
        name = await run(farm, await put_action(farm, "cc", "-O3", files={"a.c": b"b\n"}), target)
        answer = await explained(farm, name)
        assert answer.conclusion == "It differs in 1 argument and 1 input."
        argument, source = answer.differences
        assert (argument.name, argument.before, argument.after) == ("1", "-O2", "-O3")
        assert source.name == "src/a.c"
        assert source.before.endswith("/2")
        assert "-a\n+b" in source.diff
        assert answer.earlier.outcome == "succeeded"


async def test_a_forced_run_is_explained_by_the_one_that_it_repeats() -> None:
    """The order is told, and then what differed when it was no order; also if all were orders."""
    async with farming() as farm:
        await run(farm, await put_action(farm, "cc", "-O2"))
        action = await put_action(farm, "cc", "-O3")
        await run(farm, action)
        for _ in range(2):
            answer = await explained(farm, await run(farm, action, skip_cache_lookup=True))
            assert answer.conclusion.startswith("Its client asked not to look into the cache. ")
            assert answer.conclusion.endswith(" It differs in 1 argument.")
            assert [(one.before, one.after) for one in answer.differences] == [("-O2", "-O3")]
        other = await put_action(farm, "cc", "-O1")
        for beginning in ("It differs", "Its client asked not to look"):
            answer = await explained(farm, await run(farm, other, skip_cache_lookup=True))
            assert answer.conclusion.startswith(beginning)
            assert [(one.before, one.after) for one in answer.differences] == [("-O3", "-O1")]


async def test_a_miss_without_a_difference_says_why() -> None:
    """The first of its kind, a failure before, an order to skip the cache, or no miss at all."""
    async with farming() as farm:
        action = await put_action(farm, "cc")
        failed = pb.ExecuteResponse(result=pb.ActionResult(exit_code=1))
        first = await run(farm, action, response=failed)
        assert "is the first" in (await explained(farm, first)).conclusion
        second = await run(farm, action)
        assert "without success" in (await explained(farm, second)).conclusion
        third = await run(farm, action, skip_cache_lookup=True)
        assert "not to look" in (await explained(farm, third)).conclusion
        hit = await run(farm, action)
        assert "was no miss" in (await explained(farm, hit)).conclusion


async def test_an_input_directory_that_came_is_told_file_by_file() -> None:
    """Only directories that differ are read."""
    async with farming() as farm:
        await run(farm, await put_action(farm, "cc"))
        files = {"a.c": b"a", "b.c": b"b"}
        name = await run(farm, await put_action(farm, "cc", files=files))
        answer = await explained(farm, name)
        assert [(d.name, d.before) for d in answer.differences] == [
            ("src/a.c", ""),
            ("src/b.c", ""),
        ]
