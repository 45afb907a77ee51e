"""WebAssembly actions: what a module can and cannot do, with the real engine."""

import os
from pathlib import Path

import pytest

from builder.base.errors import InvalidArgumentError
from builder.sandbox.interface import (
    AuditLevel,
    Limits,
    Network,
    Outcome,
    Sandbox,
    SandboxRefusedError,
)
from builder.sandbox.wasm import GUARANTEES, WasmSandbox, version
from tests.sandbox import modules
from tests.sandbox.support import Result, files_below, spec

EACCES, ENOENT, EPERM, EXDEV = 2, 44, 63, 75  # as WASI numbers them


async def run(base: Path, module: bytes, *argv: str, **more: object) -> Result:
    """One module, `m.wasm` in the work tree unless `argv` names another."""
    inputs = base / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    (inputs / "m.wasm").write_bytes(module)
    wanted = spec(base, *(argv or ("m.wasm",)), **more)  # type: ignore[arg-type]
    async with await WasmSandbox().run(wanted) as finished:
        done = finished.exit
        return Result(
            done,
            Path(done.stdout).read_text(errors="replace"),
            Path(done.stderr).read_text(errors="replace"),
            files_below(finished.root_fd),
        )


async def test_it_can_say_something(tmp_path: Path) -> None:
    done = await run(tmp_path, modules.say("hello"))
    assert (done.exit.outcome, done.exit.exit_code, done.out) == (Outcome.EXITED, 0, "hello")
    assert done.exit.backend == "webassembly"
    assert done.exit.guarantees == GUARANTEES


async def test_it_has_its_arguments_and_its_environment_alone(tmp_path: Path) -> None:
    done = await run(
        tmp_path, modules.ARGUMENTS, "m.wasm", "a b", "é", environment={"COLOUR": "red"}
    )
    assert (done.out, done.err) == ("m.wasm\0a b\0é\0", "COLOUR=red\0")


async def test_it_ends_with_its_own_code(tmp_path: Path) -> None:
    done = await run(tmp_path, modules.module(modules.exit_with("(i32.const 42)")))
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.EXITED, 42)


async def test_a_trap_is_told(tmp_path: Path) -> None:
    done = await run(tmp_path, modules.TRAP)
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.EXITED, 134)
    assert "unreachable" in done.err


@pytest.mark.parametrize(
    ("directory", "path", "where"),
    [
        (modules.OWN, "in", ""),
        (modules.OWN, "in", "deep"),
        (modules.TREE, "deep/in", "deep"),
    ],
)
async def test_it_can_read_its_inputs(
    tmp_path: Path, directory: int, path: str, where: str
) -> None:
    """From where it works, and by the path of the work tree."""
    files = {"in": "top", "deep/in": "deep"}
    module = modules.open_file(path, directory, modules.READ)
    argv = ("../m.wasm",) if where else ("m.wasm",)
    done = await run(tmp_path, module, *argv, files=files, working_directory=where)
    assert (done.exit.exit_code, done.out) == (0, where or "top")


async def test_it_can_write_outputs(tmp_path: Path) -> None:
    module = modules.open_file("out/a", modules.OWN, modules.WRITE, modules.CREATE)
    done = await run(tmp_path, module, output_parents=("out",))
    assert (done.exit.exit_code, done.tree["out/a"]) == (0, b"new")


async def test_it_can_use_a_tmp_of_its_own(tmp_path: Path) -> None:
    """Which is no part of its work tree."""
    module = modules.open_file("t", modules.TMP, modules.WRITE, modules.CREATE)
    done = await run(tmp_path, module)
    assert (done.exit.exit_code, set(done.tree)) == (0, {"m.wasm"})


async def test_it_cannot_change_its_inputs(tmp_path: Path) -> None:
    """What it writes is a copy."""
    module = modules.open_file("in", modules.OWN, modules.WRITE)
    done = await run(tmp_path, module, files={"in": "old"})
    assert (done.exit.exit_code, done.tree["in"]) == (0, b"new")
    assert (tmp_path / "inputs" / "in").read_text() == "old"


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        ("/etc/passwd", modules.OWN),
        ("../../../../../../etc/passwd", modules.TREE),
        ("in/../../secret", modules.OWN),
        ("../secret", modules.TMP),
        ("../tree/m.wasm", modules.TMP),
    ],
)
async def test_it_cannot_open_what_is_outside(tmp_path: Path, path: str, directory: int) -> None:
    (tmp_path / "secret").write_text("secret")
    module = modules.open_file(path, directory, modules.READ)
    done = await run(tmp_path, module, files={"in/x": ""})
    assert done.exit.exit_code in (EPERM, ENOENT, EXDEV, EACCES)
    assert done.out == ""


async def test_it_cannot_follow_an_input_link_outside(tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "link").symlink_to("/etc/passwd")
    (inputs / "etc").symlink_to("/etc")
    for path in ("link", "etc/passwd"):
        done = await run(tmp_path, modules.open_file(path, modules.OWN, modules.READ))
        assert done.exit.exit_code in (EPERM, ENOENT, EXDEV), path
        assert done.out == ""


async def test_it_cannot_make_a_link_and_follow_it(tmp_path: Path) -> None:
    done = await run(tmp_path, modules.LINK)
    assert done.exit.exit_code != 0


async def test_it_cannot_open_a_socket(tmp_path: Path) -> None:
    """There is no call for that."""
    done = await run(tmp_path, modules.SOCKETS)
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.NOT_STARTED, 126)
    assert "sock_open" in done.exit.message


async def test_it_cannot_have_more_memory_than_it_may(tmp_path: Path) -> None:
    """It is told so, as a program is by malloc."""
    done = await run(tmp_path, modules.GROW, limits=Limits(memory_bytes=32 << 20))
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.EXITED, 32)
    assert "memory=32MiB (engine)" in done.exit.limits


async def test_a_module_that_begins_with_too_much_is_out_of_memory(tmp_path: Path) -> None:
    done = await run(tmp_path, modules.BIG, limits=Limits(memory_bytes=32 << 20))
    assert done.exit.outcome is Outcome.OUT_OF_MEMORY
    assert done.exit.message == "out of memory: it used more than 32MiB"


async def test_it_cannot_run_for_ever(tmp_path: Path) -> None:
    """What it has said by then is kept."""
    done = await run(tmp_path, modules.SPIN, limits=Limits(wall_s=1.0, grace_s=0.1))
    assert done.exit.outcome is Outcome.TIMED_OUT
    assert done.exit.message == "timed out after 1 s"
    assert done.exit.usage.wall_s >= 1.0


async def test_it_cannot_flood_the_worker(tmp_path: Path) -> None:
    for wall_s in (1.0, 8.0, 60.0):  # until it comes to say anything in that time
        limits = Limits(wall_s=wall_s, grace_s=0.1, output_bytes=1000)
        done = await run(tmp_path / str(wall_s), modules.FLOOD, limits=limits)
        if done.out:
            break
    assert (len(done.out), done.exit.output_cut) == (1000, True)


async def test_it_cannot_fill_the_disk(tmp_path: Path) -> None:
    module = modules.open_file("out", modules.OWN, modules.WRITE, modules.CREATE)
    done = await run(tmp_path, module, limits=Limits(disk_files=1))
    assert done.exit.outcome is Outcome.DISK_FULL


async def test_a_file_cannot_be_larger_than_it_may(tmp_path: Path) -> None:
    module = modules.open_file("out", modules.OWN, modules.WRITE, modules.CREATE)
    done = await run(tmp_path, module, limits=Limits(file_bytes=2))
    assert len(done.tree["out"]) <= 2


@pytest.mark.parametrize(
    ("module", "code", "why"),
    [
        (b"\0asm", 126, "m.wasm: "),
        (b"#!/bin/sh\n", 126, "m.wasm: "),
        (modules.NO_COMMAND, 126, "no WASI command"),
    ],
)
async def test_what_is_no_module_is_not_started(
    tmp_path: Path, module: bytes, code: int, why: str
) -> None:
    done = await run(tmp_path, module)
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.NOT_STARTED, code)
    assert why in done.exit.message


@pytest.mark.parametrize("program", ["none.wasm", "/etc/passwd", "../m.wasm", "link.wasm"])
async def test_a_module_must_be_in_the_work_tree(tmp_path: Path, program: str) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "link.wasm").symlink_to("/etc/passwd")
    done = await run(tmp_path, modules.TRAP, program)
    assert (done.exit.outcome, done.exit.exit_code) == (Outcome.NOT_STARTED, 127)


@pytest.mark.parametrize(
    "more",
    [
        {"audit": AuditLevel.FULL},
        {"network": Network.FULL},
        {"network": Network.HOSTS, "hosts": ("a.org",)},
        {"layers": ("/image",)},
        {"required": frozenset({"mount-namespace"})},
    ],
    ids=["audit", "network", "hosts", "image", "guarantee"],
)
async def test_what_it_cannot_be_given_is_refused(tmp_path: Path, more: dict[str, object]) -> None:
    """A guarantee that the engine does not give is no matter of hope."""
    with pytest.raises(SandboxRefusedError):
        await run(tmp_path, modules.TRAP, **more)


async def test_an_output_directory_cannot_lead_out(tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidArgumentError, match="out of the work tree"):
        await run(tmp_path, modules.TRAP, output_parents=("link/new",))
    assert not (tmp_path / "new").exists()


async def test_the_engine_is_another_user_where_that_can_be(tmp_path: Path) -> None:
    """What it makes belongs to the actions' user."""
    module = modules.open_file("out", modules.OWN, modules.WRITE, modules.CREATE)
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "m.wasm").write_bytes(module)
    sandbox: Sandbox = WasmSandbox()
    async with await sandbox.run(spec(tmp_path, "m.wasm")) as finished:
        made = os.stat("out", dir_fd=finished.root_fd)
    assert made.st_uid == (60999 if os.getuid() == 0 else os.getuid())


def test_the_engine_is_named() -> None:
    assert version().split(".")[0].isdigit()
