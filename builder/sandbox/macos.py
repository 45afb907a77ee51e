"""Actions on macOS: by sandbox-exec, with a profile that is made for each one (`seatbelt`).

What holds: the system and the declared host paths are read-only, the inputs are a copy, only the
work tree and a /tmp of its own can be written, no network but what was asked for, limits by
rlimit. What macOS has nothing for, and no result promises: namespaces of processes (an action's
process that leaves its session outlives it), a limit on memory or on processors, the same paths on
every machine. Written from documentation and shipped profiles; tested with a stand-in program.
"""

import json
import os
import shutil
import socket
from typing import Any

import trio

from builder.base.errors import InvalidArgumentError
from builder.sandbox import outcome
from builder.sandbox.child import not_found, run_child
from builder.sandbox.copied import FinishedInCopy, copy_inputs
from builder.sandbox.interface import Network, SandboxError, SandboxRefusedError, SandboxSpec
from builder.sandbox.options import ENVIRONMENT, Options, helper, refuse_missing
from builder.sandbox.proxy import Proxy
from builder.sandbox.proxy import environment as through
from builder.sandbox.report import Report
from builder.sandbox.seatbelt import Reach, profile

BACKEND = "sandbox-exec"
SANDBOX_EXEC = "/usr/bin/sandbox-exec"
ENV = "/usr/bin/env"
ALWAYS = ("fresh-process", "read-only-system", "read-only-inputs", "private-tmp", "seatbelt")
NETWORK = {
    Network.NONE: ("no-network",),
    Network.HOSTS: ("network-hosts",),
    Network.FULL: (),
}
DEFAULT_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
DEFAULT_OPEN_FILES = 16384


class SeatbeltSandbox:
    """See `interface.Sandbox`. `program` is sandbox-exec."""

    backend = BACKEND
    guarantees = (*ALWAYS, *NETWORK[Network.NONE])

    def __init__(self, options: Options, program: str = SANDBOX_EXEC) -> None:
        if not os.access(program, os.X_OK):
            raise SandboxError(f"the sandbox cannot start: {program} is not there")
        self._read_only = [os.path.realpath(path) for path in options.read_only]
        self._program = program

    async def run(self, spec: SandboxSpec) -> FinishedInCopy:
        """See `interface.Sandbox.run`."""
        job = outcome.job(spec)  # raises for what is wrong with the command
        held = (*ALWAYS, *NETWORK[spec.network])
        refuse_missing(spec, held, ["macOS has nothing for it"])
        refuse(spec)
        started = trio.current_time()
        tree = await copy_inputs(spec)
        temporary = os.path.join(os.path.dirname(tree), "tmp")
        os.mkdir(temporary, 0o700)
        setup_us = int((trio.current_time() - started) * 1e6)
        proxy = Proxy(spec.hosts if spec.network is Network.HOSTS else ())
        given = {os.fsdecode(k): os.fsdecode(v) for k, v in job["environment"]}
        own = {"TMPDIR": temporary, **given}
        if found(spec.argv[0], own, os.path.join(tree, spec.working_directory)):
            report = await self._perform(spec, [tree, temporary], own, proxy)
        else:
            report = not_found(spec)
        blocked = tuple(proxy.filter.blocked)
        facts: dict[str, Any] = outcome.facts(report, {"enforced": {}, "setup_us": setup_us})
        facts["usage"] = {}
        done = outcome.conclude(spec, facts, BACKEND, held, None, blocked)
        return FinishedInCopy(done, tree)

    async def _perform(
        self, spec: SandboxSpec, places: list[str], own: dict[str, str], proxy: Proxy
    ) -> Report:
        reach = Reach(everything=spec.network is Network.FULL)
        directory = os.path.join(places[0], spec.working_directory)
        async with trio.open_nursery() as nursery:
            if spec.network is Network.HOSTS:
                listener = socket.create_server(("127.0.0.1", 0))
                reach = Reach(port=listener.getsockname()[1])
                own |= through(reach.port)
                nursery.start_soon(proxy.serve, listener.detach())
            argv = self._argv(spec, places, reach, own)
            report = await run_child(argv, ENVIRONMENT, directory, spec)
            nursery.cancel_scope.cancel()
        return report

    def _argv(
        self, spec: SandboxSpec, own: list[str], reach: Reach, environment: dict[str, str]
    ) -> list[str]:
        text = profile([os.path.realpath(path) for path in own], self._read_only, reach)
        limits = {"core": 0, "open_files": spec.limits.open_files or DEFAULT_OPEN_FILES}
        if spec.limits.file_bytes is not None:
            limits["file_bytes"] = spec.limits.file_bytes
        confined = [*helper("limited"), json.dumps(limits), self._program, "-p", text]
        # the action's own variables begin within: a loader heeds some before any of our code
        given = [f"{name}={value}" for name, value in environment.items()]
        return [*confined, ENV, "-i", "--", *given, *spec.argv]


def refuse(spec: SandboxSpec) -> None:
    """Raises SandboxRefusedError for what cannot be had here, InvalidArgumentError for a name that
    would be taken for a variable."""
    if "=" in spec.argv[0]:
        raise InvalidArgumentError(f"{spec.argv[0]!r} has a '=', as no program here may")
    cannot = {
        "be audited": spec.audit is not None,
        "see an image": spec.layers != (),
        "see its inputs as its root": spec.inputs_as_root,
        "have a fixed wall clock": spec.clock is not None,
        "be kept to some programs": spec.programs != (),
        "stay and be spoken to": spec.dialogue is not None,
        "be kept from filling the disk": (spec.limits.disk_bytes, spec.limits.disk_files)
        != (None, None),
    }
    for what, asked in cannot.items():
        if asked:
            raise SandboxRefusedError(f"on macOS an action cannot {what}")


def found(name: str, own: dict[str, str], directory: str) -> bool:
    """Whether there is such a program, as execvp(3) looks for it."""
    if "/" in name:
        return os.access(os.path.join(directory, name), os.X_OK)
    return shutil.which(name, path=own.get("PATH", DEFAULT_PATH)) is not None
