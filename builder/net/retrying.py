"""A streaming call that begins again where its server says that it did nothing with it.

Theory of operation. A server that refuses a stream, or goes away below it, has not looked at it
(RFC 9113, 8.7), so the call may be made again without anybody noticing: gRPC calls it a transparent
retry. What the caller has said until then is said again; it is remembered until the first answer
comes, and as long as it is not much. A call that has said more fails with UNAVAILABLE. The one who
sends and the one who receives may both find the call dead: the first of them begins it again.

The first repetition is made at once; before the others there are pauses, because a server that is
full counts a stream for a while after its end.
"""

import random
from collections.abc import Awaitable, Callable, Sequence

import trio

from builder.base.backoff import Backoff
from builder.base.errors import UnavailableError
from builder.net.client_calls import StreamCall
from builder.net.rpc import Buffer

REPLAY_OCTETS = 64 * 1024
MAX_TRIES = 8  # of a call that servers do not process
PAUSES = Backoff(first_s=0.02, limit_s=1.0, factor=2.0)

Message = Buffer | Sequence[Buffer]


async def pause(repetition: int) -> None:
    """Wait before a repetition, of which 1 is the first."""
    if repetition > 1:
        await trio.sleep(PAUSES.delay(repetition - 1, random.random))


class RetriedCall:
    """`rpc.ClientCall` over as many calls as it takes; `start` makes one."""

    def __init__(self, first: StreamCall, start: Callable[[], Awaitable[StreamCall]]) -> None:
        self._call = first
        self._start = start
        self._tries = 1
        self._said: list[Message] | None = []  # None: it is too late to say it again
        self._octets = 0
        self._done = False
        self._lock = trio.Lock()

    async def send(self, message: Message) -> None:
        """Send one request message; waits while the server does not take it."""
        self._remember(message)
        call = self._call
        try:
            await call.send(message)
        except UnavailableError as error:
            await self._again(call, error)

    async def done_sending(self) -> None:
        """Half-close: there are no more requests."""
        self._done = True
        await self._call.done_sending()

    async def receive(self) -> bytes | None:
        """The next response, or None after an OK status. Raises the StatusError otherwise."""
        while True:
            call = self._call
            try:
                message = await call.receive()
            except UnavailableError as error:
                await self._again(call, error)
            else:
                self._said = None
                return message

    def cancel(self) -> None:
        """Tell the server that nobody waits any more, if the call is not over."""
        self._call.cancel()

    def _remember(self, message: Message) -> None:
        if self._said is None:
            return
        whole = isinstance(message, bytes | bytearray | memoryview)
        self._octets += len(message) if whole else sum(map(len, message))  # type: ignore[arg-type]  # a sequence then
        if self._octets > REPLAY_OCTETS:
            self._said = None
        else:
            self._said.append(message)

    async def _again(self, dead: StreamCall, error: UnavailableError) -> None:
        """Go on with another call. Raises the error where that is not right."""
        async with self._lock:
            unprocessed = dead.unprocessed
            while self._call is dead:
                said = self._said
                if said is None or not unprocessed or self._tries == MAX_TRIES:
                    raise error
                await pause(self._tries)
                self._tries += 1
                fresh = await self._start()
                try:
                    await self._say(fresh, said)
                    self._call = fresh
                except UnavailableError as another:
                    unprocessed, error = fresh.unprocessed, another
                finally:
                    if self._call is not fresh:
                        fresh.cancel()

    async def _say(self, call: StreamCall, said: list[Message]) -> None:
        for message in said:  # it may grow meanwhile
            await call.send(message)
        if self._done:
            await call.done_sending()
