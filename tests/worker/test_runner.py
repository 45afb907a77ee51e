"""Actions from digest to result, over a sandbox that isolates nothing."""

import os
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from builder.base.digest import Digest, digest_of
from builder.base.errors import Code, ResourceExhaustedError, StatusError, UnavailableError
from builder.base.units import format_duration
from builder.reapi.digests import to_proto
from builder.reapi.pb import error_details_pb2, workers_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.proof import proof_of
from builder.sandbox.interface import Limits, Network, SandboxError, SandboxSpec
from builder.stores.memory import MemoryBlobStore
from builder.worker.closing import closer
from builder.worker.job import Job, Stage, say_nothing
from builder.worker.metadata import STAMPS
from builder.worker.runner import Policy
from builder.worker.upload import StoreFullError
from tests.worker.kit import MIB, Bench, put_action, shell
from tests.worker.plain_sandbox import PlainSandbox


async def stored(bench: Bench, digest: pb.Digest, function: str = "sha256") -> bytes:
    return await bench.blobs.get(Digest(digest.hash, digest.size_bytes, function))


def stamps_of(metadata: pb.ExecutedActionMetadata) -> list[int]:
    """All of them, in nanoseconds; none may be unset."""
    assert [name for name in STAMPS if not metadata.HasField(f"{name}_timestamp")] == []
    return [getattr(metadata, f"{name}_timestamp").ToNanoseconds() for name in STAMPS]


@pytest.mark.parametrize("function", ["sha256", "blake3"])
async def test_an_action_reads_its_inputs_and_gives_its_outputs(
    tmp_path: Path, function: str
) -> None:
    bench = Bench(tmp_path)
    command = shell("cat in > out/a; echo said; echo cried >&2; exit 3", "out/a")
    response = await bench.run(command, {"in": b"data"}, function)
    result = response.result
    assert response.status.code == Code.OK
    assert (result.exit_code, result.stdout_raw, result.stderr_raw) == (3, b"said\n", b"cried\n")
    assert await stored(bench, result.output_files[0].digest, function) == b"data"
    assert await stored(bench, result.stdout_digest, function) == b"said\n"
    assert await stored(bench, result.stderr_digest, function) == b"cried\n"
    assert response.message == "worker-1 (not hermetic: plain)"


async def test_every_timestamp_is_set_and_monotone(tmp_path: Path) -> None:
    """Bazel takes a worker's name as proof of it; the queue's time is the coordinator's."""
    bench = Bench(tmp_path)
    queued = time.time_ns() - 5 * 10**9
    job = await put_action(bench.blobs, shell("true"))
    response = await bench.runner.run(Job(job.digest, queued_ns=queued), say_nothing)
    metadata = response.result.execution_metadata
    stamps = stamps_of(metadata)
    assert stamps == sorted(stamps)
    assert stamps[0] == queued
    assert stamps[-1] > queued
    assert metadata.virtual_execution_duration.ToNanoseconds() > 0
    proof = workers_pb2.ExecutionProof()
    assert metadata.auxiliary_metadata[0].Unpack(proof)
    assert (proof.backend, proof.outcome, proof.attempt) == ("plain", "exited", 1)


async def test_a_queue_whose_clock_is_ahead_does_not_spoil_the_order(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    job = await put_action(bench.blobs, shell("true"))
    ahead = Job(job.digest, queued_ns=time.time_ns() + 10**12)
    metadata = (await bench.runner.run(ahead, say_nothing)).result.execution_metadata
    stamps = [getattr(metadata, f"{name}_timestamp").ToNanoseconds() for name in STAMPS]
    assert stamps == sorted(stamps)


async def test_stages_are_reported_in_order(tmp_path: Path) -> None:
    """Those that take no time are left out: inputs that are here, and nothing to upload."""
    bench = Bench(tmp_path)
    seen: list[Stage] = []
    for command in (shell("touch out", "out"), shell("true")):
        job = await put_action(bench.blobs, command)
        await bench.runner.run(job, lambda stage, _: seen.append(stage))
    first = [Stage.FETCHING, Stage.EXECUTING, Stage.UPLOADING]
    assert seen == [*first, Stage.EXECUTING]


async def test_environment_and_working_directory(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    command = shell('echo "$WHO" > ../top; pwd | sed "s,.*/,," ', "../top")
    command.working_directory = "sub"
    command.environment_variables.add(name="WHO", value="me")
    result = (await bench.run(command, {"sub": {"x": b""}})).result
    assert result.stdout_raw == b"sub\n"
    assert result.output_files[0].path == "../top"
    assert await stored(bench, result.output_files[0].digest) == b"me\n"


async def test_a_timeout_keeps_what_was_written(tmp_path: Path) -> None:
    """DEADLINE_EXCEEDED in the response's status, with stdout and the outputs there are."""
    bench = Bench(tmp_path)
    command = shell("echo early; echo x > made; exec sleep 60", "made", "never")
    job = await put_action(bench.blobs, command)
    for timeout_s in (0.3, 2.0, 10.0, 50.0):  # until it comes so far in that time
        response = await bench.runner.run(Job(job.digest, timeout_s=timeout_s), say_nothing)
        assert response.status.code == Code.DEADLINE_EXCEEDED
        if response.result.output_files:
            break
    said = f"execution timeout exceeded: {format_duration(timeout_s)}"
    assert response.status.message == said
    assert response.result.stdout_raw == b"early\n"
    assert [file.path for file in response.result.output_files] == ["made"]
    assert response.result.exit_code != 0


async def test_a_signal_is_never_exit_zero(tmp_path: Path) -> None:
    response = await Bench(tmp_path).run(shell("kill -SEGV $$"))
    assert response.status.code == Code.OK
    assert response.result.exit_code == 139
    assert response.message.endswith("signalled")


async def test_large_streams_are_blobs_only(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    result = (await bench.run(shell("head -c 100000 /dev/zero"))).result
    assert result.stdout_raw == b""
    assert await stored(bench, result.stdout_digest) == bytes(100_000)
    assert not result.HasField("stderr_digest")


async def test_large_outputs_are_streamed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    result = (await bench.run(shell("head -c 5000000 /dev/zero > big", "big"))).result
    assert await stored(bench, result.output_files[0].digest) == bytes(5_000_000)


async def test_missing_inputs_are_failed_precondition(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    gone = digest_of(b"gone")
    response = await bench.run(shell("true"), gone)
    failure = error_details_pb2.PreconditionFailure()
    assert response.status.code == Code.FAILED_PRECONDITION
    assert response.status.details[0].Unpack(failure)
    assert failure.violations[0].type == "MISSING"
    assert failure.violations[0].subject == f"blobs/{gone.hash}/{gone.size_bytes}"
    lost_action = await bench.runner.run(Job(digest_of(b"no action")), say_nothing)
    assert lost_action.status.code == Code.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (pb.Command(arguments=["x"], working_directory="nowhere"), "is no directory"),
        (pb.Command(arguments=["x"], working_directory="file"), "is no directory"),
        (shell("true", "file/out"), "output 'file/out': the input 'file', a file, stands in its"),
        (shell("true", "file/a/b"), "output 'file/a/b': the input 'file', a file, stands in its"),
        (shell("true", "../out"), "leads out"),
    ],
)
async def test_what_cannot_run_is_invalid(tmp_path: Path, command: pb.Command, says: str) -> None:
    bench = Bench(tmp_path)
    response = await bench.run(command, {"file": b""})
    assert response.status.code == Code.INVALID_ARGUMENT
    assert says in response.status.message
    assert bench.plain.specs == []


@pytest.mark.parametrize("refused", ["input", "command"])
async def test_what_never_ran_has_its_proof_too(tmp_path: Path, refused: str) -> None:
    """Who refused it, when, and what would have held it in; no time was spent executing."""
    bench = Bench(tmp_path)
    queued = time.time_ns() - 10**9
    root = digest_of(b"gone") if refused == "input" else None
    command = shell("true") if refused == "input" else pb.Command(arguments=["a\0b"])
    job = await put_action(bench.blobs, command, root)
    job = Job(job.digest, queued_ns=queued, attempt=2)
    metadata = (await bench.runner.run(job, say_nothing)).result.execution_metadata
    stamps = stamps_of(metadata)
    assert stamps == sorted(stamps)
    assert stamps[0] == queued
    assert stamps[STAMPS.index("execution_start")] == stamps[STAMPS.index("execution_completed")]
    assert metadata.worker == "worker-1"
    proof = workers_pb2.ExecutionProof()
    assert metadata.auxiliary_metadata[0].Unpack(proof)
    assert (proof.backend, proof.outcome, proof.attempt) == ("plain", "refused", 2)


async def test_a_refused_output_keeps_the_streams(tmp_path: Path) -> None:
    response = await Bench(tmp_path).run(shell("echo hi; mkfifo out", "out"))
    assert response.status.code == Code.FAILED_PRECONDITION
    assert "is a FIFO" in response.status.message
    assert response.result.stdout_raw == b"hi\n"


async def test_limits_are_the_least_of_what_is_asked_and_allowed(tmp_path: Path) -> None:
    allowed = Limits(memory_bytes=1000 * MIB, cpu_cores=2.0, disk_bytes=10 * MIB, processes=100)
    policy = Policy(allowed)
    bench = Bench(tmp_path, policy=policy)
    asked = {"max-memory": "4GiB", "max-cpu": "0.5", "max-disk": "9MiB", "network": "full"}
    asked["max-processes"] = "20"
    response = await bench.run(shell("true"), platform=asked)
    spec = bench.plain.specs[0]
    assert (spec.limits.memory_bytes, spec.limits.cpu_cores) == (1000 * MIB, 0.5)
    assert (spec.limits.disk_bytes, spec.limits.processes) == (9 * MIB, 20)
    assert spec.network is Network.FULL
    assert response.message == "worker-1 (with the host's network: plain)"


async def test_no_memory_limit_is_below_what_the_sandbox_takes(tmp_path: Path) -> None:
    """Some hosts cannot set such a limit: it is the action that fails by it, not the worker."""
    bench = Bench(tmp_path)
    await bench.run(shell("true"), platform={"max-memory": "1"})
    await bench.run(shell("true"))
    assert [spec.limits.memory_bytes for spec in bench.plain.specs] == [64 << 10, None]


async def test_the_policy_is_for_actions_that_say_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, policy=Policy(network=Network.FULL))
    await bench.run(shell("true"))
    await bench.run(shell("true"), platform={"network": "none"})
    assert [spec.network for spec in bench.plain.specs] == [Network.FULL, Network.NONE]


async def test_an_unknown_audit_is_refused(tmp_path: Path) -> None:
    response = await Bench(tmp_path).run(shell("true"), platform={"audit": "deep"})
    assert response.status.code == Code.INVALID_ARGUMENT
    assert response.status.message == "property audit is 'deep': use cheap or full"


class Broken(PlainSandbox):
    async def run(self, spec: SandboxSpec) -> "object":  # type: ignore[override]
        raise SandboxError("no user namespaces left")


async def test_faults_of_the_host_are_raised(tmp_path: Path) -> None:
    """They are not the action's, so that it can be given to another worker."""
    bench = Bench(tmp_path, sandbox=Broken())  # type: ignore[arg-type]
    with pytest.raises(SandboxError):
        await bench.run(shell("true"))
    assert list(bench.scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (UnavailableError("storage is down"), UnavailableError),
        (ResourceExhaustedError("storage is full"), StoreFullError),
    ],
)
async def test_faults_of_the_storage_are_raised(
    tmp_path: Path, error: StatusError, raised: type[Exception]
) -> None:
    """That it is full is said apart: it says nothing of this worker."""

    class Down(MemoryBlobStore):
        async def put(self, digest: Digest, data: bytes) -> None:
            if data == b"output":
                raise error
            await super().put(digest, data)

    bench = Bench(tmp_path, blobs=Down(64 * MIB))
    with pytest.raises(raised, match=error.message):
        await bench.run(shell("printf output > out", "out"))
    assert list(bench.scratch.iterdir()) == []


async def test_nothing_is_left_in_scratch(tmp_path: Path) -> None:
    """Also when the action takes the rights from its directories, and when it is cancelled."""
    bench = Bench(tmp_path)
    await bench.run(shell("mkdir -p a/b; touch a/b/c; chmod 000 a/b; chmod 000 a"))
    assert list(bench.scratch.iterdir()) == []
    job = await put_action(bench.blobs, shell("exec sleep 60"))
    executing = trio.Event()

    def report(stage: Stage, _: pb.ExecutedActionMetadata) -> None:
        if stage is Stage.EXECUTING:
            executing.set()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.runner.run, job, report)
            await executing.wait()
            nursery.cancel_scope.cancel()
    assert list(bench.scratch.iterdir()) == []


async def test_inputs_are_never_changed(tmp_path: Path) -> None:
    """An action that removes and rewrites its inputs leaves the next one's as they were."""
    bench = Bench(tmp_path)
    tree = {"in": b"first", "d": {"x": b"x"}}
    await bench.run(shell("rm -f in; echo second > in; rm -rf d"), tree)
    result = (await bench.run(shell("cat in d/x"), tree)).result
    assert result.stdout_raw == b"firstx"


async def test_old_clients_get_their_fields(tmp_path: Path) -> None:
    """API 2.0: output_files and output_directories, and their parents are made."""
    bench = Bench(tmp_path)
    command = shell("echo x > a/b/f; mkdir c/d; echo y > c/d/g; ln -s f a/b/l")
    command.output_files.extend(["a/b/f", "a/b/l"])
    command.output_directories.append("c/d")
    result = (await bench.run(command)).result
    assert [file.path for file in result.output_files] == ["a/b/f"]
    assert [link.path for link in result.output_file_symlinks] == ["a/b/l"]
    assert [made.path for made in result.output_directories] == ["c/d"]
    assert result.output_directories[0].tree_digest.size_bytes > 0


async def test_many_actions_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    answers: list[bytes] = []

    async def one(number: int) -> None:
        result = (await bench.run(shell(f"echo {number % 4}; cat in"), {"in": b"!"})).result
        answers.append(result.stdout_raw)

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(one, number)
    assert sorted(answers) == sorted(f"{number % 4}\n!".encode() for number in range(16))
    assert os.listdir(bench.scratch) == []
    assert to_proto(digest_of(b"!")).size_bytes == 1


async def test_limits_of_old_clients_stand_in_the_command(tmp_path: Path) -> None:
    """Before API 2.2 the platform was the command's; the action's goes first."""
    bench = Bench(tmp_path)
    command = shell("true")
    command.platform.properties.add(name="max-memory", value="1MiB")
    await bench.run(command)
    await bench.run(command, platform={"max-memory": "2MiB"})
    assert [spec.limits.memory_bytes for spec in bench.plain.specs] == [MIB, 2 * MIB]


async def test_tidying_up_can_wait(tmp_path: Path) -> None:
    """With a closer the answer comes first; when its block ends, everything is gone."""
    async with closer() as close:
        bench = Bench(tmp_path, close=close)
        for number in range(40):
            assert (await bench.run(shell(f"exit {number}"))).result.exit_code == number
    assert list(bench.scratch.iterdir()) == []


async def test_the_image_that_a_worker_runs_in(tmp_path: Path) -> None:
    """Who asks for it gets the worker's own system; who asks for another is refused."""
    bench = Bench(tmp_path, policy=Policy(own_image="docker://farm/debian"))
    own = await bench.run(shell("true"), platform={"container-image": "docker://farm/debian"})
    assert (own.status.code, own.result.exit_code) == (0, 0), own
    assert proof_of(own.result.execution_metadata).image == ""
    other = await bench.run(shell("true"), platform={"container-image": "docker://farm/other"})
    assert other.status.code == Code.FAILED_PRECONDITION
    assert "takes no images" in other.status.message
