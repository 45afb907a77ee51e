"""What an RPC is to those who serve one and to those who call one.

Services and clients know this file only; `net.server` and `net.channel` perform it.

A `Method` is unary or streaming. A unary handler takes the request's bytes and answers with the
response's bytes at once, or with an awaitable of them when it has to wait: the first form is
answered inside the receive loop, without a task, which is what makes small calls cheap. A
streaming handler (server, client or both ways) is an async function of the `Call` alone.
Between the two is a method of one request and a stream of answers: its `single` handler takes the
request and answers with the bytes of the only answer there is, in place as above, or with a
streaming handler, which says the rest by a task, or with a `Following`: then nobody waits, and who
has the news tells them when they come. A streaming method may have a `short` handler
besides: a call whose only message has come with its end is shown to that one first, which answers
in place, or by None, and then the streaming handler takes the call.
A handler that raises a `StatusError` ends the call with that status; any other exception is
logged with its traceback and ends it with INTERNAL.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from builder.wire.runs import RunForm

Buffer = bytes | bytearray | memoryview
Metadata = Mapping[str, str | bytes]  # keys in lower case; values of `-bin` keys are decoded bytes


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end: an address for logs, and the identity that TLS proved, if any."""

    address: str
    identity: str = ""


class Context(Protocol):
    """What every handler may know of its call."""

    @property
    def path(self) -> str:
        """`/package.Service/Method`."""
        ...

    @property
    def metadata(self) -> Metadata: ...

    @property
    def peer(self) -> Peer: ...

    @property
    def deadline(self) -> float | None:
        """On trio's clock (`trio.current_time()`), or None; the call is cancelled then."""
        ...


class Call(Context, Protocol):
    """A streaming call on the server's side."""

    async def receive(self) -> bytes | None:
        """The next request message, or None after the last one."""
        ...

    async def receive_pieces(self) -> Sequence[Buffer] | None:
        """As `receive`; the pieces are those that came, where the method has `pieces`."""
        ...

    async def send(self, message: Buffer | Sequence[Buffer]) -> None:
        """Send one response message, given whole or in pieces that are joined on the wire.

        Waits while the peer's flow-control window is closed. Buffers may not change afterwards.
        """
        ...

    async def each(self, heard: Callable[[bytes], None]) -> None:
        """Have every message taken in place, as it comes, until the last one or until `stop`.

        Raises what `heard` raises, and what `stop` was given.
        """
        ...

    async def take(self, taken: Callable[[Sequence[Buffer]], bool]) -> None:
        """Have messages taken in place, as they come in pieces, until the last one, or until one
        is not: `receive` gives that one.

        Raises what `taken` raises.
        """
        ...

    def post(self, message: Buffer) -> None:
        """As `send`, without waiting and from any task: for few and small messages. It leaves
        with the next `flush`."""
        ...

    def flush(self) -> None:
        """What was posted leaves now."""
        ...

    def stop(self, error: Exception) -> None:
        """End the handler's `each` with this."""
        ...


class Told(Protocol):
    """The answers of a call without a task. Nothing here waits; after its end nothing happens."""

    def tell(self, message: Buffer) -> None:
        """One more; while the client does not take them, only the latest is kept."""
        ...

    def end(self, message: Buffer) -> None:
        """The last one, and OK."""
        ...

    def fail(self, error: Exception) -> None:
        """End the call with the status that a handler's exception would."""
        ...

    def flush(self) -> None:
        """What was told leaves now."""
        ...


@dataclass(frozen=True, slots=True)
class Following:
    """Answers that come by and by. `begin` is called in place; what it returns is called once,
    when the call is over, whoever ended it."""

    begin: Callable[[Told], Callable[[], None]]


UnaryHandler = Callable[[bytes, Context], bytes | Awaitable[bytes]]
StreamHandler = Callable[[Call], Awaitable[None]]
SingleHandler = Callable[[bytes, Context], bytes | StreamHandler | Following]
ShortHandler = Callable[[bytes, Context], bytes | None]


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service: its path and its handler, one of the first three."""

    path: str
    unary: UnaryHandler | None = None
    stream: StreamHandler | None = None
    single: SingleHandler | None = None
    short: ShortHandler | None = None
    max_request_bytes: int = 4 * 1024 * 1024 + 64 * 1024
    pieces: bool = False  # large requests of a stream are not joined: see `Call.receive_pieces`
    runs: RunForm | None = (
        None  # requests of this form are told together, and before they are whole
    )


class ClientCall(Protocol):
    """A streaming call on the client's side."""

    async def send(self, message: Buffer | Sequence[Buffer]) -> None: ...

    async def done_sending(self) -> None:
        """Half-close: there are no more requests."""
        ...

    async def receive(self) -> bytes | None:
        """The next response, or None after an OK status. Raises the StatusError otherwise."""
        ...


class Channel(Protocol):
    """A client's way to one server; connects, reconnects and spreads calls by itself."""

    async def unary(
        self,
        path: str,
        request: Buffer,
        *,
        metadata: Metadata | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Raises a StatusError; UnavailableError when the server cannot be reached."""
        ...

    def stream(
        self,
        path: str,
        *,
        metadata: Metadata | None = None,
        timeout_s: float | None = None,
    ) -> AbstractAsyncContextManager[ClientCall]:
        """A call in either or both directions; leaving the block early cancels it."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """A named set of methods, as it is registered with a server."""

    name: str
    methods: tuple[Method, ...] = field(default=())
