"""Actions on Windows: each in a job object of its own, with a restricted token.

    job with its limits -> process, suspended -> into the job -> running -> ended -> job closed

A process is put into its job before its first instruction, and the job's last handle ends all that
is in it, so nothing of an action is ever outside and nothing outlives it. What holds is that, the
limits on memory, processes and processors, and a token without privileges and without the
administrators' group. Inputs are a copy. There is no isolation of files or of the network, so this
is only used where the configuration accepts best-effort. Written from the API's documentation;
tested with a double of the API. It has run on no Windows.
"""

import math
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import trio

from builder.sandbox.copied import FinishedInCopy, copy_inputs
from builder.sandbox.interface import (
    Exit,
    Limits,
    Network,
    Outcome,
    SandboxError,
    SandboxRefusedError,
    SandboxSpec,
    Usage,
)
from builder.sandbox.options import refuse_missing
from builder.sandbox.outcome import job as check_command
from builder.sandbox.outcome import size
from builder.sandbox.windows.api import (
    BASIC_ACCOUNTING,
    CPU_RATE,
    EXTENDED_LIMITS,
    UI_RESTRICTIONS,
    Api,
)
from builder.sandbox.windows.layout import (
    ACCOUNTING,
    EVERY_UI,
    EXTENDED,
    accounting,
    command_line,
    cpu_rate,
    environment_block,
    extended_limits,
    peak_memory,
)

BACKEND = "job-object"
GUARANTEES = (
    "fresh-process",
    "read-only-inputs",
    "job-object",
    "restricted-token",
    "memory-job",
    "processes-job",
    "cpu-job",
)
NOT_FOUND, NOT_EXECUTABLE, KILLED = 127, 126, 137
CHUNK = 65536


@dataclass(slots=True)
class Streams:
    """The action's output: two pipes into two files."""

    spec: SandboxSpec
    totals: dict[str, int] = field(default_factory=dict)

    def carry(self, name: str, pipe: int) -> None:
        """Until nobody can write to it any more. Blocks; the pipe is closed then."""
        left, total = self.spec.limits.output_bytes, 0
        with open(os.path.join(self.spec.scratch, name), "xb") as file:
            while data := os.read(pipe, CHUNK):
                total += len(data)
                file.write(data[:left])
                left -= min(left, len(data))
        os.close(pipe)
        self.totals[name] = total

    def cut(self) -> list[str]:
        most = self.spec.limits.output_bytes
        return [
            f"{name} was cut after {most} of {total} bytes"
            for name, total in sorted(self.totals.items())
            if total > most
        ]


class WindowsSandbox:
    """See `interface.Sandbox`. `cores` are those of the machine."""

    backend = BACKEND
    guarantees = GUARANTEES

    def __init__(self, api: Api, cores: int) -> None:
        self._api, self._cores = api, cores

    async def run(self, spec: SandboxSpec) -> FinishedInCopy:
        """See `interface.Sandbox.run`."""
        refuse(spec)
        line, block = command_line(spec.argv), environment_block(environment(spec))
        started = trio.current_time()
        tree = await copy_inputs(spec)
        os.mkdir(os.path.join(spec.scratch, "tmp"))
        directory = os.path.join(tree, spec.working_directory)
        streams = Streams(spec)
        with ExitStack() as handles:
            try:
                job = self._job(spec.limits, handles)
            except OSError as error:
                raise SandboxError(f"the action's job object cannot be made: {error}") from None
            setup_s = trio.current_time() - started
            try:
                done = await self._perform(spec, job, (line, block, directory), streams, handles)
            except OSError as error:
                done = not_started(spec, error)
            usage = self._usage(job, setup_s, trio.current_time() - started - setup_s)
        return FinishedInCopy(self._exit(spec, done, usage, streams), tree)

    def _job(self, limits: Limits, handles: ExitStack) -> int:
        job = self._api.create_job()
        handles.callback(self._api.close, job)
        self._api.set_job(job, EXTENDED_LIMITS, extended_limits(limits))
        self._api.set_job(job, UI_RESTRICTIONS, EVERY_UI.to_bytes(4, "little"))
        if limits.cpu_cores is not None:
            self._api.set_job(job, CPU_RATE, cpu_rate(limits.cpu_cores, self._cores))
        return job

    async def _perform(
        self,
        spec: SandboxSpec,
        job: int,
        program: tuple[str, str, str],
        streams: Streams,
        handles: ExitStack,
    ) -> tuple[Outcome, int, str]:
        """(outcome, exit code, message). Raises OSError for a program that does not start."""
        pipes = {name: os.pipe() for name in ("stdout", "stderr")}
        try:
            process = self._start(job, program, [end for _, end in pipes.values()], handles)
        except BaseException:
            for ours, _ in pipes.values():
                os.close(ours)
            raise
        finally:
            for _, theirs in pipes.values():
                os.close(theirs)
        async with trio.open_nursery() as nursery:
            for name, (ours, _) in pipes.items():
                nursery.start_soon(trio.to_thread.run_sync, streams.carry, name, ours)
            return await self._watch(spec, job, process)

    def _start(
        self, job: int, program: tuple[str, str, str], outputs: list[int], handles: ExitStack
    ) -> int:
        token = self._api.restricted_token()
        handles.callback(self._api.close, token)
        process, thread = self._api.create_suspended(token, *program, *outputs)
        handles.callback(self._api.close, process)
        handles.callback(self._api.close, thread)
        try:
            self._api.assign(job, process)
            self._api.resume(thread)
        except OSError as error:  # it must not go on outside of its job, nor wait for ever
            self._api.terminate_process(process, KILLED)
            raise SandboxError(f"the action cannot be put into its job object: {error}") from None
        return process

    async def _watch(self, spec: SandboxSpec, job: int, process: int) -> tuple[Outcome, int, str]:
        """Until the program has ended; what it has left running ends then, too."""
        wall_s, codes = spec.limits.wall_s, list[int]()
        timed_out = False
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                codes.append(await trio.to_thread.run_sync(self._api.wait, process))
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait)  # a thread, which only the program's end ends
            try:
                await trio.sleep(math.inf if wall_s is None else wall_s)
                timed_out = True
            finally:
                with suppress(OSError):  # then the job's last handle ends it
                    self._api.terminate_job(job, KILLED)
        if timed_out:
            return Outcome.TIMED_OUT, KILLED, f"timed out after {wall_s:g} s"
        return Outcome.EXITED, codes[0], ""

    def _usage(self, job: int, setup_s: float, wall_s: float) -> Usage:
        counted = accounting(self._api.query_job(job, BASIC_ACCOUNTING, ACCOUNTING.size))
        limits = self._api.query_job(job, EXTENDED_LIMITS, EXTENDED.size)
        return Usage(
            wall_s=wall_s,
            user_s=counted.user_s,
            system_s=counted.system_s,
            peak_memory_bytes=peak_memory(limits),
            processes=counted.processes,
            setup_s=setup_s,
        )

    def _exit(
        self, spec: SandboxSpec, done: tuple[Outcome, int, str], usage: Usage, streams: Streams
    ) -> Exit:
        outcome, code, message = done
        cut = streams.cut()
        return Exit(
            outcome=outcome,
            exit_code=code,
            stdout=os.path.join(spec.scratch, "stdout"),
            stderr=os.path.join(spec.scratch, "stderr"),
            backend=BACKEND,
            guarantees=GUARANTEES,
            limits=limit_sentences(spec.limits),
            usage=usage,
            message="; ".join(one for one in (message, *cut) if one),
            output_cut=bool(cut),
        )


def refuse(spec: SandboxSpec) -> None:
    """Raises SandboxRefusedError for what cannot be had here, InvalidArgumentError for what is
    wrong with the command."""
    check_command(spec)
    refuse_missing(spec, GUARANTEES, ["Windows has nothing for it"])
    limits = spec.limits
    cannot = {
        "be audited": spec.audit is not None,
        "see an image": spec.layers != (),
        "see its inputs as its root": spec.inputs_as_root,
        "have a fixed wall clock": spec.clock is not None,
        "be kept to some programs": spec.programs != (),
        "stay and be spoken to": spec.dialogue is not None,
        "be kept to some hosts": spec.network is Network.HOSTS,
        "be kept from filling the disk": (
            (limits.disk_bytes, limits.disk_files, limits.file_bytes) != (None, None, None)
        ),
    }
    for what, asked in cannot.items():
        if asked:
            raise SandboxRefusedError(f"on Windows an action cannot {what}")


def environment(spec: SandboxSpec) -> dict[str, str]:
    """The action's own, with a place for its temporary files and what Windows itself needs."""
    temporary = os.path.join(os.path.abspath(spec.scratch), "tmp")
    found = {"TEMP": temporary, "TMP": temporary}
    if "SYSTEMROOT" in os.environ:
        found["SystemRoot"] = os.environ["SYSTEMROOT"]
    given = {name.upper() for name in spec.environment}
    return {k: v for k, v in found.items() if k.upper() not in given} | dict(spec.environment)


def limit_sentences(limits: Limits) -> tuple[str, ...]:
    """Each limit that was enforced, with what enforced it."""
    found = []
    if limits.memory_bytes is not None:
        found.append(f"memory={size(limits.memory_bytes)} (job)")
    if limits.processes is not None:
        found.append(f"processes={limits.processes} (job)")
    if limits.cpu_cores is not None:
        found.append(f"cpu={limits.cpu_cores:g} (job)")
    if limits.wall_s is not None:
        found.append(f"wall={limits.wall_s:g}s (timer)")
    return (*found, f"output={size(limits.output_bytes)} (pipe)")


def not_started(spec: SandboxSpec, error: OSError) -> tuple[Outcome, int, str]:
    """With empty output."""
    for name in ("stdout", "stderr"):
        with open(os.path.join(spec.scratch, name), "xb"):
            pass
    absent = isinstance(error, FileNotFoundError | NotADirectoryError)
    why = f"could not be started: {spec.argv[0]}: {error.strerror}"
    return Outcome.NOT_STARTED, NOT_FOUND if absent else NOT_EXECUTABLE, why
