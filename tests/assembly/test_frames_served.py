"""Compressed blobs through coordinators with composed storage, by grpcio's own messages."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest
import trio
import zstandard

from builder.base.digest import Digest, digest_of
from tests.assembly.independent import message
from tests.assembly.test_composition import coordinator

PACKAGE = "build.bazel.remote.execution.v2"
CAS = f"/{PACKAGE}.ContentAddressableStorage/"
BYTESTREAM = "/google.bytestream.ByteStream/"
ZSTD = 1
PIECE = 100_000
TEXT = b"".join(digest_of(b"%d" % at).hash.encode() for at in range(30_000))
BLOBS = (TEXT, TEXT[:200_000], TEXT[:5000])

MIRRORED = """
storage:
  blobs:
    tiered:
      near:
        existence_cache:
          store:
            mirrored:
              a: {{disk: {{path: {root}/a, max_size: 64MiB}}}}
              b: {{disk: {{path: {root}/b, max_size: 64MiB}}}}
      far: {{remote: {{address: "{address}"}}}}
"""
TIERED = """
storage:
  blobs:
    tiered:
      near: {{disk: {{path: {root}/blobs, max_size: 64MiB}}}}
      far: {{remote: {{address: "{address}"}}}}
      write: back
"""


def frames_of(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=5, write_checksum=True).compress(data)


class Client:
    """Calls of one connection, each waited for in a thread."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)

    def close(self) -> None:
        self._channel.close()

    def write(self, digest: Digest, frames: bytes) -> int:
        request = message("google.bytestream.WriteRequest")
        name = f"uploads/u/compressed-blobs/zstd/{digest.hash}/{digest.size_bytes}"

        def requests() -> Iterator[object]:
            for at in range(0, len(frames), PIECE):
                last = at + PIECE >= len(frames)
                piece = frames[at : at + PIECE]
                yield request(resource_name=name, write_offset=at, data=piece, finish_write=last)

        call = self._channel.stream_unary(
            f"{BYTESTREAM}Write",
            request_serializer=request.SerializeToString,
            response_deserializer=message("google.bytestream.WriteResponse").FromString,
        )
        committed: int = call(requests(), timeout=120).committed_size
        return committed

    def read(self, digest: Digest) -> bytes:
        request = message("google.bytestream.ReadRequest")
        call = self._channel.unary_stream(
            f"{BYTESTREAM}Read",
            request_serializer=request.SerializeToString,
            response_deserializer=message("google.bytestream.ReadResponse").FromString,
        )
        name = f"compressed-blobs/zstd/{digest.hash}/{digest.size_bytes}"
        return b"".join(one.data for one in call(request(resource_name=name), timeout=120))

    def batch_read(self, digest: Digest) -> tuple[int, bytes]:
        """(compressor, data)."""
        request = message(f"{PACKAGE}.BatchReadBlobsRequest")(acceptable_compressors=[ZSTD])
        request.digests.add(hash=digest.hash, size_bytes=digest.size_bytes)
        call = self._channel.unary_unary(
            f"{CAS}BatchReadBlobs",
            request_serializer=type(request).SerializeToString,
            response_deserializer=message(f"{PACKAGE}.BatchReadBlobsResponse").FromString,
        )
        (answer,) = call(request, timeout=120).responses
        assert answer.status.code == 0
        return answer.compressor, answer.data

    def batch_update(self, digest: Digest, frames: bytes) -> int:
        """The code of the blob's status."""
        request = message(f"{PACKAGE}.BatchUpdateBlobsRequest")()
        one = request.requests.add(data=frames, compressor=ZSTD)
        one.digest.hash, one.digest.size_bytes = digest.hash, digest.size_bytes
        call = self._channel.unary_unary(
            f"{CAS}BatchUpdateBlobs",
            request_serializer=type(request).SerializeToString,
            response_deserializer=message(f"{PACKAGE}.BatchUpdateBlobsResponse").FromString,
        )
        (answer,) = call(request, timeout=120).responses
        code: int = answer.status.code
        return code

    def missing(self, digest: Digest) -> bool:
        request = message(f"{PACKAGE}.FindMissingBlobsRequest")()
        request.blob_digests.add(hash=digest.hash, size_bytes=digest.size_bytes)
        call = self._channel.unary_unary(
            f"{CAS}FindMissingBlobs",
            request_serializer=type(request).SerializeToString,
            response_deserializer=message(f"{PACKAGE}.FindMissingBlobsResponse").FromString,
        )
        return len(call(request, timeout=120).missing_blob_digests) == 1


def upload(client: Client) -> None:
    large, middle, small = BLOBS
    for data in (large, middle):
        assert client.write(digest_of(data), frames_of(data)) == len(frames_of(data))
        assert client.write(digest_of(data), frames_of(data)) == -1
    assert client.batch_update(digest_of(small), frames_of(small)) == 0


def look(client: Client) -> None:
    """Each is given as it came, in a stream and in a batch."""
    for data in BLOBS:
        assert not client.missing(digest_of(data))
        assert client.read(digest_of(data)) == frames_of(data)
        assert client.batch_read(digest_of(data)) == (ZSTD, frames_of(data))


def lie(client: Client) -> None:
    """What does not give the blob is refused."""
    for data, wrong in ((TEXT[1:], frames_of(TEXT)), (TEXT[2:], frames_of(TEXT[2:])[:-9])):
        with pytest.raises(grpc.RpcError) as refused:
            client.write(digest_of(data), wrong)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert client.missing(digest_of(data))
    data = TEXT[3:5003]
    assert client.batch_update(digest_of(data), frames_of(data)[:-9]) == 3
    assert client.missing(digest_of(data))


@pytest.mark.parametrize("front", [MIRRORED, TIERED], ids=["mirrored", "tiered"])
async def test_the_frames_of_a_client_come_back_from_everywhere(tmp_path: Path, front: str) -> None:
    """From the service that took them, from the one behind it, and from a new one that has nothing
    near; and from that one's disk when the others are gone."""
    for name in ("far", "near", "fresh"):
        (tmp_path / name).mkdir()

    async def ask(address: str, *steps: object) -> None:
        client = Client(address)
        for step in steps:
            await trio.to_thread.run_sync(partial(step, client))  # type: ignore[arg-type]
        client.close()

    async with coordinator(tmp_path / "far", "") as far:
        async with coordinator(tmp_path / "near", front, address=far.reapi) as near:
            await ask(near.reapi, lie, upload, look)
        await ask(far.reapi, look)
        async with coordinator(tmp_path / "fresh", TIERED, address=far.reapi) as fresh:
            await ask(fresh.reapi, look)
            for server in far.servers:
                await server.drain(0.0)
            await ask(fresh.reapi, look)
