"""WebAssembly actions: by wasmtime, with WASI's preopened directories made from the same spec.

A module has no system calls but WASI's, no files but those of its work tree and a /tmp of its
own, no network, no processes, and no more memory than it may have. That holds on every system
that wasmtime runs on, so this is the lowest floor that is the same everywhere. The engine runs in
a helper (`wasm_run`) that can be killed, and on Linux, as a second layer, it is another user there,
without new privileges and behind the system call filter.

wasmtime is an optional package (`pip install 'builder[wasm]'`): it is half as large as all the
rest, and few need it.
"""

import contextlib
import importlib.util
import json
import os
from typing import Any

import trio

from builder.sandbox import outcome
from builder.sandbox.child import run_child
from builder.sandbox.copied import FinishedInCopy, copy_inputs
from builder.sandbox.interface import (
    WORK_TREE,
    Network,
    SandboxError,
    SandboxRefusedError,
    SandboxSpec,
)
from builder.sandbox.kernel.quota import exceeds
from builder.sandbox.options import ENVIRONMENT, helper, refuse_missing
from builder.sandbox.report import EXITED, NOT_STARTED, SIGNALLED, Report

BACKEND = "webassembly"
GUARANTEES = (
    "fresh-process",
    "read-only-inputs",
    "private-tmp",
    "webassembly",  # nothing of the host but WASI on the files of the action
    "no-network",
    "no-processes",
    "memory-engine",
)
INSTALL = "pip install wasmtime   # into the interpreter that runs builder"
HOW = "how"  # the helper's report, in the scratch directory


def version() -> str:
    """Of the engine that is installed; empty for none."""
    import importlib.metadata  # late: only people ask

    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("wasmtime")
    return ""


def engine_place() -> str:
    """The directory that the engine is imported from. Raises SandboxRefusedError."""
    found = importlib.util.find_spec("wasmtime")
    if found is None or found.origin is None:
        raise SandboxRefusedError(
            f"a WebAssembly action needs wasmtime, which this worker does not have: {INSTALL}"
        )
    return os.path.dirname(os.path.dirname(found.origin))


class WasmSandbox:
    """See `interface.Sandbox`. `action_uid` is whom the engine becomes where this is root."""

    backend = BACKEND
    guarantees = GUARANTEES

    def __init__(self, action_uid: int = 60999) -> None:
        self._uid = action_uid if hasattr(os, "getuid") and os.getuid() == 0 else None

    async def run(self, spec: SandboxSpec) -> FinishedInCopy:
        """See `interface.Sandbox.run`."""
        job = outcome.job(spec)  # raises for what is wrong with the command
        refuse(spec)
        refuse_missing(spec, GUARANTEES, ["it is a WebAssembly action"])
        place = engine_place()
        started = trio.current_time()
        tree = await copy_inputs(spec, self._uid)
        told = self._tell(spec, self._job(spec, job, tree, place))
        setup_us = int((trio.current_time() - started) * 1e6)
        report = await run_child([*helper("wasm"), told], ENVIRONMENT, "/", spec)
        facts: dict[str, Any] = {
            "oom_kills": heed(report, spec.scratch),
            "overdue": False,
            "usage": {"processes": 1},
            "disk_full": await self._is_over(spec, tree),
            "greedy": False,
            "enforced": {"memory": "engine", "processes": "engine", "disk": "at its end"},
            "setup_us": setup_us,
            "report": report,
        }
        limited = outcome.conclude(spec, facts, BACKEND, GUARANTEES)
        return FinishedInCopy(limited, tree)

    def _job(self, spec: SandboxSpec, job: dict[str, Any], tree: str, place: str) -> dict[str, Any]:
        limits = spec.limits
        own = os.path.join(tree, spec.working_directory)
        program = os.path.join(own, spec.argv[0])
        if spec.argv[0].startswith(WORK_TREE + "/"):
            program = tree + spec.argv[0].removeprefix(WORK_TREE)
        return {
            "engine": place,
            "program": program,
            "name": spec.argv[0],
            "tree": tree,
            "argv": list(spec.argv),
            "environment": [[os.fsdecode(k), os.fsdecode(v)] for k, v in job["environment"]],
            "places": [
                [own, "."],
                [tree, WORK_TREE],
                [os.path.join(spec.scratch, "tmp"), "/tmp"],  # noqa: S108 - its own
            ],
            "memory": limits.memory_bytes,
            "open_files": limits.open_files,
            "file_bytes": limits.file_bytes,
            "same": spec.deterministic,
            "uid": self._uid,
            "how": os.path.join(spec.scratch, HOW),
        }

    def _tell(self, spec: SandboxSpec, job: dict[str, Any]) -> str:
        """The file that says it to the helper; and the action's /tmp."""
        temporary = os.path.join(spec.scratch, "tmp")
        os.mkdir(temporary, 0o700)
        if self._uid is not None:
            os.chown(temporary, self._uid, self._uid)
        path = os.path.join(spec.scratch, "job")
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(job, file)
        return path

    async def _is_over(self, spec: SandboxSpec, tree: str) -> bool:
        limits = spec.limits
        if (limits.disk_bytes, limits.disk_files) == (None, None):
            return False
        return await trio.to_thread.run_sync(exceeds, tree, limits.disk_bytes, limits.disk_files)


def refuse(spec: SandboxSpec) -> None:
    """Raises SandboxRefusedError for what a module cannot have."""
    cannot = {
        "cannot be audited": spec.audit is not None,
        "has no network to be given": spec.network is not Network.NONE,
        "sees no image": spec.layers != (),
        "has no fixed wall clock": spec.clock is not None,
        "executes no programs that could be listed": spec.programs != (),
        "cannot stay and be spoken to": spec.dialogue is not None,
    }
    for what, asked in cannot.items():
        if asked:
            raise SandboxRefusedError(f"a WebAssembly action {what}")


def heed(report: Report, scratch: str) -> int:
    """Take what the helper says of the module into the report; 1 when memory was the reason.

    Raises SandboxError when it has ended without a word."""
    if report.timed_out:
        return 0
    try:
        with open(os.path.join(scratch, HOW), encoding="utf-8") as file:
            how = json.load(file)
    except (OSError, ValueError):
        if report.status == SIGNALLED:  # killed from outside, or for memory
            return 0
        raise SandboxError(f"the WebAssembly engine failed: {last_line(scratch)}") from None
    report.status = EXITED if how["started"] else NOT_STARTED
    report.code, report.message = how["code"], how["message"]
    return int(how["memory"])


def last_line(scratch: str) -> str:
    with open(os.path.join(scratch, "stderr"), errors="replace") as file:
        return (file.read().splitlines() or ["it said nothing"])[-1]
