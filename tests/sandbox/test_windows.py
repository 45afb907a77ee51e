"""The runner for Windows, with a double that records the calls of the API; and the bytes.

The double's processes are functions of this process. What Windows makes of the calls is not shown.
"""

import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from builder.base.errors import InvalidArgumentError
from builder.sandbox.interface import (
    AuditLevel,
    Exit,
    Limits,
    Network,
    Outcome,
    SandboxError,
    SandboxRefusedError,
)
from builder.sandbox.windows import layout
from builder.sandbox.windows.api import (
    BASIC_ACCOUNTING,
    CPU_RATE,
    EXTENDED_LIMITS,
    UI_RESTRICTIONS,
)
from builder.sandbox.windows.runner import GUARANTEES, WindowsSandbox
from tests.sandbox.support import files_below, spec

Program = Callable[["Double", int, int, str], int]


def quiet(_api: "Double", _out: int, _err: int, _directory: str) -> int:
    return 0


class Double:
    """An `Api`. `failing` names the call that Windows refuses; `calls` are those made."""

    def __init__(self, program: Program = quiet, failing: str = "") -> None:
        self.program, self.failing = program, failing
        self.calls: list[tuple[object, ...]] = []
        self.open: set[int] = set()
        self.killed, self.ended = threading.Event(), threading.Event()
        self.code = 0
        self._next = 100
        self._started: tuple[int, int, str] = (-1, -1, "")

    def _call(self, name: str, *arguments: object) -> None:
        self.calls.append((name, *arguments))
        if name == self.failing:
            raise PermissionError(13, "Access is denied")

    def _handle(self) -> int:
        self._next += 1
        self.open.add(self._next)
        return self._next

    def names(self) -> list[object]:
        return [call[0] for call in self.calls if call[0] != "close"]

    def create_job(self) -> int:
        self._call("create_job")
        return self._handle()

    def set_job(self, job: int, kind: int, data: bytes) -> None:
        self._call("set_job", job, kind, data)

    def query_job(self, job: int, kind: int, size: int) -> bytes:
        self._call("query_job", job, kind, size)
        if kind == BASIC_ACCOUNTING:
            return layout.ACCOUNTING.pack(20_000_000, 5_000_000, 0, 0, 0, 3, 0, 0)
        return bytes(size - 8) + struct.pack("<Q", 77 << 20)

    def restricted_token(self) -> int:
        self._call("restricted_token")
        return self._handle()

    def create_suspended(
        self, token: int, line: str, environment: str, directory: str, out: int, err: int
    ) -> tuple[int, int]:
        self._call("create_suspended", token, line, environment, directory)
        self._started = (os.dup(out), os.dup(err), directory)
        return self._handle(), self._handle()

    def assign(self, job: int, process: int) -> None:
        self._call("assign", job, process)

    def resume(self, thread: int) -> None:
        self._call("resume", thread)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        out, err, directory = self._started
        self.code = self.program(self, out, err, directory)
        self._gone()

    def _gone(self) -> None:
        out, err, _ = self._started
        if not self.ended.is_set():
            os.close(out)
            os.close(err)
        self.ended.set()

    def wait(self, process: int) -> int:
        self._call("wait", process)
        self.ended.wait()
        return self.code

    def terminate_process(self, process: int, code: int) -> None:
        self._call("terminate_process", process, code)
        self._gone()

    def terminate_job(self, job: int, code: int) -> None:
        self._call("terminate_job", job, code)
        self.killed.set()

    def close(self, handle: int) -> None:
        self._call("close", handle)
        self.open.remove(handle)


async def run(api: Double, base: Path, *argv: str, **more: object) -> tuple[Exit, dict[str, bytes]]:
    wanted = spec(base, *(argv or ("tool.exe",)), **more)  # type: ignore[arg-type]
    async with await WindowsSandbox(api, 4).run(wanted) as finished:
        return finished.exit, files_below(finished.root_fd)


async def test_a_process_is_in_its_job_before_it_runs(tmp_path: Path) -> None:
    """Every limit is set before, and the job is closed last."""
    api = Double()
    limits = Limits(memory_bytes=1 << 30, cpu_cores=2)
    done, _ = await run(api, tmp_path, limits=limits)
    assert (done.outcome, done.exit_code) == (Outcome.EXITED, 0)
    begin = api.names()[:8]
    assert begin == [
        *("create_job", "set_job", "set_job", "set_job"),
        *("restricted_token", "create_suspended", "assign", "resume"),
    ]
    assert [call[2] for call in api.calls if call[0] == "set_job"] == [
        EXTENDED_LIMITS,
        UI_RESTRICTIONS,
        CPU_RATE,
    ]
    assert api.open == set()
    assert api.calls[-1] == ("close", 101)


async def test_what_holds_is_told(tmp_path: Path) -> None:
    limits = Limits(memory_bytes=1 << 30, cpu_cores=2, processes=9, wall_s=50)
    done, _ = await run(Double(), tmp_path, limits=limits)
    assert (done.backend, done.guarantees) == ("job-object", GUARANTEES)
    assert done.limits == (
        *("memory=1GiB (job)", "processes=9 (job)", "cpu=2 (job)"),
        *("wall=50s (timer)", "output=64MiB (pipe)"),
    )
    assert (done.usage.user_s, done.usage.system_s) == (2.0, 0.5)
    assert (done.usage.processes, done.usage.peak_memory_bytes) == (3, 77 << 20)


async def test_output_and_files_come_back(tmp_path: Path) -> None:
    def program(_api: Double, out: int, err: int, directory: str) -> int:
        os.write(out, b"out")
        os.write(err, b"err")
        Path(directory, "made").write_bytes(Path(directory, "in").read_bytes() * 2)
        return 3

    done, files = await run(Double(program), tmp_path, files={"in": "x"})
    assert (done.exit_code, Path(done.stdout).read_text(), Path(done.stderr).read_text()) == (
        *(3, "out", "err"),
    )
    assert files == {"in": b"x", "made": b"xx"}


async def test_output_is_bounded(tmp_path: Path) -> None:
    def program(_api: Double, out: int, _err: int, _directory: str) -> int:
        for _ in range(100):
            os.write(out, b"x" * 1000)
        return 0

    done, _ = await run(Double(program), tmp_path, limits=Limits(output_bytes=1500))
    assert os.path.getsize(done.stdout) == 1500
    assert done.output_cut
    assert done.message == "stdout was cut after 1500 of 100000 bytes"


def until_killed(api: Double, out: int, _err: int, _directory: str) -> int:
    os.write(out, b"early")
    api.killed.wait()
    return 137


async def test_a_timeout_ends_the_whole_job(tmp_path: Path) -> None:
    api = Double(until_killed)
    done, _ = await run(api, tmp_path, limits=Limits(wall_s=0.2))
    assert (done.outcome, done.exit_code) == (Outcome.TIMED_OUT, 137)
    assert Path(done.stdout).read_text() == "early"
    assert ("terminate_job", 101, 137) in api.calls
    assert api.open == set()


async def test_what_a_program_leaves_running_is_ended(tmp_path: Path) -> None:
    api = Double()
    await run(api, tmp_path)
    assert api.names().index("terminate_job") > api.names().index("wait")


async def test_cancelling_ends_the_job(tmp_path: Path) -> None:
    api = Double(until_killed)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, api, tmp_path)
            while "wait" not in api.names():  # noqa: ASYNC110 - the double tells nobody
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert api.killed.is_set()
    assert api.open == set()


@pytest.mark.parametrize("call", ["create_job", "set_job", "assign", "resume"])
async def test_a_job_that_cannot_be_made_lets_nothing_run(tmp_path: Path, call: str) -> None:
    """A host's failure, never a process outside of its job; and every handle is closed."""
    api = Double(failing=call)
    with pytest.raises(SandboxError, match="job object"):
        await run(api, tmp_path, limits=Limits(cpu_cores=1))
    assert api.open == set()
    if "create_suspended" in api.names():
        assert "terminate_process" in api.names()
    assert "wait" not in api.names()


@pytest.mark.parametrize(
    ("error", "code"),
    [(FileNotFoundError(2, "no such file"), 127), (PermissionError(13, "access denied"), 126)],
)
async def test_a_program_that_does_not_start(tmp_path: Path, error: OSError, code: int) -> None:
    class Refusing(Double):
        def create_suspended(self, *_arguments: object) -> tuple[int, int]:
            raise error

    api = Refusing()
    done, _ = await run(api, tmp_path)
    assert (done.outcome, done.exit_code) == (Outcome.NOT_STARTED, code)
    assert done.message == f"could not be started: tool.exe: {error.strerror}"
    assert api.open == set()


@pytest.mark.parametrize(
    "more",
    [
        {"audit": AuditLevel.CHEAP},
        {"layers": ("/image",)},
        {"network": Network.HOSTS, "hosts": ("a.org",)},
        {"limits": Limits(disk_bytes=1)},
        {"limits": Limits(file_bytes=1)},
        {"required": frozenset({"network-namespace"})},
    ],
)
async def test_what_windows_does_not_give_is_refused(
    tmp_path: Path, more: dict[str, object]
) -> None:
    api = Double()
    with pytest.raises(SandboxRefusedError):
        await run(api, tmp_path, **more)
    assert api.calls == []


async def test_the_environment_and_the_line_are_as_windows_takes_them(tmp_path: Path) -> None:
    api = Double()
    await run(api, tmp_path, "tool.exe", "a b", 'c"d', environment={"b": "2", "A": "1"})
    call = next(call for call in api.calls if call[0] == "create_suspended")
    assert call[2] == 'tool.exe "a b" c\\"d'
    names = [one.partition("=")[0] for one in str(call[3]).split("\0")[:-2]]
    assert names == ["A", "b", "TEMP", "TMP"]


def test_limits_as_bytes() -> None:
    """At the offsets of 64-bit Windows."""
    data = layout.extended_limits(Limits(memory_bytes=1 << 33, processes=7))
    assert len(data) == 144
    assert struct.unpack_from("<I", data, 16) == (0x8 | 0x200 | 0x400 | 0x2000,)
    assert struct.unpack_from("<I", data, 40) == (7,)
    assert struct.unpack_from("<Q", data, 120) == (1 << 33,)
    none = layout.extended_limits(Limits(processes=None))
    assert struct.unpack_from("<I", none, 16) == (0x400 | 0x2000,)


@pytest.mark.parametrize(
    ("cores", "machine", "part"), [(1, 4, 2500), (0.5, 8, 625), (8, 4, 10_000), (0.0001, 64, 1)]
)
def test_cores_are_parts_of_the_machine(cores: float, machine: int, part: int) -> None:
    assert struct.unpack("<II", layout.cpu_rate(cores, machine)) == (0x5, part)


def test_names_that_differ_in_case_are_one() -> None:
    with pytest.raises(InvalidArgumentError, match="PATH and Path are one"):
        layout.environment_block({"Path": "a", "PATH": "b"})
    assert layout.environment_block({"b": "2", "A": "1"}) == "A=1\0b=2\0\0"


def test_a_line_has_an_end() -> None:
    with pytest.raises(InvalidArgumentError, match="32766"):
        layout.command_line(["x" * 40_000])
