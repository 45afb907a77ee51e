"""One program that stays, in a sandbox of its own, and the requests that it works on.

    live() ... started --ask--> answered --ask--> ... --end--> gone

A program ends when it dies, when it says what is no response, or when somebody has enough of it;
then every request that it has not answered fails with LostError, at once.
"""

import os
from dataclasses import dataclass, field

import trio

from builder.base.errors import StatusError
from builder.host.processes import Family, family
from builder.host.removal import remove_tree
from builder.reapi.pb.worker_protocol_pb2 import WorkRequest, WorkResponse
from builder.sandbox.interface import Dialogue, Exit, Outcome, Sandbox, SandboxSpec
from builder.worker.persistent.command import WorkerCommand
from builder.worker.persistent.place import PIPES, Place
from builder.worker.persistent.protocol import Decoder, ProtocolError, encode

READ_BYTES = 64 * 1024
LAST_WORDS = 400  # bytes of its stderr, in the sentence of its death


class LostError(Exception):
    """The program is gone before it has answered. `innocent` says that it was not this request's
    doing: another one was over its time, or was given up."""

    def __init__(self, why: str, innocent: bool = False) -> None:
        super().__init__(why)
        self.innocent = innocent


@dataclass(eq=False, slots=True)
class Waiting:
    """A request that is not answered yet."""

    number: int
    answered: trio.Event = field(default_factory=trio.Event)
    response: WorkResponse | None = None
    lost: LostError | None = None


class Process:
    """`live` is its life; `ask` may be called from its beginning."""

    def __init__(self, command: WorkerCommand, place: Place, now: float) -> None:
        self.command, self.place = command, place
        self.born = self.last_used = now
        self.requests = 0
        self.users = 0  # who works with it: requests, and what is before and after each
        self.retiring = False
        self.pid = 0
        self.gone = trio.Event()
        self._wanted = trio.Event()
        self._waiting: dict[int, Waiting] = {}
        self._scope = trio.CancelScope()
        self._why = ""
        self._stdin, stdout = (trio.lowlevel.FdStream(fd) for fd in place.open_pipes())
        self._stdout = stdout
        self._writing = trio.Lock()
        self._holds = 0
        self._let_go = trio.Event()

    @property
    def alive(self) -> bool:
        return not self._why and not self.gone.is_set()

    def hold(self) -> None:
        """Its place stays, whatever becomes of it, until it is released as often."""
        self._holds += 1

    def release(self) -> None:
        self._holds -= 1
        self._let_go.set()

    def end(self, why: str, innocent: bool = True) -> None:
        """Kill it. What others have asked of it fails, with this reason."""
        if self.alive:
            self._why = why
        for waiting in self._waiting.values():
            if waiting.lost is None:
                waiting.lost = LostError(self._why, innocent)
                waiting.answered.set()
        self._scope.cancel()

    async def live(self, sandbox: Sandbox) -> None:
        """Until nothing is left of it: what others have taken out of its sight lies in its place
        too, so that this goes last. It starts with the first request, whose files are there
        then: without its tool there is nothing to start."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen)
                    await self._run(sandbox)
        finally:
            self.end(self._why or "it was ended")
            with trio.CancelScope(shield=True):
                await self._stdin.aclose()
                await self._stdout.aclose()
                self.gone.set()
                while self._holds:
                    self._let_go = trio.Event()
                    await self._let_go.wait()
                self.place.close()
                await trio.to_thread.run_sync(remove_tree, self.place.base)

    async def _run(self, sandbox: Sandbox) -> None:
        await self._wanted.wait()
        spec = SandboxSpec(
            self.command.argv,
            self.place.live,
            self.place.scratch,
            environment=self.command.environment,
            limits=self.command.limits,
            required=self.command.required,
            dialogue=Dialogue(*PIPES, self._started),
        )
        try:
            async with await sandbox.run(spec) as finished:
                why = f"it {sentence(finished.exit)}{self.last_words()}"
        except (StatusError, OSError) as error:
            why = f"it could not be started: {error}"
        self.end(why, innocent=False)

    def _started(self, pid: int) -> None:
        self.pid = pid

    async def _listen(self) -> None:
        decoder = Decoder(self.command.wish.protocol)
        try:
            while True:
                for response in decoder.feed(await self._stdout.receive_some(READ_BYTES)):
                    self._heard(response)
        except ProtocolError as error:
            self.end(str(error), innocent=False)

    def _heard(self, response: WorkResponse) -> None:
        """An answer that nobody waits for must never become that of the next request."""
        waiting = self._waiting.get(response.request_id)
        if waiting is not None:
            waiting.response = response
            waiting.answered.set()
        elif not self.command.wish.together:
            raise ProtocolError("it answered what it was not asked")

    async def ask(self, request: WorkRequest) -> WorkResponse:
        """Its answer. Raises LostError. Cancelled, it leaves the request with the program: `stop`
        must follow."""
        waiting = self._waiting[request.request_id] = Waiting(request.request_id)
        if not self.alive:
            raise LostError(self._why, innocent=True)
        self._wanted.set()
        await self._send(request)
        await waiting.answered.wait()
        if waiting.response is None:
            assert waiting.lost is not None
            raise waiting.lost
        return waiting.response

    async def stop(self, number: int, grace_s: float, why: str) -> None:
        """Until nobody works on this request any more: by a word where the program understands
        that, else by its end."""
        waiting = self._waiting.get(number)
        with trio.CancelScope(shield=True):
            if waiting is not None and self.alive and self.command.wish.cancellable:
                with trio.move_on_after(grace_s):
                    await self._send(WorkRequest(request_id=number, cancel=True))
                    await waiting.answered.wait()
            if waiting is None or waiting.response is None:
                self.end(why)
                await self.gone.wait()

    def forget(self, number: int) -> None:
        self._waiting.pop(number, None)

    async def _send(self, request: WorkRequest) -> None:
        """Raises LostError. Half a request is none: who is cancelled in it ends the program."""
        data = encode(request, self.command.wish.protocol)
        async with self._writing:
            try:
                await self._stdin.send_all(data)
            except trio.Cancelled:
                self.end("a request could not be given to it as a whole")
                raise
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise LostError(self._why or "it is gone") from None

    def used(self) -> Family:
        """What it uses at this moment; nothing before it runs."""
        return family(self.pid) if self.pid and self.alive else Family()

    def stderr_bytes(self) -> int:
        """How much it has written to stderr so far."""
        try:
            return os.path.getsize(f"{self.place.scratch}/stderr")
        except OSError:
            return 0

    def stderr_since(self, start: int) -> bytes:
        """The last of what it has written to stderr since then."""
        try:
            with open(f"{self.place.scratch}/stderr", "rb") as file:
                file.seek(max(0, start, self.stderr_bytes() - READ_BYTES))
                return file.read()
        except OSError:
            return b""

    def last_words(self) -> str:
        """The end of its stderr."""
        text = self.stderr_since(self.stderr_bytes() - LAST_WORDS).decode(errors="replace").strip()
        return f"; the last that it wrote to stderr: {text}" if text else ""


def sentence(done: Exit) -> str:
    if done.outcome is Outcome.EXITED:
        return f"exited with code {done.exit_code}"
    return f"ended: {done.message or done.outcome.value}"
