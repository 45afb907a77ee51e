"""A call on the client's side."""

from collections import deque
from collections.abc import Sequence

import trio

from builder.base.errors import CancelledError, Code, StatusError, from_status
from builder.net.link import Link
from builder.net.rpc import Buffer, Metadata
from builder.wire.client import ClientConnection
from builder.wire.frames import ErrorCode
from builder.wire.heads import EMPTY_METADATA
from builder.wire.stream import Stream

FEW_STREAMS = 4  # above it, calls that start together leave together
YIELD_EVERY = 256 * 1024  # octets that one task may send before others get their turn


class StreamCall:
    """A call on one connection (`rpc.ClientCall`)."""

    __slots__ = (
        "_error",
        "_event",
        "_inbox",
        "_link",
        "_sent",
        "_wire",
        "ended",
        "initial_metadata",
        "stream",
        "trailing_metadata",
        "unprocessed",
    )

    def __init__(self, wire: ClientConnection, link: Link, stream: Stream) -> None:
        self._wire = wire
        self._link = link
        self._inbox: deque[bytes] = deque()
        self._event: trio.Event | None = None
        self._error: StatusError | None = None
        self._sent = 0
        self.stream = stream
        self.ended = False  # there is a status
        self.unprocessed = False  # the server did nothing with it: it may be tried again
        self.initial_metadata: Metadata = EMPTY_METADATA
        self.trailing_metadata: Metadata = EMPTY_METADATA

    # ---- for the caller

    async def send(self, message: Buffer | Sequence[Buffer]) -> None:
        """Send one request message; waits while the server does not take it.

        When the call is over already, raises its status; after OK the message is dropped.
        """
        self._raise_if_failed()
        stream = self.stream
        self._wire.send_message(stream, message)
        self._sent += stream.queued
        self._link.flush()
        waited = False
        while stream.waiting and not stream.closed:
            waited = True
            await self._wait()
        if waited:
            self._sent = 0
            self._raise_if_failed()
        elif self._sent >= YIELD_EVERY:
            self._sent = 0
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def send_only(self, message: Buffer | Sequence[Buffer]) -> None:
        """The one request of a unary call, and the half-close, in one write."""
        stream = self.stream
        writable = self._wire.send_message(stream, message)
        self._wire.finish(stream)
        if len(self._wire.streams) > FEW_STREAMS:
            self._link.flush_soon()
        else:
            self._link.flush()
        if not writable:
            while stream.waiting and not stream.closed:
                await self._wait()

    async def done_sending(self) -> None:
        """Half-close: there are no more requests."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._wire.finish(self.stream)
        self._link.flush()

    async def receive(self) -> bytes | None:
        """The next response, or None after an OK status. Raises the StatusError otherwise."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._inbox:
            if self.ended:
                self._raise_if_failed()
                return None
            await self._wait()
        message = self._inbox.popleft()
        self._wire.consumed(self.stream, len(message))
        if self._wire.sender.out:
            self._link.flush()
        return message

    async def single(self) -> bytes:
        """The one response of a unary call."""
        first = await self.receive()
        if first is None:
            raise from_status(Code.INTERNAL, "the server answered OK without a message")
        if await self.receive() is not None:
            raise from_status(Code.INTERNAL, "the server answered a unary call with two messages")
        return first

    def cancel(self) -> None:
        """Tell the server that nobody waits any more, if the call is not over."""
        if not self.ended:
            self.fail(CancelledError("the call was cancelled here"))
            self._wire.reset(self.stream, ErrorCode.CANCEL)
            self._link.flush()

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            error = self._error
            raise type(error)(error.message, error.details)

    async def _wait(self) -> None:
        self._event = trio.Event()
        try:
            await self._event.wait()
        finally:
            self._event = None

    # ---- for the connection

    def deliver(self, message: bytes) -> None:
        self._inbox.append(message)
        self.wake()

    def end(self, code: int, message: str, details: bytes) -> None:
        """The call has its status."""
        self.ended = True
        if code:
            self._error = from_status(code, message, details)
        self.wake()

    def fail(self, error: StatusError) -> None:
        """The call ended without a status from the server."""
        if not self.ended:
            self.ended = True
            self._error = error
        self.wake()

    def wake(self) -> None:
        if self._event is not None:
            self._event.set()
