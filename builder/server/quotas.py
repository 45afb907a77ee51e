"""How much each instance may upload within one lease of the storage.

What is uploaded is promised for a lease, so an instance that uploads without end fills the store
with promises, and everybody else's writes are refused. A quota bounds that. What counts are the
messages as they come, so blobs that a client did not have to send, and those of others, do not.
The window moves by a sixteenth of itself; a restart begins with nothing used. Services without
quotas are used as they are, and this costs nothing.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from builder.base.errors import ResourceExhaustedError
from builder.base.units import format_duration, format_size
from builder.net.rpc import Buffer, Call, Context, Method, Service
from builder.server.routing import instance_of
from builder.server.wrapped import Wrapped

CAS = "/build.bazel.remote.execution.v2.ContentAddressableStorage/"
UPLOADS = {f"{CAS}BatchUpdateBlobs", "/google.bytestream.ByteStream/Write"}
PARTS = 16  # of the window
OTHERS = "*"  # each instance that is not named


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one instance, within the window."""

    instance: str
    used_bytes: int
    most_bytes: int
    refused: int


@dataclass(slots=True)
class _Window:
    most_bytes: int
    used_bytes: int = 0
    refused: int = 0
    parts: deque[tuple[int, int]] = field(default_factory=deque)  # (when, bytes)


class Quotas:
    """`most` bytes by instance; `now` is seconds of any clock."""

    MOST_INSTANCES = 1000  # that are told apart, of those without a quota of their own

    def __init__(self, most: Mapping[str, int], window_s: float, now: Callable[[], float]) -> None:
        self._most = dict(most)
        self._part_s = max(window_s, 1.0) / PARTS
        self._window_s = window_s
        self._now = now
        self._windows: dict[str, _Window] = {}

    def __bool__(self) -> bool:
        return bool(self._most)

    def take(self, instance: str, size: int) -> None:
        """Count an upload. Raises ResourceExhaustedError for one that is too much."""
        self.check(instance, size)
        window = self._window(instance)
        if window is not None:
            part = self._move(window)
            window.used_bytes += size
            if window.parts and window.parts[-1][0] == part:
                size += window.parts.pop()[1]
            window.parts.append((part, size))

    def check(self, instance: str, size: int) -> None:
        """As `take`, without counting it."""
        window = self._window(instance)
        if window is None:
            return
        self._move(window)
        if window.used_bytes + size > window.most_bytes:
            window.refused += 1
            raise ResourceExhaustedError(
                f"instance {instance!r} has uploaded {format_size(window.used_bytes)} within "
                f"{format_duration(self._window_s)}, of {format_size(window.most_bytes)} that it "
                "may: try again later, or raise its quota in store.quotas"
            )

    def usage(self) -> list[Usage]:
        """Of every instance that has a quota of its own, or has uploaded."""
        for name in self._most:
            if name != OTHERS:
                self._window(name)
        for window in self._windows.values():
            self._move(window)
        return [
            Usage(name, one.used_bytes, one.most_bytes, one.refused)
            for name, one in sorted(self._windows.items())
        ]

    def _window(self, instance: str) -> _Window | None:
        if instance not in self._most and len(self._windows) >= self.MOST_INSTANCES:
            instance = OTHERS
        window = self._windows.get(instance)
        if window is None:
            most = self._most.get(instance, self._most.get(OTHERS))
            if most is None:
                return None
            window = self._windows[instance] = _Window(most)
        return window

    def _move(self, window: _Window) -> int:
        """Forget what is older than the window; the present part."""
        part = int(self._now() / self._part_s)
        gone = list(takewhile(lambda one: one[0] < part - PARTS, window.parts))
        for _, size in gone:
            window.parts.popleft()
            window.used_bytes -= size
        return part


def bounded(services: Sequence[Service], quotas: Quotas) -> list[Service]:
    """These services, whose uploads count."""
    if not quotas:
        return list(services)
    return [
        Service(one.name, tuple(_bounded(method, quotas) for method in one.methods))
        for one in services
    ]


def _bounded(method: Method, quotas: Quotas) -> Method:
    unary, stream, short = method.unary, method.stream, method.short
    if method.path not in UPLOADS:
        return method

    def counted_unary(data: bytes, context: Context) -> bytes | Awaitable[bytes]:
        assert unary is not None
        quotas.take(instance_of(data), len(data))
        return unary(data, context)

    def counted_short(data: bytes, context: Context) -> bytes | None:
        assert short is not None
        instance = instance_of(data)
        quotas.check(instance, len(data))
        answer = short(data, context)
        if answer is not None:  # else the whole comes again, as a stream
            quotas.take(instance, len(data))
        return answer

    async def counted_stream(call: Call) -> None:
        assert stream is not None
        await stream(_Counted(call, quotas))

    return replace(
        method,
        unary=None if unary is None else counted_unary,
        stream=None if stream is None else counted_stream,
        short=None if short is None else counted_short,
    )


class _Counted(Wrapped):
    """A call whose requests count; the first names the instance."""

    def __init__(self, call: Call, quotas: Quotas) -> None:
        super().__init__(call)
        self._quotas = quotas
        self._instance: str | None = None

    async def receive(self) -> bytes | None:
        message = await self._call.receive()
        if message is not None:
            if self._instance is None:
                self._instance = instance_of(message)
            self._quotas.take(self._instance, len(message))
        return message

    async def receive_pieces(self) -> Sequence[Buffer] | None:
        if self._instance is None:
            message = await self.receive()
            return None if message is None else (message,)
        pieces = await self._call.receive_pieces()
        self._quotas.take(self._instance, sum(map(len, pieces or ())))
        return pieces
