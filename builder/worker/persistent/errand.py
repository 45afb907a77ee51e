"""One request, from the files that it needs to those that it leaves.

    take a program -> put the files in -> ask -> take the files out -> give the program back

Whatever ends it early leaves either a program that nobody works with and whose work tree is
empty, or none: a program that does not stop when it is asked to is killed, and a new one serves
the next request.
"""

import os
from contextlib import ExitStack
from dataclasses import dataclass

import trio

from builder.host.processes import Family
from builder.reapi.pb.worker_protocol_pb2 import WorkRequest, WorkResponse
from builder.sandbox.interface import Exit, Outcome, SandboxSpec, Served, Usage
from builder.worker.persistent.command import WorkerCommand
from builder.worker.persistent.finished import Taken, write_streams
from builder.worker.persistent.pool import Programs
from builder.worker.persistent.process import LostError, Process
from builder.worker.persistent.saying import limit_sentences

TRIES = 3
KILLED = 137
FRESH = "fresh-process"
OVER_TIME = "a request was over its time, or given up"


@dataclass(slots=True)
class Errand:
    """`held` is what the sandbox guarantees, `backend` its name."""

    programs: Programs
    spec: SandboxSpec
    command: WorkerCommand
    request: WorkRequest
    inputs: str
    backend: str
    held: tuple[str, ...]
    served: int = 0
    said: bytes = b""

    async def run(self) -> Taken:
        """Raises LostError and NoRoomError: it may then run by itself."""
        wall_s = self.spec.limits.wall_s
        with trio.move_on_after(float("inf") if wall_s is None else wall_s):
            return await self._tried()
        self.programs.told(self.command.key, failed=False)
        text = f"timed out after {wall_s:g} s"
        done = self._ended(Outcome.TIMED_OUT, KILLED, self.said, Usage(), text)
        nothing = os.path.join(self.spec.scratch, "nothing")
        os.mkdir(nothing)
        return Taken(done, nothing)

    async def _tried(self) -> Taken:
        """Again with another program, when this one was ended for another request's sake."""
        for left in reversed(range(TRIES)):
            try:
                return await self._with(await self.programs.take(self.command, self.inputs))
            except LostError as error:
                if not error.innocent:
                    self.programs.told(self.command.key, failed=True)
                if not error.innocent or not left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _with(self, process: Process) -> Taken:
        """What it has made stays in the program's place until somebody has read it."""
        process.hold()
        with ExitStack() as stack:
            stack.callback(process.release)
            response, path, usage = await self._asked(process)
            self.programs.told(self.command.key, failed=False)
            output = response.output.encode(errors="surrogateescape")
            done = self._ended(Outcome.EXITED, response.exit_code, output, usage)
            return Taken(done, path, stack.pop_all().close)

    async def _asked(self, process: Process) -> tuple[WorkResponse, str, Usage]:
        """The answer, and where what was made is now."""
        number, used = 0, Family()
        try:
            try:
                number = await trio.to_thread.run_sync(
                    process.place.put, self.inputs, self.spec.output_parents
                )
                response, usage, used = await self._ask(process, number)
                path = await trio.to_thread.run_sync(process.place.take, number)
            except OSError as error:
                innocent = not process.alive  # its place went with it; else it is in the way itself
                process.end(f"its work tree cannot be used: {error}")
                raise LostError(f"its work tree cannot be used: {error}", innocent) from None
            except BaseException:
                await clear(process, number)
                raise
        finally:
            process.forget(self._id(number))
            self.programs.give_back(process, used)
        return response, path, usage

    def _id(self, number: int) -> int:
        """0 asks for all of the program."""
        return number if self.command.wish.together else 0

    async def _ask(self, process: Process, number: int) -> tuple[WorkResponse, Usage, Family]:
        process.requests += 1
        self.served = process.requests
        request = WorkRequest()
        request.CopyFrom(self.request)
        request.request_id = self._id(number)
        request.sandbox_dir = process.place.sandbox_dir(number)
        before, started = process.used(), trio.current_time()
        heard = process.stderr_bytes()
        try:
            response = await process.ask(request)
        except trio.Cancelled:
            self.said = process.stderr_since(heard)
            await process.stop(request.request_id, self.spec.limits.grace_s, OVER_TIME)
            raise
        wall_s, after = trio.current_time() - started, process.used()
        if self.command.wish.together:  # who has used it?
            return response, Usage(wall_s=wall_s), after
        usage = Usage(
            wall_s=wall_s,
            user_s=max(0.0, after.user_s - before.user_s),
            system_s=max(0.0, after.system_s - before.system_s),
            peak_memory_bytes=after.resident_bytes,
        )
        return response, usage, after

    def _ended(
        self, outcome: Outcome, code: int, output: bytes, usage: Usage, text: str = ""
    ) -> Exit:
        limits = self.spec.limits
        stdout, stderr = write_streams(self.spec.scratch, output[: limits.output_bytes])
        cut = len(output) > limits.output_bytes
        if cut:
            text = f"stderr was cut after {limits.output_bytes} of {len(output)} bytes"
        held = tuple(name for name in self.held if name != FRESH)
        return Exit(
            outcome=outcome,
            exit_code=code,
            stdout=stdout,
            stderr=stderr,
            backend=self.backend,
            guarantees=held,
            limits=limit_sentences(limits, held),
            usage=usage,
            message=text,
            signal=9 if outcome is Outcome.TIMED_OUT else 0,
            served=Served(self.command.key, self.served),
            output_cut=cut,
        )


async def clear(process: Process, number: int) -> None:
    """What an unfinished request has left is nobody's; a program that still has it must end."""
    with trio.CancelScope(shield=True):
        try:
            if number and process.alive:
                await Taken.remove(await trio.to_thread.run_sync(process.place.take, number))
                return
        except OSError:
            pass
        process.end(OVER_TIME)
        await process.gone.wait()
