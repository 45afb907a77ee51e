"""Hot: a wire connection on a transport: whoever has something to send calls `flush`.

There is no writer task as long as the kernel takes everything and it is not much. Else one is
started; it feeds the socket as it drains, a budget at a time with everybody else's turn between,
and ends when nothing is left.
"""

from collections.abc import Callable

import trio

from builder.net.transport import Transport
from builder.wire.connection import Connection

BUDGET = 256 * 1024  # octets framed ahead of the socket: a small answer waits behind no more


class Link:
    """Moves bytes between a wire connection and its transport."""

    __slots__ = ("_idle", "_nursery", "_on_flushed", "broken", "transport", "wire", "writing")

    def __init__(
        self,
        wire: Connection,
        transport: Transport,
        nursery: trio.Nursery,
        on_flushed: Callable[[], None],
    ) -> None:
        self.wire = wire
        self.transport = transport
        self.writing = False
        self.broken = False
        self._nursery = nursery
        self._on_flushed = on_flushed
        self._idle: trio.Event | None = None

    def flush(self) -> None:
        """Send what is due as far as the socket takes it; the rest follows by itself."""
        if self.writing or self.broken:
            return
        if self._push():
            self._on_flushed()
        elif not self.broken:
            self.writing = True
            self._nursery.start_soon(self._write)

    def _push(self) -> bool:
        """Send one budget; whether everything that may go has gone."""
        wire = self.wire
        try:
            buffers = wire.take(BUDGET)
            if buffers and not self.transport.write(buffers):
                return False
        except OSError:
            self.broken = True
            return False
        finally:
            if wire.sender.writable:
                self._wake()
        return not wire.sender.has_more()

    def _wake(self) -> None:
        writable = self.wire.sender.writable
        for stream in writable:
            if stream.owner is not None:
                stream.owner.wake()
        writable.clear()

    async def _write(self) -> None:
        try:
            while not self.broken:
                if self.transport.flush():
                    await trio.lowlevel.checkpoint()
                else:
                    await self.transport.wait_writable()
                if self.transport.flush() and self._push():
                    break
        except (OSError, trio.ClosedResourceError):
            self.broken = True
        finally:
            self.writing = False
            if self._idle is not None:
                self._idle.set()
                self._idle = None
        if not self.broken:
            self._on_flushed()

    async def drained(self) -> None:
        """Wait until the socket has taken everything, or is broken."""
        while self.writing and not self.broken:
            if self._idle is None:
                self._idle = trio.Event()
            await self._idle.wait()
