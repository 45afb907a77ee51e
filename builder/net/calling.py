"""One connection of a channel: events of the wire become answers of calls."""

import trio

from builder.base.errors import UnavailableError, from_status
from builder.net.client_calls import StreamCall
from builder.net.link import Link
from builder.net.rpc import Metadata
from builder.net.transport import Transport
from builder.wire.client import ClientConnection
from builder.wire.events import (
    ConnectionEnded,
    Event,
    GoawayReceived,
    MessageReceived,
    ResponseEnded,
    ResponseStarted,
    SettingsReceived,
    StreamReset,
)
from builder.wire.grpc import status_of_reset
from builder.wire.stream import whole

KEEPALIVE_PING = b"keepaliv"
KEEPALIVE_ANSWER_S = 20.0


class ClientLink:
    """A connection to the server, usable after `ready` is set and as long as `room` is above 0."""

    def __init__(self, wire: ClientConnection, address: str, keepalive_s: float) -> None:
        self.wire = wire
        self.ready = trio.Event()  # the server's SETTINGS came, or it never will
        self.closed = False
        self._address = address
        self._keepalive_s = keepalive_s
        self._link: Link | None = None
        self._heard = trio.Event()
        self.why = ""

    @property
    def room(self) -> int:
        """How many more calls it takes now."""
        return 0 if self.closed else self.wire.room

    async def run(self, transport: Transport, on_room: trio.lowlevel.ParkingLot) -> None:
        """Move events until either side is done; then every open call fails with UNAVAILABLE."""
        try:
            async with trio.open_nursery() as nursery:
                self._link = link = Link(self.wire, transport, nursery, lambda: None)
                nursery.start_soon(self._keep_alive, nursery.cancel_scope)
                link.flush()
                while not link.broken and not self.wire.ended and not self._is_done():
                    data = await transport.receive()
                    if not data:
                        self.why = self.why or transport.why
                        break
                    self._heard.set()
                    for event in self.wire.receive(data, trio.current_time()):
                        self._handle(event)
                    link.flush()
                    on_room.unpark_all()
                if self.wire.ended:
                    with trio.move_on_after(1):
                        await link.drained()
                nursery.cancel_scope.cancel()
        finally:
            self._close()
            on_room.unpark_all()

    def _is_done(self) -> bool:
        return self.wire.goaway_received and not self.wire.streams

    async def _keep_alive(self, scope: trio.CancelScope) -> None:
        """PING when nothing was heard for a while; give up when that is not answered."""
        while True:
            self._heard = trio.Event()
            with trio.move_on_after(self._keepalive_s):
                await self._heard.wait()
                await trio.sleep_forever()  # heard: look again when the time is over
            if self._heard.is_set():
                continue
            self.wire.ping(KEEPALIVE_PING)
            if self._link is not None:
                self._link.flush()
            with trio.move_on_after(KEEPALIVE_ANSWER_S):
                await self._heard.wait()
            if not self._heard.is_set():
                self.why = f"no answer to a PING for {KEEPALIVE_ANSWER_S:g} s"
                scope.cancel()

    def start(self, path: str, metadata: Metadata | None, timeout_s: float | None) -> StreamCall:
        """Open a call; nothing is sent before the next flush of it."""
        assert self._link is not None
        stream = self.wire.open(path, metadata, timeout_s)
        call = StreamCall(self.wire, self._link, stream)
        stream.owner = call
        return call

    def shut(self) -> None:
        """Fail what is open; used when the channel ends."""
        self._close()

    def _handle(self, event: Event) -> None:
        match event:
            case MessageReceived() | ResponseStarted() | ResponseEnded() | StreamReset():
                if isinstance(event.stream.owner, StreamCall):
                    _answer(event.stream.owner, event)
            case SettingsReceived():
                self.ready.set()
            case GoawayReceived(_, code, debug):
                reason = debug.decode("utf-8", "replace")
                self.why = f"it said GOAWAY {code} {reason}".rstrip()
            case ConnectionEnded(_, text):
                self.why = text

    def _close(self) -> None:
        self.closed = True
        self.ready.set()
        reason = f": {self.why}" if self.why else ""
        for stream in list(self.wire.streams.values()):
            if isinstance(stream.owner, StreamCall):
                error = UnavailableError(f"the connection to {self._address} was lost{reason}")
                stream.owner.fail(error)


def _answer(
    call: StreamCall, event: MessageReceived | ResponseStarted | ResponseEnded | StreamReset
) -> None:
    match event:
        case MessageReceived(_, message):
            call.deliver(whole(message))
        case ResponseStarted(_, head):
            call.initial_metadata = head.metadata
        case ResponseEnded(_, code, message, details, head):
            call.trailing_metadata = head.metadata
            call.end(code, message, details)
        case StreamReset(_, code, text, unprocessed):
            call.unprocessed = unprocessed
            call.fail(from_status(status_of_reset(code), f"{text} ({code})"))
