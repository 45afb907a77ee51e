"""Hot: one connection of a server: events of the wire become calls of handlers.

A unary handler that answers at once is answered inside the receive loop, and everything that one
receive brought is answered by one send: 150,000 GetActionResult/s on one core, 100,000 with hooks
(`python -m tests.bench wire`, figures.gar_per_s_bare; those of the product are gar_per_s).
"""

import logging
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import cast

import trio

from builder.base.errors import Code, DeadlineExceededError, StatusError
from builder.net.calls import AwaitedCall, CallContext, FollowedCall, ServerCall
from builder.net.hooks import Hooks
from builder.net.link import Link
from builder.net.rpc import Following, Method, Peer, StreamHandler
from builder.net.transport import Transport
from builder.wire.events import (
    ConnectionEnded,
    Event,
    MessageReceived,
    PingAcknowledged,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from builder.wire.heads import RequestHead
from builder.wire.server import ServerConnection
from builder.wire.stream import Message, Stream, whole

log = logging.getLogger("builder.net")

MORE_THAN_PING = 18  # octets
DRAIN_PING = b"draining"  # eight octets
FEW_STREAMS = 2  # above it, answers of tasks that end together leave together
STALLED = 1024  # unsent buffers above which nothing more is read: the peer does not read answers


@dataclass(slots=True)
class Held:
    """A call that may be short, and its message."""

    head: RequestHead
    message: Message | None = None


class ServerLink:
    """One client's connection."""

    def __init__(self, wire: ServerConnection, peer: Peer, hooks: Hooks) -> None:
        self.wire = wire
        self.peer = peer
        self._authorize = hooks.authorize
        self._observe = hooks.observe
        self._ended = hooks.ended
        self._limit_hit = hooks.limit_hit
        self._link: Link | None = None
        self._nursery: trio.Nursery | None = None
        self._drain_started = False
        self._held: dict[Stream, Held] = {}  # only while events are handled
        self.heard_at = trio.current_time()
        self.dozes = False

    @property
    def sent_octets(self) -> int:
        """Of messages, so far."""
        return self.wire.sender.moved

    @property
    def has_waiting(self) -> bool:
        """Whether something waits for the client to take it."""
        return self.wire.sender.backlog > 0 or (self._link is not None and self._link.writing)

    def ping(self, opaque: bytes) -> None:
        """Ask the client whether it is there."""
        if self._link is not None:
            self.wire.ping(opaque)
            self._link.flush()

    def flush(self) -> None:
        if self._link is not None:
            self._link.flush()

    async def run(self, transport: Transport) -> None:
        """Serve until the peer leaves, breaks the protocol, or draining is complete."""
        wire = self.wire
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._link = link = Link(wire, transport, nursery, self._flushed)
            try:
                await self._receive(transport, link)
            finally:
                for stream in list(wire.streams.values()):
                    if type(stream.owner) is FollowedCall:
                        stream.owner.cancel()
            nursery.cancel_scope.cancel()

    async def _receive(self, transport: Transport, link: Link) -> None:
        wire = self.wire
        link.flush()
        while not (link.broken or wire.ended) and (data := await transport.receive(wire.bulky)):
            if self.dozes:
                self.rouse()
            self._take(data, link, trio.current_time())
            del data  # a megabyte for each of them that waits for more would be kept
            if link.writing and len(wire.sender.out) > STALLED:
                await link.drained(STALLED)
        if wire.ended:
            with trio.move_on_after(1):
                await link.drained()

    def _take(self, data: bytes, link: Link, now: float) -> None:
        self.heard_at = now
        events = self.wire.receive(data, now)
        if events:
            self._handle(events)
            if self._held:
                for stream in list(self._held):
                    self._release(stream)
        if self.wire.begun:
            self._look_at(self.wire.begun)
        if self.wire.limits_hit:
            self._tell_limits()
        link.flush()

    # ---- silence, see `dozing`

    def doze(self) -> None:
        """Be woken for more than a PING only, if nothing is open or half said."""
        wire = self.wire
        if self._link is None or wire.streams or wire.in_headers or self.has_waiting:
            return
        if not (wire.ended or self._drain_started):
            self.dozes = self._link.transport.doze(MORE_THAN_PING)

    def rouse(self) -> None:
        """Be woken for everything again."""
        if self._link is not None and self.dozes:
            self.dozes = False
            self._link.transport.doze(1)

    def look(self, now: float) -> None:
        """Take what has come while it dozed."""
        if self._link is None or not (data := self._link.transport.read_now()):
            return
        self._take(data, self._link, now)
        if self.wire.streams or self.wire.in_headers or self.wire.ended:
            self.rouse()

    # ---- events

    def _handle(self, events: list[Event]) -> None:
        reply = self.wire.reply
        path, answered, started = "", 0, 0.0  # of the run of calls that is going on
        last = None  # the context of the call before
        for event in events:
            if type(event) is not tuple:
                if answered:
                    self._told(path, answered, started)
                path, answered, last = "", 0, None
                self._other(event)
                continue
            stream_id, head, message = event
            context = head.context or self._context(head)
            if context is not last and context.path != path:
                if answered:
                    self._told(path, answered, started)
                path, answered, started = context.path, 0, time.perf_counter()
            try:
                if context is not last:
                    self._admit(context)
                    last = context
                answer = head.route.target(message, context)  # type: ignore[union-attr]  # a called path has a route
            except Exception as error:
                self._failed(stream_id, path, error, self._told(path, answered, started, 1))
                path, answered, last = "", 0, None
                continue
            if type(answer) is bytes:
                reply(stream_id, answer)
                answered += 1
            else:
                self._go_on(stream_id, head, context, answer)
        if answered:
            self._told(path, answered, started)

    def _admit(self, context: CallContext) -> None:
        """Raises a StatusError for who may not call this."""
        if self._authorize is not None and not context.authorized:
            self._authorize(context)
            context.authorized = True

    def _look_at(self, begun: list[Stream]) -> None:
        """Nothing is kept of messages of who may not call what they call."""
        for stream in begun:
            if stream.half_closed or stream.closed or stream.head is None:
                continue
            context = stream.head.context or self._context(stream.head)
            try:
                self._admit(context)
            except Exception as error:
                stream.ignored = True
                stream.drop()
                self._failed(stream.id, context.path, error, 0.0)
        begun.clear()

    def _told(self, path: str, answered: int, started: float, others: int = 0) -> float:
        """A run of calls that were answered has ended; the seconds that each of them took."""
        each = (time.perf_counter() - started) / (answered + others)
        if answered and self._observe is not None:
            self._observe(path, Code.OK, each * answered, answered)
        return each

    def _context(self, head: RequestHead) -> CallContext:
        """One for all calls that look alike; calls with a deadline have their own."""
        if head.timeout_s is not None:
            return CallContext(head, self.peer, trio.current_time() + head.timeout_s)
        context = CallContext(head, self.peer, None)
        head.context = context
        return context

    def _other(self, event: Event) -> None:
        match event:
            case MessageReceived(stream, message):
                self._message(stream, message)
            case StreamOpened(stream, head):
                self._opened(stream, head)
            case StreamEnded(stream):
                self._end(stream)
            case StreamReset(stream):
                self._release(stream)
                if stream.owner is not None:
                    stream.owner.cancel()
            case PingAcknowledged(opaque=b"draining"):
                self.finish_drain()
            case ConnectionEnded(code, text):
                self._sent_away(code, text)

    def _tell_limits(self) -> None:
        for limit in self.wire.limits_hit:
            self._limit_hit(limit)
        self.wire.limits_hit.clear()

    def relieve(self, octets: int) -> None:
        """End calls until so much less is kept of their requests."""
        self._handle(self.wire.relieve(octets))
        self._tell_limits()
        self.flush()

    def _sent_away(self, code: int, text: str) -> None:
        self._ended(code)
        log.info("%s was sent away: %s (%s)", self.peer.address, text, code)

    # ---- streaming calls that may be short: what is to become of one that this receive opened is
    # known at its end, or at the end of the receive

    def _opened(self, stream: Stream, head: RequestHead) -> None:
        assert head.route is not None
        if head.route.target.short is None:
            self._start(stream, head)
        else:
            self._held[stream] = Held(head)

    def _message(self, stream: Stream, message: Message) -> None:
        held = self._held.get(stream)
        if held is not None and held.message is None:
            held.message = message
            return
        self._release(stream)
        if isinstance(stream.owner, ServerCall):
            stream.owner.deliver(message)

    def _end(self, stream: Stream) -> None:
        held = self._held.get(stream)
        message = None if held is None else held.message
        if held and message is not None and self._short(stream, held.head, whole(message)):
            del self._held[stream]
            return
        self._release(stream)
        if isinstance(stream.owner, ServerCall):
            stream.owner.end()

    def _short(self, stream: Stream, head: RequestHead, message: bytes) -> bool:
        """Whether that was all of the call."""
        assert head.route is not None
        method: Method = head.route.target
        assert method.short is not None
        context = self._context(head)
        started = time.perf_counter()
        code = Code.OK
        try:
            self._admit(context)
            answer = method.short(message, context)
            if answer is None:
                return False
            self.wire.consumed(stream, len(message))
            if not stream.closed:
                self.wire.reply(stream.id, answer)
        except Exception as error:
            code = self._fail_stream(stream, context.path, error)
        stream.ignored = True
        if self._observe is not None:
            self._observe(context.path, code, time.perf_counter() - started, 1)
        return True

    def _release(self, stream: Stream) -> None:
        """It is not short: a task's, if it has none yet."""
        held = self._held.pop(stream, None)
        if held is not None:
            call = self._start(stream, held.head)
            if held.message is not None:
                call.deliver(held.message)

    # ---- calls with a task

    def _start(self, stream: Stream, head: RequestHead) -> ServerCall:
        assert self._link is not None
        assert self._nursery is not None
        assert head.route is not None
        context = self._context(head)
        stream.owner = call = ServerCall(context, stream, self._link, self.wire)
        self._nursery.start_soon(self._stream, call, context, head.route.target.stream)
        return call

    async def _stream(self, call: ServerCall, context: CallContext, handler: StreamHandler) -> None:
        started = time.perf_counter()
        stream = call.stream
        code = Code.CANCELLED
        try:
            with call.scope:
                try:
                    self._admit(context)
                    await handler(call)
                    self.wire.send_headers(stream)
                    self.wire.finish(stream, Code.OK)
                    code = Code.OK
                except Exception as error:
                    code = self._fail_stream(stream, context.path, error)
            if call.scope.cancelled_caught:
                code = self._cancelled(stream)
        finally:
            self._done(stream, context.path, code, started)

    def _go_on(
        self, stream_id: int, head: RequestHead, context: CallContext, answer: object
    ) -> None:
        """The answer is not there yet: a task waits for it, or says it message by message."""
        assert self._nursery is not None
        assert self._link is not None
        if type(answer) is Following:
            self._follow(self.wire.adopt(stream_id, head), context, answer)
            return
        if isinstance(answer, bytearray | memoryview):
            self.wire.reply(stream_id, bytes(answer))
            return
        stream = self.wire.adopt(stream_id, head)
        if callable(answer):
            stream.owner = many = ServerCall(context, stream, self._link, self.wire)
            many.ended = True
            self._nursery.start_soon(self._stream, many, context, cast("StreamHandler", answer))
            return
        stream.owner = call = AwaitedCall(context.deadline)
        self._nursery.start_soon(
            self._unary, call, stream, context.path, cast("Awaitable[bytes]", answer)
        )

    def _follow(self, stream: Stream, context: CallContext, answer: Following) -> None:
        """A call without a task, but for its deadline if it has one."""
        assert self._nursery is not None
        assert self._link is not None
        call = FollowedCall(context.path, stream, self._link, self.wire, self._over)
        stream.owner = call
        if context.deadline is not None:
            call.scope = trio.CancelScope(deadline=context.deadline)
            self._nursery.start_soon(self._expire, call, call.scope)
        try:
            left = answer.begin(call)
        except Exception as error:
            call.fail(error)
        else:
            call.left = left
            if stream.owner is not call:  # it has ended already
                left()

    def _over(self, call: FollowedCall, error: Exception | None) -> None:
        stream, left = call.stream, call.left
        call.left = None  # which knows the call: a thousand a second are not for the collector
        if call.scope is not None:
            call.scope.cancel()
        code = Code.OK if stream.ending or stream.ended else Code.CANCELLED
        if error is not None:
            code = self._fail_stream(stream, call.path, error)
        stream.owner, stream.ignored = None, True
        if left is not None:
            left()
        if self._observe is not None:
            self._observe(call.path, code, time.perf_counter() - call.started, 1)

    async def _expire(self, call: FollowedCall, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep_forever()
        if call.stream.owner is call:
            self.wire.sender.drop(call.stream)
            call.fail(DeadlineExceededError("the call's deadline passed"))
            call.flush()

    async def _unary(
        self, call: AwaitedCall, stream: Stream, path: str, answer: Awaitable[bytes]
    ) -> None:
        started = time.perf_counter()
        code = Code.CANCELLED
        try:
            with call.scope:
                try:
                    message = await answer
                    if not stream.closed:
                        self.wire.reply(stream.id, message)
                        code = Code.OK
                except Exception as error:
                    code = self._fail_stream(stream, path, error)
            if call.scope.cancelled_caught:
                code = self._cancelled(stream)
        finally:
            self._done(stream, path, code, started)

    def _cancelled(self, stream: Stream) -> Code:
        """The client left, or the deadline passed: then it is told so, if it still listens."""
        if stream.closed:
            return Code.CANCELLED
        self.wire.sender.drop(stream)
        self.wire.finish(stream, Code.DEADLINE_EXCEEDED, "the call's deadline passed")
        return Code.DEADLINE_EXCEEDED

    def _done(self, stream: Stream, path: str, code: Code, started: float) -> None:
        assert self._link is not None
        stream.owner = None
        stream.ignored = True
        if len(self.wire.streams) > FEW_STREAMS:
            self._link.flush_soon()
        else:
            self._link.flush()
        if self._observe is not None:
            self._observe(path, code, time.perf_counter() - started, 1)

    def _failed(self, stream_id: int, path: str, error: Exception, took_s: float) -> None:
        code = self._fail(stream_id, path, error)
        if self._observe is not None:
            self._observe(path, code, took_s, 1)

    def _fail_stream(self, stream: Stream, path: str, error: Exception) -> Code:
        if stream.closed and isinstance(error, StatusError):
            return error.code
        return self._fail(stream.id, path, error)

    def _fail(self, stream_id: int, path: str, error: Exception) -> Code:
        if isinstance(error, StatusError):
            self.wire.fail(stream_id, error.code, error.message, error.details)
            return error.code
        log.error("%s of %s failed", path, self.peer.address, exc_info=error)
        self.wire.fail(stream_id, Code.INTERNAL, f"{type(error).__name__} in {path}; see the log")
        return Code.INTERNAL

    # ---- draining

    def start_drain(self) -> None:
        """GOAWAY twice: calls that are on their way while we speak are still served."""
        if self._drain_started or self._link is None:
            return
        self._drain_started = True
        self.rouse()
        self.wire.announce_drain()
        self.wire.ping(DRAIN_PING)
        self._link.flush()

    def finish_drain(self) -> None:
        """Second GOAWAY; the connection closes when its last stream has ended."""
        if self._link is not None and not self.wire.draining:
            self.wire.drain()
            self._link.flush()

    def send_away(self, limit: str, code: int, why: str) -> None:
        """As `close`, with GOAWAY, for who does not keep within the times of `limit`."""
        self._limit_hit(limit)
        self._sent_away(code, why)
        self.wire.goaway(code, why.encode())
        self.flush()
        self.close()

    def close(self) -> None:
        """End the connection and every call on it, now."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _flushed(self) -> None:
        """Everything is sent: a connection that is drained may close."""
        if self.wire.draining and not self.wire.streams:
            self.close()
