"""The helper in which one WebAssembly action runs (see `wasm`): `start.py wasm JOB`.

It opens the action's directories and reads the module's bytes, gives up what it can of its own
rights, and only then compiles and runs them. How it ended is written to a file that was opened
before.
"""

import json
import os
import resource
import sys

NOT_FOUND, NOT_EXECUTABLE = 127, 126
TRAPPED = 134  # as a shell says of SIGABRT, and as wasmtime's own command does
HEADROOM = 1 << 30  # for the engine itself
START = "_start"

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not in the core that the helpers import
    from typing import Any


class NotStartedError(Exception):
    """`code` is what a shell would say."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def read_module(job: "dict[str, Any]") -> bytes:
    """A regular file of the work tree, wherever links within it lead. Raises NotStartedError."""
    path = os.path.realpath(job["program"])
    if not path.startswith(os.path.realpath(job["tree"]) + os.sep) or not os.path.isfile(path):
        raise NotStartedError(NOT_FOUND, f"{job['name']}: no such module in the work tree")
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise NotStartedError(NOT_EXECUTABLE, f"{job['name']}: {error.strerror}") from None


def set_limits(job: "dict[str, Any]") -> None:
    limits = [(resource.RLIMIT_CORE, 1)]  # which is none at all, see `running`
    if job["open_files"] is not None:
        limits.append((resource.RLIMIT_NOFILE, job["open_files"]))
    if job["memory"] is not None:
        limits.append((resource.RLIMIT_DATA, job["memory"] + HEADROOM))
    for kind, value in limits:
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def set_file_limit(size: int) -> None:
    """The soft limit alone, to be lifted for the report: no module can do that. The engine makes
    files of its own before the module runs."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if hard == resource.RLIM_INFINITY or 0 <= size < hard:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def give_up_rights(uid: "int | None") -> None:
    """What a module could gain from a fault in the engine."""
    if sys.platform != "linux":
        return
    from builder.sandbox.kernel import identity
    from builder.sandbox.kernel.seccomp import Filter, program
    from builder.sandbox.kernel.syscalls import MACHINE

    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    identity.prctl(identity.PR_SET_NO_NEW_PRIVS, 1)
    Filter(program(MACHINE)).install()


def perform(job: "dict[str, Any]") -> "dict[str, Any]":
    """Run the module. Raises NotStartedError."""
    import wasmtime

    config = wasmtime.Config()
    config.cranelift_nan_canonicalization = job["same"]
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    if job["memory"] is not None:
        store.set_limits(memory_size=job["memory"])
    wasi = wasmtime.WasiConfig()
    wasi.argv = job["argv"]
    wasi.env = job["environment"]
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    for path, name in job["places"]:
        wasi.preopen_dir(path, name)
    data = read_module(job)
    give_up_rights(job["uid"])
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    try:
        module = wasmtime.Module(engine, data)
        instance = linker.instantiate(store, module)
        start = instance.exports(store).get(START)
    except wasmtime.WasmtimeError as error:
        if "memory minimum size" in str(error):
            return how(TRAPPED, "", memory=True)
        raise NotStartedError(NOT_EXECUTABLE, f"{job['name']}: {first_line(error)}") from None
    if not isinstance(start, wasmtime.Func):
        raise NotStartedError(NOT_EXECUTABLE, f"{job['name']}: no WASI command: no {START} in it")
    if job["file_bytes"] is not None:
        set_file_limit(job["file_bytes"])
    try:
        start(store)
    except wasmtime.ExitTrap as exited:
        return how(exited.code)
    except (wasmtime.Trap, wasmtime.WasmtimeError) as trap:
        print(trap, file=sys.stderr, flush=True)  # noqa: T201 - the action's own stderr
        return how(TRAPPED)
    return how(0)


def first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def how(code: int, message: str = "", *, memory: bool = False) -> "dict[str, Any]":
    return {"started": True, "code": code, "message": message, "memory": memory}


def main() -> int:
    """Exit code 0 whenever the file says how it ended."""
    with open(sys.argv[2], encoding="utf-8", errors="surrogateescape") as file:
        job = json.load(file)
    sys.path.append(job["engine"])
    told = os.open(job["how"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    set_limits(job)
    try:
        found = perform(job)
    except NotStartedError as error:
        found = how(error.code, str(error)) | {"started": False}
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    os.write(told, json.dumps(found).encode())
    return 0
