"""Persistent workers in the real sandbox: one program for many actions, and what may go wrong."""

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from builder.base.errors import Code
from builder.sandbox.interface import Limits, Sandbox
from builder.sandbox.native import open_sandbox
from builder.worker.job import say_nothing
from builder.worker.persistent.pool import Recycling
from tests.sandbox.support import READ_ONLY
from tests.worker.persistent.bench import (
    ASKED,
    CANCELLABLE,
    JSON,
    TOGETHER,
    TOOL,
    PersistentBench,
    Told,
    persistent_bench,
)

BOTH = pytest.mark.parametrize("platform", [ASKED, JSON], ids=["proto", "json"])


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with open_sandbox(read_only=READ_ONLY) as opened:
        yield opened


@pytest.fixture
async def bench(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[PersistentBench]:
    async with persistent_bench(tmp_path, sandbox) as opened:
        yield opened


async def until(condition: Callable[[], bool]) -> None:
    """What other processes do can only be looked at."""
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.01)


async def ended(bench: PersistentBench, count: int = 0) -> None:
    """Until there are no more programs than that."""
    await until(lambda: len(bench.workers.names) <= count)


@BOTH
async def test_one_program_serves_many_actions(
    bench: PersistentBench, platform: dict[str, str]
) -> None:
    """The second action finds the program of the first, and only its own files."""
    first = await bench.run("out=out", "a", platform=platform, files={"one": b"1"})
    second = await bench.run("out=out", "b", platform=platform, files={"two": b"2"})
    assert (first.out["served"], second.out["served"]) == (1, 2)
    assert first.out["pid"] == second.out["pid"]
    assert second.out["arguments"] == ["out=out", "b"]
    assert second.out["there"] == ["args", "tool/tool.py", "two"]
    assert (first.worker.request, second.worker.request) == (1, 2)
    assert first.worker.key == second.worker.key
    backend = second.proof.backend
    assert backend.endswith("+worker")
    assert second.response.message == f"worker-1 (isolated, by a persistent worker: {backend})"


@BOTH
async def test_a_request_names_its_inputs(bench: PersistentBench, platform: dict[str, str]) -> None:
    """Every input by path and digest, the tool's own too."""
    told = await bench.run("out=out", platform=platform, files={"one": b"1"})
    job = await bench.job("out=out", platform=platform, files={"one": b"1"})
    assert set(told.out["inputs"]) == {"args", "one", "tool/tool.py"}
    assert told.out["inputs"]["one"] == (
        "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    )
    assert job.digest


async def test_the_program_is_started_with_what_is_no_request(bench: PersistentBench) -> None:
    told = await bench.run("out=out", flags=("--opt", "-x"), environment={"COLOUR": "red"})
    assert told.out["argv"] == ["--opt", "-x", "--persistent_worker"]
    assert told.out["environment"] == "red"


async def test_outputs_may_stand_in_new_directories(bench: PersistentBench) -> None:
    outputs = ("out", "deep/er/copy")
    told = await bench.run("out=out", "copy=one,deep/er/copy", files={"one": b"1"}, outputs=outputs)
    assert told.outputs["deep/er/copy"] == b"1"
    assert "deep/er" not in (await bench.run("out=out")).out["there"]


@pytest.mark.parametrize(
    "change",
    [
        {"environment": {"COLOUR": "red"}},
        {"flags": ("--opt",)},
        {"tool": TOOL.read_bytes() + b"\n# newer\n"},
        {"platform": JSON},
    ],
    ids=["environment", "command", "tool", "protocol"],
)
async def test_what_makes_the_program_is_its_key(
    bench: PersistentBench, change: dict[str, object]
) -> None:
    """Another environment, command, tool or protocol is another program."""
    first = await bench.run("out=out")
    other = await bench.run("out=out", **change)
    assert first.worker.key != other.worker.key
    assert other.out["served"] == 1


async def test_a_failure_is_told_with_its_text(bench: PersistentBench) -> None:
    """The exit code and the output of the response are the action's; the program stays."""
    failed = await bench.run("fail=3")
    assert (failed.response.result.exit_code, failed.stderr) == (3, "it failed\n")
    assert (await bench.run("out=out")).out["served"] == 2


async def test_actions_at_the_same_time_have_programs_of_their_own(bench: PersistentBench) -> None:
    """A program that takes one request at a time never gets two; how many there may be holds."""
    found: list[Told] = []

    async def one(number: int) -> None:
        found.append(await bench.run("meet=1", "out=out", f"{number}"))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(one, number)
    served = [told for told in found if not told.worker.fell_back]
    assert len(served) <= 6
    for told in found:
        assert told.out["arguments"][2] in "012345"
        if told.worker.fell_back:
            assert told.worker.fell_back == "all 4 programs are busy"
    assert len(bench.workers.names) <= 4


@BOTH
async def test_a_program_that_dies_is_replaced(
    bench: PersistentBench, platform: dict[str, str]
) -> None:
    """The action then runs by itself, and its result says why; the next one has a new program."""
    await bench.run("out=out", platform=platform)
    died = await bench.run("say=last words", "die=9", platform=platform)
    assert "killed by signal 9" in died.worker.fell_back
    assert "last words" in died.worker.fell_back
    assert died.response.result.exit_code == 137  # by itself it does the same
    assert died.worker.fell_back in died.response.message
    assert (await bench.run("out=out", platform=platform)).out["served"] == 1


@BOTH
async def test_what_is_no_response_ends_the_program(
    bench: PersistentBench, platform: dict[str, str]
) -> None:
    """A stray print to stdout is told as it is; the action runs by itself."""
    told = await bench.run("print=this is no response at all", "out=out", platform=platform)
    assert "this is no response" in told.worker.fell_back
    assert told.out["served"] == 1
    assert (await bench.run("out=out", platform=platform)).worker.request == 1


async def test_a_program_that_always_fails_is_not_tried_for_ever(bench: PersistentBench) -> None:
    for _ in range(3):
        assert (await bench.run("print=nonsense", "out=out")).worker.fell_back
    told = await bench.run("out=out")
    assert told.worker.fell_back == "its worker has failed 3 times in a row"
    assert told.out["served"] == 1


@pytest.mark.parametrize("platform", [ASKED, CANCELLABLE], ids=["killed", "cancelled"])
async def test_a_timeout_is_told_and_what_was_said_kept(
    tmp_path: Path, sandbox: Sandbox, platform: dict[str, str]
) -> None:
    """A program that understands it is asked to stop and lives on; any other is killed."""
    async with persistent_bench(tmp_path, sandbox, limits=Limits(grace_s=60.0)) as bench:
        first = await bench.run("out=out", platform=platform)
        for timeout_s in (1.0, 4.0, 16.0, 64.0):  # a busy machine comes to say it later
            late = await bench.run("say=early", "wait", platform=platform, timeout_s=timeout_s)
            assert late.response.status.code == Code.DEADLINE_EXCEEDED
            if late.stderr:
                break
        assert late.stderr == "early\n"
        after = await bench.run("out=out", platform=platform)
        lives_on = after.out["pid"] == first.out["pid"] and after.out["served"] > 1
        assert lives_on == (platform is CANCELLABLE)
        assert after.out["there"] == ["args", "tool/tool.py"]


@pytest.mark.parametrize("platform", [ASKED, CANCELLABLE, TOGETHER], ids=["k", "c", "t"])
async def test_a_cancelled_action_leaves_nothing_running(
    bench: PersistentBench, platform: dict[str, str], tmp_path: Path
) -> None:
    """And nothing of it is there for the next one."""
    await bench.run("out=out", platform=platform)
    job = await bench.job("say=begun", "wait", platform=platform, files={"secret": b"s"})
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.runner.run, job, say_nothing)
            await until(lambda: any("begun" in log.read_text() for log in stderrs(tmp_path)))
            nursery.cancel_scope.cancel()
    after = await bench.run("out=out", platform=platform)
    assert "secret" not in after.out["there"]
    await ended(bench, 1)  # its directory goes last


def stderrs(base: Path) -> list[Path]:
    return list(base.glob("actions/worker-*/scratch/stderr"))


async def test_a_program_may_take_several_requests_at_once(bench: PersistentBench) -> None:
    """Each in a directory of its own, where it finds its own files and nobody else's."""
    found: list[Told] = []

    async def one(name: str) -> None:
        found.append(
            await bench.run("meet=3", "out=out", platform=TOGETHER, files={name: name.encode()})
        )

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for name in ("a", "b", "c"):
                nursery.start_soon(one, name)
    assert not [told.worker.fell_back for told in found if told.worker.fell_back]
    assert len({told.out["pid"] for told in found}) == 1
    own = [set(told.out["there"]) - {"args", "tool/tool.py"} for told in found]
    assert sorted(own, key=min) == [{"a"}, {"b"}, {"c"}]
    assert len(bench.workers.names) == 1


async def test_others_are_unharmed_when_one_is_over_its_time(
    bench: PersistentBench, tmp_path: Path
) -> None:
    """One that does not stop when it is asked to ends its program; the others begin again."""
    stubborn = {**TOGETHER, "supports-worker-cancellation": "0"}
    found: list[Told] = []

    async def other() -> None:
        found.append(await bench.run("meet=2", "out=out", platform=stubborn))

    async def late() -> None:
        job = await bench.job("say=begun", "wait", platform=stubborn, timeout_s=2.0)
        found.append(await bench.told(job))

    with trio.fail_after(60):
        await bench.run("out=out", platform=stubborn)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)  # it meets nobody in the first program, but in the second
            nursery.start_soon(late)
            await until(lambda: bool(found))
            nursery.start_soon(other)
    assert found[0].response.status.code == Code.DEADLINE_EXCEEDED
    assert [one.worker.fell_back for one in found[1:]] == ["", ""]
    assert len({one.out["pid"] for one in found[1:]}) == 1


@pytest.mark.parametrize(
    ("recycling", "arguments"),
    [
        (Recycling(max_requests=1), ()),
        (Recycling(max_age_s=0.0), ()),
        (Recycling(max_idle_s=0.0), ()),
        (Recycling(max_memory_bytes=64 << 20), ("hold=67108864",)),
    ],
    ids=["requests", "age", "idle", "memory"],
)
async def test_a_program_is_ended_when_it_has_served_enough(
    tmp_path: Path, sandbox: Sandbox, recycling: Recycling, arguments: tuple[str, ...]
) -> None:
    async with persistent_bench(tmp_path, sandbox, recycling) as bench:
        first = await bench.run("out=out", *arguments)
        assert not first.worker.fell_back
        await ended(bench)
        assert (await bench.run("out=out")).out["served"] == 1


async def test_a_small_program_stays(tmp_path: Path, sandbox: Sandbox) -> None:
    async with persistent_bench(tmp_path, sandbox, Recycling(max_memory_bytes=512 << 20)) as bench:
        await bench.run("out=out")
        assert (await bench.run("out=out")).out["served"] == 2


async def test_an_idle_program_makes_room_for_another(tmp_path: Path, sandbox: Sandbox) -> None:
    async with persistent_bench(tmp_path, sandbox, Recycling(processes=1)) as bench:
        await bench.run("out=out")
        other = await bench.run("out=out", flags=("--other",))
        assert not other.worker.fell_back
        await ended(bench, 1)


async def test_out_of_memory_ends_the_program_and_is_told(tmp_path: Path, sandbox: Sandbox) -> None:
    """The limits of the action hold for the program; by itself the action meets them again."""
    if "memory-cgroup" not in sandbox.guarantees:
        pytest.skip("this host has no memory control group for us")
    limits = Limits(memory_bytes=64 << 20, grace_s=0.5)
    async with persistent_bench(tmp_path, sandbox, limits=limits) as bench:
        told = await bench.run("hold=268435456", "out=out")
        assert "out of memory" in told.worker.fell_back
        assert told.proof.outcome == "out-of-memory"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"marked": False}, "none of its inputs is marked"),
        ({"platform": {**ASKED, "audit": "full"}}, "it is audited"),
        ({"platform": {**ASKED, "network": "full"}}, "it has a network"),
        ({"platform": {**ASKED, "deterministic": "true"}}, "it is to be deterministic"),
        ({"platform": {**ASKED, "max-disk": "1GiB"}}, "its disk is limited"),
    ],
)
async def test_what_a_program_cannot_give_is_given_by_a_sandbox_alone(
    bench: PersistentBench, more: dict[str, object], why: str
) -> None:
    """The action runs by itself, with every guarantee, and its result says why."""
    told = await bench.run("out=out", **more)
    assert why in told.worker.fell_back
    assert told.out["served"] == 1
    assert "fresh-process" in told.proof.guarantees
    assert len(bench.workers.names) == 0


async def test_a_fresh_process_is_not_promised(bench: PersistentBench) -> None:
    """All that the sandbox holds holds here too, but that the program is new."""
    alone = await bench.run("out=out", platform={})
    served = await bench.run("out=out")
    assert set(alone.proof.guarantees) - set(served.proof.guarantees) == {"fresh-process"}


@pytest.mark.parametrize(
    "attempt",
    [
        "open('{secret}').read()",
        "open('tool/tool.py', 'a')",
        "os.chmod('tool/tool.py', 0o777)",
        "open('/etc/shadow').read()",
        "__import__('socket').create_connection(('127.0.0.1', {port}), 5)",
        "os.kill({pid}, 9)",
        "os.mkfifo('/usr/x')",
    ],
)
async def test_a_program_cannot_reach_out(
    bench: PersistentBench, attempt: str, tmp_path: Path
) -> None:
    """It is in the same sandbox as any action; its inputs are not its own to change."""
    (tmp_path / "secret").write_text("s")
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    text = attempt.format(secret=tmp_path / "secret", pid=os.getpid(), port=port)
    told = await bench.run(f"try={text}")
    for listener in listeners:
        await listener.aclose()
    assert not told.worker.fell_back
    if os.getuid() != 0 and "tool.py" in attempt:
        return  # an ordinary user's programs have copies of their own
    assert told.stderr != "done\n", told.stderr


async def test_an_output_cannot_lead_out(bench: PersistentBench, tmp_path: Path) -> None:
    """A link that the program leaves at an output's place, or above it, is not followed."""
    (tmp_path / "secret").write_text("secret")
    text = f"os.rmdir('deep'); os.symlink('{tmp_path}', 'deep')"
    told = await bench.run(f"try={text}", outputs=("deep/secret",))
    assert (told.stderr, dict(told.outputs)) == ("done\n", {})


async def test_a_program_cannot_make_us_write_elsewhere(
    bench: PersistentBench, tmp_path: Path
) -> None:
    """Files are moved into its work tree by name only; a link in their place is left alone."""
    target = tmp_path / "target"
    target.mkdir()
    late = (
        "__import__('threading').Thread(target=lambda: "
        f"[os.path.lexists('new') or os.symlink('{target}', 'new') for _ in range(10**5)],"
        " daemon=True).start()"
    )
    await bench.run(f"try={late}")
    for number in range(3):
        await bench.run("out=new/out", files={"x": str(number).encode()}, outputs=("new/out",))
    assert list(target.iterdir()) == []


async def test_nothing_is_left_behind(tmp_path: Path, sandbox: Sandbox) -> None:
    """No program, no directory and no descriptor outlives the workers."""
    before = len(os.listdir("/proc/self/fd"))
    async with persistent_bench(tmp_path, sandbox) as bench:
        pid = (await bench.run("out=out")).out["pid"]
        assert pid
        await bench.run("die=9")
        await bench.run("out=out", platform=TOGETHER)
    assert not [path.name for path in (tmp_path / "actions").iterdir()]
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_response_may_be_large(bench: PersistentBench) -> None:
    """Larger than a pipe holds, as a request may be."""
    told = await bench.run(*(f"argument-{n}" for n in range(20_000)), "out=out")
    assert len(told.out["arguments"]) == 20_001
    assert json.loads(told.outputs["out"])


async def test_a_host_without_mounts_has_no_programs(tmp_path: Path) -> None:
    """Nothing is downgraded in silence: the result says that the action ran by itself, and why."""
    from tests.worker.plain_sandbox import PlainSandbox

    async with persistent_bench(tmp_path, PlainSandbox()) as bench:
        told = await bench.run("out=out")
        assert told.worker.fell_back == "this host has no sandbox that a program could stay in"


async def test_none_are_kept_where_none_may_be(tmp_path: Path, sandbox: Sandbox) -> None:
    async with persistent_bench(tmp_path, sandbox, Recycling(processes=0)) as bench:
        told = await bench.run("out=out")
        assert "worker.persistent.processes is 0" in told.worker.fell_back
