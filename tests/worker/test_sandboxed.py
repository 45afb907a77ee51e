"""Actions in the real sandbox: what the plain one cannot show."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from builder.assembly.worker import make_passable
from builder.base.errors import Code, UsageError
from builder.reapi.digests import from_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.reapi.proof import is_whole, proof_of
from builder.sandbox.interface import AuditLevel, Limits
from builder.sandbox.kernel import landlock
from builder.sandbox.native import NativeSandbox, open_sandbox
from builder.sandbox.options import Options
from builder.sandbox.weak import WeakSandbox
from builder.worker.auditing import Auditing
from builder.worker.job import Job, say_nothing
from builder.worker.runner import Policy
from tests.sandbox import modules
from tests.sandbox.support import settled
from tests.sandbox.test_image import system_layer
from tests.worker.kit import Bench, put_action, shell


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_sandbox() as sandbox:
        yield Bench(tmp_path, sandbox=sandbox)


async def test_an_action_writes_beside_its_inputs(bench: Bench) -> None:
    """Everywhere in the work tree, also in directories of the input root, and in place of an input
    that is an output, too; never through them."""
    tree = {"d": {"in": b"data", "sub": {"x": b""}}, "tool": (b"#!/bin/sh\necho tool\n", True)}
    script = (
        "./tool; cp d/in d/sub/out; rm d/in; echo new > d/in; mkdir e; ln -s ../d e/l; cat d/in"
    )
    response = await bench.run(shell(script, "d/in", "d/sub/out", "e", "tool"), tree)
    result = response.result
    assert (result.exit_code, result.stderr_raw) == (0, b"")
    assert result.stdout_raw == b"tool\nnew\n"
    assert [file.path for file in result.output_files] == ["d/in", "d/sub/out", "tool"]
    assert [made.path for made in result.output_directories] == ["e"]
    again = await bench.run(shell("cat d/in"), tree)
    assert again.result.stdout_raw == b"data"


async def test_the_proof_names_what_held(bench: Bench) -> None:
    response = await bench.run(shell("true"))
    proof = workers_pb2.ExecutionProof()
    assert response.result.execution_metadata.auxiliary_metadata[0].Unpack(proof)
    assert proof.backend.startswith("namespaces")
    assert proof.guarantees
    assert response.message == f"worker-1 (hermetic: {proof.backend})"


async def test_an_audited_action_tells_what_it_did_not_declare(bench: Bench) -> None:
    """The proof names what was outside, and who did it; declared outputs are not."""
    script = "cat src/in > out/a; test -e src/absent; true"
    tree = {"src": {"in": b"data"}}
    response = await bench.run(shell(script, "out/a"), tree, platform={"audit": "full"})
    proof = workers_pb2.ExecutionProof()
    assert response.result.execution_metadata.auxiliary_metadata[0].Unpack(proof)
    absent = workers_pb2.Audit.Access(name="/builder/work/src/absent", use="look", program="sh")
    assert list(proof.audit.outside) == [absent]
    assert (proof.audit.level, proof.audit.complete, proof.audit.outside_count) == ("full", True, 1)
    assert proof.audit.count > 1
    again = await bench.run(shell("true"))
    assert again.result.execution_metadata.auxiliary_metadata[0].Unpack(proof)
    assert not proof.HasField("audit")


async def test_a_worker_audits_a_share_of_what_it_runs(tmp_path: Path) -> None:
    """Those that have not asked for it; who has asked gets the level of the asking."""
    policy = Policy(auditing=Auditing(AuditLevel.FULL, 0.5))
    async with open_sandbox() as sandbox:
        bench = Bench(tmp_path, sandbox=sandbox, policy=policy)
        seen = set()
        for number in range(12):
            job = await put_action(bench.blobs, shell(f"test -e absent; : {number}"))
            proof = proof_of((await bench.runner.run(job, say_nothing)).result.execution_metadata)
            assert proof.HasField("audit") == (policy.auditing.of(job.digest) is not None)
            assert proof.audit.outside_count == proof.HasField("audit")
            seen.add(proof.HasField("audit"))
        assert seen == {True, False}


@pytest.mark.skipif(landlock.version() < landlock.OLDEST, reason="this kernel has no Landlock")
@pytest.mark.usefixtures("some_descriptors")
async def test_the_proof_says_whose_sandbox_it_was(tmp_path: Path) -> None:
    """Where the worker allows it, and of the same domain."""
    async with open_sandbox(ready=1, reuse=True) as sandbox:
        assert isinstance(sandbox, NativeSandbox)
        bench = Bench(tmp_path, sandbox=sandbox)
        found = []
        for domain in ("ci", "ci", "other", ""):
            platform = {"sandbox-reuse": domain} if domain else {}
            response = await bench.run(shell(f"echo {domain}"), platform=platform)
            assert response.result.stdout_raw.decode().strip() == domain
            proof = workers_pb2.ExecutionProof()
            assert response.result.execution_metadata.auxiliary_metadata[0].Unpack(proof)
            found.append((proof.reused, "fresh-sandbox" in proof.guarantees))
            await settled(sandbox)
    assert found == [(0, True), (1, False), (0, True), (0, True)]


async def test_a_program_that_is_not_listed_is_named(bench: Bench) -> None:
    """The kernel refuses it, and the answer says which it was."""
    response = await bench.run(shell("id"), platform={"programs": "sh"})
    assert response.result.exit_code == 126
    assert response.message.endswith(": it may not execute /usr/bin/id")


@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "configured"])
async def test_inputs_are_the_root_of_who_sends_a_system(tmp_path: Path, asked: bool) -> None:
    """By the action's own property or by the worker's configuration; all of it may be an output,
    which has nothing of the sandbox's own places."""
    place = system_layer(tmp_path / "system")
    tree = {
        "bin": {"sh": ((place / "bin/sh").read_bytes(), True)},
        **{name: loaded(place / name) for name in ("lib", "lib64") if (place / name).exists()},
        "src": {"in": b"data"},
    }
    script = "echo made > /out; echo t > /tmp/t; while read l; do echo $l; done < ../src/in"
    command = pb.Command(
        arguments=["/bin/sh", "-c", script], working_directory="src", output_paths=["..", "../out"]
    )
    async with open_sandbox(ready=1) as sandbox:
        bench = Bench(tmp_path / "w", sandbox=sandbox, policy=Policy(inputs_as_root=not asked))
        platform = {"inputs-as-root": "true"} if asked else {}
        result = (await bench.run(command, tree, platform=platform)).result
        assert (result.exit_code, result.stderr_raw) == (0, b"")
        [root] = result.output_directories
        whole = pb.Tree.FromString(await bench.blobs.get(from_proto(root.tree_digest, "sha256")))
    assert root.path == ".."
    assert [file.path for file in result.output_files] == ["../out"]
    assert {one.name for one in whole.root.directories} == {*tree, "dev", "proc", "tmp"}
    empty = pb.Directory()
    assert {one.name for one in whole.root.directories if one.digest.size_bytes == 0} == {
        "dev",
        "proc",
        "tmp",
    }
    assert empty in whole.children


def loaded(place: Path) -> dict[str, object]:
    """A directory as the kit takes it."""
    return {
        one.name: loaded(one) if one.is_dir() else (one.read_bytes(), True)
        for one in place.iterdir()
    }


async def test_the_host_is_not_there(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    response = await bench.run(shell(f"cat {tmp_path}/secret"))
    assert response.result.exit_code != 0
    assert b"secret" not in response.result.stdout_raw


async def test_a_timeout_kills_everything_and_keeps_what_was_said(bench: Bench) -> None:
    job = await put_action(bench.blobs, shell("echo early; sleep 60 & sleep 60"))
    for timeout_s in (0.3, 2.0, 10.0, 50.0):  # until it comes to say it in that time
        response = await bench.runner.run(Job(job.digest, timeout_s=timeout_s), say_nothing)
        assert response.status.code == Code.DEADLINE_EXCEEDED
        if response.result.stdout_raw:
            break
    assert response.result.stdout_raw == b"early\n"


async def test_output_that_was_cut_is_told(tmp_path: Path) -> None:
    """The program goes on and may succeed; the message says what is not whole."""
    async with open_sandbox() as sandbox:
        policy = Policy(limits=Limits(output_bytes=1000))
        bench = Bench(tmp_path, sandbox=sandbox, policy=policy)
        response = await bench.run(shell("head -c 5000 /dev/zero; echo done >&2"))
    result = response.result
    assert (result.exit_code, result.stdout_raw, result.stderr_raw) == (0, bytes(1000), b"done\n")
    assert response.message.endswith("): stdout was cut after 1000 of 5000 bytes")
    assert not is_whole(result)


async def test_a_missing_program_is_127(bench: Bench) -> None:
    command = shell("")
    command.ClearField("arguments")
    command.arguments.append("/no/such/program")
    response = await bench.run(command)
    assert response.status.code == Code.OK
    assert response.result.exit_code == 127


async def test_unreadable_outputs_and_leftovers_are_cleaned(bench: Bench) -> None:
    script = "mkdir -p out/sub; echo x > out/sub/f; chmod 000 out/sub/f; chmod 000 out/sub"
    response = await bench.run(shell(script, "out"))
    assert response.status.code == Code.OK
    assert len(response.result.output_directories) == 1
    assert list(bench.scratch.iterdir()) == []


async def test_without_namespaces_it_runs_and_says_so() -> None:
    """The weakest tier, which runs as another user in directories of the host."""
    with TemporaryDirectory() as folder:
        make_passable(Path(folder))
        bench = Bench(Path(folder), sandbox=WeakSandbox(Options(), "this test wants it"))
        response = await bench.run(shell("cat in; echo made > out/a", "out/a"), {"in": b"data"})
        assert response.result.exit_code == 0, response
        assert response.result.stdout_raw == b"data"
        assert [file.path for file in response.result.output_files] == ["out/a"]
        assert response.message.startswith("worker-1 (not hermetic: ")
        assert list(bench.scratch.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user's actions are that user's own")
def test_a_directory_that_others_cannot_reach_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "closed" / "scratch").mkdir()
    with pytest.raises(UsageError, match="cannot pass through"):
        make_passable(tmp_path / "closed" / "scratch")


async def test_a_module_is_run_by_the_engine(tmp_path: Path) -> None:
    """A program whose name ends in `.wasm`, wherever the worker is; its proof says how."""
    bench = Bench(tmp_path)
    command = pb.Command(arguments=["tool/m.wasm"], output_paths=["out"])
    module = modules.open_file("out", modules.OWN, modules.WRITE, modules.CREATE)
    response = await bench.run(command, {"tool": {"m.wasm": module}})
    proof = workers_pb2.ExecutionProof()
    assert response.result.execution_metadata.auxiliary_metadata[0].Unpack(proof)
    assert proof.backend == "webassembly"
    assert [file.path for file in response.result.output_files] == ["out"]
    assert response.message == "worker-1 (hermetic: webassembly)"
    assert bench.plain.specs == []


@pytest.mark.parametrize(("runtime", "by_engine"), [("wasm", True), ("native", False)])
async def test_the_property_decides_what_runs_it(
    tmp_path: Path, runtime: str, by_engine: bool
) -> None:
    bench = Bench(tmp_path)
    name = "program" if by_engine else "program.wasm"
    program = modules.say("engine") if by_engine else b"#!/bin/sh\necho native\n"
    command = pb.Command(arguments=[f"./{name}"])
    tree = {name: (program, True)}
    response = await bench.run(command, tree, platform={"runtime": runtime})
    assert response.result.stdout_raw == (b"engine" if by_engine else b"native\n")


async def test_an_unknown_runtime_is_refused(tmp_path: Path) -> None:
    response = await Bench(tmp_path).run(shell("true"), platform={"runtime": "jvm"})
    assert response.status.code == Code.INVALID_ARGUMENT
    assert response.status.message == "property runtime is 'jvm': use wasm or native"
