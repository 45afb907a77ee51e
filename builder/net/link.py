"""Hot: a wire connection on a transport: whoever has something to send calls `flush`.

There is no writer task as long as the kernel takes everything and it is not much. Else one is
started; it feeds the socket as it drains, a budget at a time with everybody else's turn between,
and ends when nothing is left. A small call beside eight endless streams takes 0.3 ms
(`python -m tests.bench wire`, figures.small_beside_streams_ms_p50).
"""

from collections.abc import Callable

import trio

from builder.net.transport import Transport
from builder.wire.connection import Connection

BUDGET = 272 * 1024  # octets framed ahead of the socket, as a piece of a blob and its prefixes:
# a small answer waits behind no more


class Link:
    """Moves bytes between a wire connection and its transport."""

    __slots__ = (
        "_nursery",
        "_on_flushed",
        "_progress",
        "_sender",
        "broken",
        "due",
        "transport",
        "wire",
        "writing",
    )

    def __init__(
        self,
        wire: Connection,
        transport: Transport,
        nursery: trio.Nursery,
        on_flushed: Callable[[], None],
    ) -> None:
        self.wire = wire
        self._sender = wire.sender
        self.transport = transport
        self.writing = False
        self.broken = False
        self.due = False  # something was queued without a flush
        self._nursery = nursery
        self._on_flushed = on_flushed
        self._progress: trio.Event | None = None

    def flush(self) -> None:
        """Send what is due as far as the socket takes it; the rest follows by itself."""
        self.due = False
        if self.writing or self.broken:
            return
        sender = self._sender
        idle = not (sender.out or sender.ready or sender.finished or sender.writable)
        if idle or self._push():
            self._on_flushed()
        elif not self.broken:
            self.writing = True
            self._nursery.start_soon(self._write, False)

    def flush_soon(self) -> None:
        """As `flush`, after all tasks that are ready now have run: what they send goes along."""
        if not (self.writing or self.broken):
            self.writing = True
            self._nursery.start_soon(self._write, True)

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

    async def _write(self, at_once: bool) -> None:
        try:
            while not (at_once and self._push()) and not self.broken:
                at_once = True
                self._progressed()
                if self.transport.flush():
                    await trio.lowlevel.checkpoint()
                else:
                    await self.transport.wait_writable()
                    at_once = self.transport.flush()
        except (OSError, trio.ClosedResourceError):
            self.broken = True
        finally:
            self.writing = False
            self._progressed()
        if not self.broken:
            self._on_flushed()

    def _progressed(self) -> None:
        if self._progress is not None:
            self._progress.set()
            self._progress = None

    async def drained(self, most: int = 0) -> None:
        """Wait until at most so many buffers wait to be written, or the link is broken."""
        while self.writing and not self.broken and (not most or len(self.wire.sender.out) > most):
            if self._progress is None:
                self._progress = trio.Event()
            await self._progress.wait()
