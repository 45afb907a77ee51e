"""A streaming call that begins again where its server says that it did nothing with it.

Theory of operation. A server that refuses a stream, or goes away below it, has not looked at it
(RFC 9113, 8.7), so the call may be made again without anybody noticing: gRPC calls it a transparent
retry. What the caller has said until then is said again; it is remembered until the first answer
comes, and as long as it is not much. A call that has said more fails with UNAVAILABLE. The one who
sends and the one who receives may both find the call dead: the first of them begins it again.
"""

from collections.abc import Awaitable, Callable, Sequence

import trio

from builder.base.errors import UnavailableError
from builder.net.client_calls import StreamCall
from builder.net.rpc import Buffer

REPLAY_OCTETS = 64 * 1024

Message = Buffer | Sequence[Buffer]


class RetriedCall:
    """`rpc.ClientCall` over as many calls as it takes; `start` makes one, and `tries` is how often
    it may."""

    def __init__(
        self, first: StreamCall, start: Callable[[], Awaitable[StreamCall]], tries: int
    ) -> None:
        self._call = first
        self._start = start
        self._left = tries
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
                if said is None or not unprocessed or not self._left:
                    raise error
                self._left -= 1
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
