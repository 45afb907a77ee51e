"""What the tests of the sandbox share: one action, run for real, with everything it left."""

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.sandbox.brokerage import Run
from builder.sandbox.interface import Exit, Limits, Sandbox, SandboxSpec
from builder.sandbox.native import NativeSandbox

PYTHON = os.path.realpath(sys.executable)
READ_ONLY = () if PYTHON.startswith("/usr/") else (os.path.realpath(sys.base_prefix),)
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


@dataclass(frozen=True)
class Result:
    exit: Exit
    out: str
    err: str
    tree: Mapping[str, bytes]  # the regular files of the work tree


def files_below(root_fd: int) -> dict[str, bytes]:
    found = {}
    for path, _, names, fd in os.fwalk(".", dir_fd=root_fd):
        for name in names:
            if not stat.S_ISREG(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                continue
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=fd)
            with os.fdopen(file, "rb") as opened:
                found[os.path.normpath(os.path.join(path, name))] = opened.read()
    return found


def new_inputs(base: Path, files: Mapping[str, str] | None = None) -> Path:
    """An input tree as a worker makes it: directories of its own, files that may be anybody's."""
    inputs = base / "inputs"
    inputs.mkdir(exist_ok=True)
    for name, text in (files or {}).items():
        path = inputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return inputs


def new_scratch(base: Path) -> Path:
    scratch = base / f"scratch-{len(list(base.iterdir()))}"
    scratch.mkdir()
    return scratch


def spec(
    base: Path, *argv: str, files: Mapping[str, str] | None = None, **more: Any
) -> SandboxSpec:
    more.setdefault("environment", ENVIRONMENT)
    inputs = new_inputs(base, files)
    return SandboxSpec(argv, str(inputs), str(new_scratch(base)), **more)


async def act(sandbox: Sandbox, base: Path, *argv: str, **more: Any) -> Result:
    """Run one action and read everything that it left."""
    wanted = spec(base, *argv, **more)
    async with await sandbox.run(wanted) as finished:
        done = finished.exit
        return Result(
            done,
            Path(done.stdout).read_text(errors="replace"),
            Path(done.stderr).read_text(errors="replace"),
            files_below(finished.root_fd),
        )


async def settled(sandbox: NativeSandbox) -> None:
    """Until the broker has done with the last action: its sandbox is ready again, or gone."""
    run = Run(await sandbox.start(), sandbox._number)
    await run.over()
    run.close()
    if run.root_fd >= 0:
        os.close(run.root_fd)


async def shell(sandbox: Sandbox, base: Path, script: str, **more: Any) -> Result:
    return await act(sandbox, base, "/bin/sh", "-c", script, **more)


async def python(sandbox: Sandbox, base: Path, script: str, *argv: str, **more: Any) -> Result:
    return await act(sandbox, base, PYTHON, "-I", "-S", "-c", script, *argv, **more)


async def timed_out(
    sandbox: Sandbox, base: Path, script: str, grace_s: float, **more: Any
) -> tuple[Result, float]:
    """A script that says something and goes on; and the wall time in which it had come so far."""
    for wall_s in (0.3, 2.0, 10.0, 50.0):
        (base / f"{wall_s}").mkdir()
        limits = Limits(wall_s=wall_s, grace_s=grace_s)
        done = await shell(sandbox, base / f"{wall_s}", script, limits=limits, **more)
        if done.out:
            return done, wall_s
    raise AssertionError("it never began")
