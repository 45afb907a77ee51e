"""A service that is asked to stop: what moves data comes to its end."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from builder.assembly import coordinator
from builder.assembly.coordinator import open_coordinator
from builder.base.digest import digest_of
from builder.base.errors import UnavailableError
from builder.config.kinds import Address
from builder.config.settings import Settings
from builder.net.channel import Channel
from builder.reapi.names import write_name
from builder.reapi.pb import bytestream_pb2 as pb

DATA = b"some bytes that come slowly"
ANY_PORT = Address("127.0.0.1", 0)


def settings(folder: Path) -> Settings:
    base = Settings(role="coordinator")
    return replace(
        base,
        coordinator=replace(base.coordinator, listen=ANY_PORT),
        reapi=replace(base.reapi, listen=ANY_PORT),
        store=replace(base.store, path=str(folder / "store")),
    )


async def test_an_upload_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who only waits for what happens is told meanwhile, and keeps nobody."""
    monkeypatch.setattr(coordinator, "DRAIN_S", 0.05)
    async with (
        open_coordinator(settings(tmp_path)) as made,
        Channel(made.reapi) as channel,
        channel.stream("/google.bytestream.ByteStream/Write") as upload,
        channel.stream("/grpc.health.v1.Health/Watch") as watch,
        trio.open_nursery() as nursery,
    ):
        made.ready()
        name = write_name("", digest_of(DATA), "u")
        await upload.send(pb.WriteRequest(resource_name=name, data=DATA[:5]).SerializeToString())
        await watch.send(b"")
        await watch.done_sending()
        with trio.fail_after(60):
            assert await watch.receive() is not None

            async def stop() -> None:
                await made.finish(120)
                await made.drain()

            nursery.start_soon(stop)
            await trio.sleep(0.3)  # more than others have
            rest = pb.WriteRequest(write_offset=5, data=DATA[5:], finish_write=True)
            await upload.send(rest.SerializeToString())
            answer = await upload.receive()
            assert answer is not None
            assert pb.WriteResponse.FromString(answer).committed_size == len(DATA)
            with pytest.raises(UnavailableError):
                while await watch.receive() is not None:
                    pass
