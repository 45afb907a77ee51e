"""A call on the server's side, as its handler sees it."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

import trio

from builder.net.link import Link
from builder.net.rpc import Buffer, Metadata, Peer
from builder.wire.heads import RequestHead
from builder.wire.server import ServerConnection
from builder.wire.stream import Message, Stream, whole

YIELD_EVERY = 256 * 1024  # octets that one handler may send before others get their turn


class CallContext:
    """What every handler may know of its call (`rpc.Context`)."""

    __slots__ = ("authorized", "deadline", "metadata", "path", "peer")

    def __init__(self, head: RequestHead, peer: Peer, deadline: float | None) -> None:
        self.path: str = head.path
        self.metadata: Metadata = head.metadata
        self.peer = peer
        self.deadline = deadline
        self.authorized = False


class ServerCall:
    """A call with a task of its own (`rpc.Call`)."""

    __slots__ = (
        "_context",
        "_event",
        "_heard",
        "_inbox",
        "_link",
        "_sent",
        "_stopped",
        "_taken",
        "_wire",
        "ended",
        "scope",
        "stream",
    )

    def __init__(
        self, context: CallContext, stream: Stream, link: Link, wire: ServerConnection
    ) -> None:
        self._context = context
        self._link = link
        self._wire = wire
        self._inbox: deque[Message] = deque()
        self._event: trio.Event | None = None
        self._sent = 0
        self._heard: Callable[[bytes], None] | None = None
        self._taken: Callable[[Sequence[Buffer]], bool] | None = None
        self._stopped: Exception | None = None
        self.stream = stream
        self.ended = False
        deadline = context.deadline
        self.scope = trio.CancelScope(deadline=math.inf if deadline is None else deadline)

    @property
    def path(self) -> str:
        return self._context.path

    @property
    def metadata(self) -> Metadata:
        return self._context.metadata

    @property
    def peer(self) -> Peer:
        return self._context.peer

    @property
    def deadline(self) -> float | None:
        return self._context.deadline

    # ---- for the handler

    async def receive(self) -> bytes | None:
        """The next request message, or None after the last one."""
        message = await self._next()
        return None if message is None else whole(message)

    async def receive_pieces(self) -> Sequence[Buffer] | None:
        """The same as it came."""
        message = await self._next()
        return (message,) if isinstance(message, bytes) else message

    async def _next(self) -> Message | None:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._inbox:
            if self.ended:
                return None
            await self._wait()
        message = self._inbox.popleft()
        size = len(message) if isinstance(message, bytes) else sum(map(len, message))
        self._wire.consumed(self.stream, size)
        if self._wire.sender.out:
            self._link.flush()
        return message

    async def send(self, message: Buffer | Sequence[Buffer]) -> None:
        """Send one response message; waits while the peer does not take it."""
        wire, stream = self._wire, self.stream
        wire.send_headers(stream)
        wire.send_message(stream, message)
        self._sent += stream.queued
        self._link.flush()
        waited = False
        while stream.waiting and not stream.closed:
            waited = True
            await self._wait()
        if waited:
            self._sent = 0
        elif self._sent >= YIELD_EVERY:
            self._sent = 0
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def each(self, heard: Callable[[bytes], None]) -> None:
        """Have every message taken in place, as it comes, until the last one or until `stop`."""
        self._heard = heard
        while self._inbox:
            self.deliver(self._inbox.popleft())
        self._link.flush()
        while not self.ended and self._stopped is None:
            await self._wait()
        if self._stopped is not None:
            raise self._stopped

    async def take(self, taken: Callable[[Sequence[Buffer]], bool]) -> None:
        """Have messages taken in place, as they come, until the last one, or until one is not."""
        self._taken = taken
        try:
            waiting, self._inbox = self._inbox, deque()
            for message in waiting:
                self.deliver(message)
            self._link.flush()
            while self._taken is not None and not self.ended:
                await self._wait()
        finally:
            self._taken = None
        if self._stopped is not None:
            raise self._stopped

    def post(self, message: Buffer) -> None:
        """Queue one response message."""
        self._wire.tell(self.stream, message)
        self._link.due = True

    def flush(self) -> None:
        if self._link.due:
            self._link.flush()

    def stop(self, error: Exception) -> None:
        """End the handler's `each` with this; the first one counts."""
        self._stopped = self._stopped or error
        self.wake()

    async def _wait(self) -> None:
        self._event = trio.Event()
        try:
            await self._event.wait()
        finally:
            self._event = None

    # ---- for the connection

    def deliver(self, message: Message) -> None:
        if self._taken is not None:
            self._take(message, self._taken)
        elif self._heard is None:
            self._inbox.append(message)
            self.wake()
        elif self._stopped is None:
            joined = whole(message)
            self._wire.consumed(self.stream, len(joined))
            try:
                self._heard(joined)
            except Exception as error:
                self.stop(error)

    def _take(self, message: Message, taken: Callable[[Sequence[Buffer]], bool]) -> None:
        pieces = (message,) if isinstance(message, bytes) else message
        try:
            if taken(pieces):
                self._wire.consumed(self.stream, sum(map(len, pieces)))
                return
            self._inbox.append(message)
        except Exception as error:
            self._stopped = self._stopped or error
        self._taken = None
        self.wake()

    def end(self) -> None:
        """The client sends no more."""
        self.ended = True
        self.wake()

    def wake(self) -> None:
        if self._event is not None:
            self._event.set()

    def cancel(self) -> None:
        """The stream is gone: nobody is there to be answered."""
        self.scope.cancel()


class FollowedCall:
    """A call whose answers somebody else has to tell (`rpc.Told`); no task is its own.

    `over` is called once, with the error if there was one, and cleans up; it calls `left`.
    """

    __slots__ = ("_late", "_link", "_over", "_wire", "left", "path", "scope", "started", "stream")

    def __init__(
        self,
        path: str,
        stream: Stream,
        link: Link,
        wire: ServerConnection,
        over: Callable[["FollowedCall", Exception | None], None],
    ) -> None:
        self.path = path
        self.stream = stream
        self.started = time.perf_counter()
        self.left: Callable[[], None] | None = None
        self.scope: trio.CancelScope | None = None  # of the task that waits for its deadline
        self._link = link
        self._wire = wire
        self._over = over
        self._late: Buffer | None = None

    def tell(self, message: Buffer) -> None:
        stream = self.stream
        if stream.closed:
            return
        if stream.waiting:
            self._late = message
            return
        self._wire.tell(stream, message)
        self._link.due = True

    def end(self, message: Buffer) -> None:
        """However slow the client is: there is nothing more to come."""
        stream = self.stream
        if stream.owner is not self:
            return
        if not stream.closed:
            self._wire.tell_last(stream, message)
            self._link.due = True
        self._over(self, None)

    def fail(self, error: Exception) -> None:
        if self.stream.owner is self:
            self._link.due = True
            self._over(self, error)

    def flush(self) -> None:
        if self._link.due:
            self._link.flush()

    # ---- for the connection

    def wake(self) -> None:
        if self._late is not None and not self.stream.closed:
            late, self._late = self._late, None
            self.tell(late)
            self._link.flush_soon()

    def cancel(self) -> None:
        """Nobody is there to be answered."""
        if self.stream.owner is self:
            self._over(self, None)


class AwaitedCall:
    """A unary call whose handler has to wait: all that is left to do to it is to cancel it."""

    __slots__ = ("scope",)

    def __init__(self, deadline: float | None) -> None:
        self.scope = trio.CancelScope(deadline=math.inf if deadline is None else deadline)

    def wake(self) -> None:
        """Nothing waits for its stream: the answer is queued whole."""

    def cancel(self) -> None:
        self.scope.cancel()
