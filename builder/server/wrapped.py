"""A call as somebody in between hands it on: what is not overridden is the call's own."""

from collections.abc import Callable, Sequence

from builder.net.rpc import Buffer, Call, Metadata, Peer


class Wrapped:
    """`net.rpc.Call` around another one."""

    def __init__(self, call: Call) -> None:
        self._call = call

    @property
    def path(self) -> str:
        return self._call.path

    @property
    def metadata(self) -> Metadata:
        return self._call.metadata

    @property
    def peer(self) -> Peer:
        return self._call.peer

    @property
    def deadline(self) -> float | None:
        return self._call.deadline

    async def receive(self) -> bytes | None:
        return await self._call.receive()

    async def receive_pieces(self) -> Sequence[Buffer] | None:
        return await self._call.receive_pieces()

    async def send(self, message: Buffer | Sequence[Buffer]) -> None:
        await self._call.send(message)

    async def each(self, heard: Callable[[bytes], None]) -> None:
        await self._call.each(heard)

    async def take(self, taken: Callable[[Sequence[Buffer]], bool]) -> None:
        await self._call.take(taken)

    def post(self, message: Buffer) -> None:
        self._call.post(message)

    def flush(self) -> None:
        self._call.flush()

    def stop(self, error: Exception) -> None:
        self._call.stop(error)
