"""A way to services without a wire between: the client's `Channel` straight onto handlers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from builder.base.errors import StatusError, UnimplementedError
from builder.net.rpc import Buffer, Following, Metadata, Method, Peer, Service, SingleHandler


def joined(message: Buffer | Sequence[Buffer]) -> bytes:
    if isinstance(message, bytes | bytearray | memoryview):
        return bytes(message)
    return b"".join(bytes(part) for part in message)


class DirectContext:
    """A call of one test."""

    def __init__(self, path: str, metadata: Metadata | None = None) -> None:
        self.path = path
        self.metadata: Metadata = metadata or {}
        self.peer = Peer("test")
        self.deadline: float | None = None


def cut(message: bytes) -> list[Buffer]:
    """As frames of 16 KiB cut it."""
    return [memoryview(message)[at : at + 16_384] for at in range(0, len(message) or 1, 16_384)]


class DirectCall(DirectContext):
    """Both ends of one streaming call."""

    def __init__(self, path: str, metadata: Metadata | None = None) -> None:
        super().__init__(path, metadata)
        self.requests_in, self.requests_out = trio.open_memory_channel[bytes](4)
        self.responses_in, self.responses_out = trio.open_memory_channel[bytes](4)
        self.ended = trio.Event()
        self.error: StatusError | None = None
        self.stopped = trio.Event()
        self.why: Exception | None = None
        self.left: Sequence[Buffer] | None = None  # that `take` did not take

    async def receive(self) -> bytes | None:
        try:
            return await self.requests_out.receive()
        except trio.EndOfChannel:
            return None

    async def receive_pieces(self) -> Sequence[Buffer] | None:
        if self.left is not None:
            left, self.left = self.left, None
            return left
        message = await self.receive()
        return None if message is None else cut(message)

    async def send(self, message: Buffer | Sequence[Buffer]) -> None:
        await self.responses_in.send(joined(message))

    async def each(self, heard: Callable[[bytes], None]) -> None:
        async with trio.open_nursery() as nursery:

            async def hear() -> None:
                try:
                    while (message := await self.receive()) is not None:
                        heard(message)
                except Exception as error:
                    self.stop(error)
                self.stopped.set()

            nursery.start_soon(hear)
            await self.stopped.wait()
            nursery.cancel_scope.cancel()
        if self.why is not None:
            raise self.why

    async def take(self, taken: Callable[[Sequence[Buffer]], bool]) -> None:
        while (pieces := await self.receive_pieces()) is not None:
            if not taken(pieces):
                self.left = pieces
                return

    def post(self, message: Buffer) -> None:
        self.responses_in.send_nowait(joined(message))

    def flush(self) -> None:
        """Nothing waits here."""

    def stop(self, error: Exception) -> None:
        self.why = self.why or error
        self.stopped.set()

    # ---- as `rpc.Told`

    def tell(self, message: Buffer) -> None:
        self.responses_in.send_nowait(bytes(message))

    def end(self, message: Buffer) -> None:
        self.tell(message)
        self.stopped.set()

    def fail(self, error: Exception) -> None:
        self.stop(error)

    async def handle(self, method: Method) -> None:
        try:
            if method.single is not None:
                await self._handle_single(method.single)
                return
            assert method.stream
            await method.stream(self)
        except StatusError as error:
            self.error = error
        finally:
            self.requests_out.close()
            self.responses_in.close()

    async def _handle_single(self, handler: SingleHandler) -> None:
        request = await self.receive()
        assert request is not None
        answer = handler(request, self)
        if isinstance(answer, bytes):
            await self.send(answer)
        elif isinstance(answer, Following):
            left = answer.begin(self)
            try:
                await self.stopped.wait()
            finally:
                left()
            if self.why is not None:
                raise self.why
        else:
            await answer(self)


class DirectClientCall:
    def __init__(self, call: DirectCall) -> None:
        self._call = call

    async def send(self, message: Buffer | Sequence[Buffer]) -> None:
        try:
            await self._call.requests_in.send(joined(message))
        except trio.BrokenResourceError:
            raise self._call.error or StatusError("the call has ended") from None

    async def done_sending(self) -> None:
        await self._call.requests_in.aclose()

    async def receive(self) -> bytes | None:
        try:
            return await self._call.responses_out.receive()
        except trio.EndOfChannel:
            if self._call.error is not None:
                raise self._call.error from None
            return None


class DirectChannel:
    """A `Channel` onto these services; counts calls by path."""

    def __init__(self, *services: Service) -> None:
        self._methods = {m.path: m for service in services for m in service.methods}
        self.calls: dict[str, int] = {}

    async def unary(
        self,
        path: str,
        request: Buffer,
        *,
        metadata: Metadata | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        await trio.lowlevel.checkpoint()
        method = self._find(path)
        assert method.unary
        answer = method.unary(bytes(request), DirectContext(path, metadata))
        return await answer if isinstance(answer, Awaitable) else answer

    @asynccontextmanager
    async def stream(
        self, path: str, *, metadata: Metadata | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[DirectClientCall]:
        method = self._find(path)
        call = DirectCall(path, metadata)
        failed: BaseException | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call.handle, method)
            try:
                yield DirectClientCall(call)
            except (Exception, GeneratorExit) as error:  # raised below: no nursery to wrap it
                failed = error
            nursery.cancel_scope.cancel()
        if failed is not None:
            raise failed

    def _find(self, path: str) -> Method:
        self.calls[path] = self.calls.get(path, 0) + 1
        if path not in self._methods:
            raise UnimplementedError(f"{path} is not served")
        return self._methods[path]
