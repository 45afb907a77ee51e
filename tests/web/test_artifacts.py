"""The HTTP cache protocol, through a real server."""

import hashlib
import os
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
import trio

from builder.base.digest import Digest, digest_of
from builder.base.errors import ResourceExhaustedError
from builder.net.listeners import open_listeners
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from builder.web import artifacts
from builder.web.artifacts import MOST_OPAQUE_BYTES, Artifacts, Shelf
from builder.web.serving import OurConfig, serve_app

MIB = 1024 * 1024
H = "ab" * 32


@pytest.fixture
async def blobs() -> MemoryBlobStore:
    return MemoryBlobStore(8 * MIB)


@pytest.fixture
async def client(blobs: MemoryBlobStore, nursery: trio.Nursery) -> AsyncIterator[httpx.AsyncClient]:
    shelves = {"own": Shelf(MemoryBlobStore(8 * MIB), MemoryRecords(MIB))}
    others = Shelf(blobs, MemoryRecords(MIB))

    def admit(instance: str, uploads: Sequence[Digest]) -> None:
        if instance == "bounded" and sum(one.size_bytes for one in uploads) > 1000:
            raise ResourceExhaustedError("enough")

    entries: dict[str, set[Digest]] = {}

    def admit_entry(instance: str, name: Digest, _size_bytes: int) -> None:
        entries.setdefault(instance, set()).add(name)
        if instance == "few" and len(entries[instance]) > 2:
            raise ResourceExhaustedError("enough")

    app = Artifacts(lambda one: shelves.get(one, others), admit, admit_entry).app()
    [listener] = await open_listeners("127.0.0.1:0")
    await nursery.start(serve_app, app, [listener])
    async with httpx.AsyncClient(base_url=f"http://{listener.address}", timeout=60) as client:
        yield client
    nursery.cancel_scope.cancel()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 5000, MIB + 1, 3 * MIB])
@pytest.mark.parametrize("prefix", ["", "/some/where"])
async def test_blobs_go_in_and_come_out(client: httpx.AsyncClient, size: int, prefix: str) -> None:
    """PUT, HEAD and GET of a blob, with and without a prefix."""
    data = os.urandom(size)
    url = f"{prefix}/cas/{sha(data)}"
    if size:
        assert (await client.get(url)).status_code == 404
        assert (await client.head(url)).status_code == 404
    assert (await client.put(url, content=data)).status_code == 204
    assert (await client.put(url, content=data)).status_code == 204
    answer = await client.get(url)
    assert (answer.status_code, answer.content) == (200, data)
    head = await client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(size)


async def test_a_prefix_is_an_instance(client: httpx.AsyncClient) -> None:
    """One with storage of its own shares nothing with the others, neither blobs nor entries."""
    data = os.urandom(500)
    for name in (f"cas/{sha(data)}", f"ac/{H}"):
        assert (await client.put(f"/own/{name}", content=data)).status_code == 204
        assert (await client.get(f"/own/{name}")).content == data
        for prefix in ("", "/other", "/own/deeper"):
            assert (await client.get(f"{prefix}/{name}")).status_code == 404


@pytest.mark.parametrize("size", [1001, 20_000])
async def test_what_an_instance_may_hold_is_bounded(client: httpx.AsyncClient, size: int) -> None:
    """Its upload is refused as one without room is, and nothing of it is stored."""
    data = os.urandom(size)
    for name in (f"cas/{sha(data)}", f"ac/{H}"):
        answer = await client.put(f"/bounded/{name}", content=data)
        assert (answer.status_code, answer.text) == (507, "enough\n")
        assert (await client.get(f"/bounded/{name}")).status_code == 404
    assert (await client.put(f"/other/cas/{sha(data)}", content=data)).status_code == 204


async def test_blobs_are_shared_with_the_service(
    client: httpx.AsyncClient, blobs: MemoryBlobStore
) -> None:
    """What gRPC clients stored is there over HTTP, and the other way round."""
    await blobs.put(digest_of(b"from gRPC"), b"from gRPC")
    assert (await client.get(f"/cas/{sha(b'from gRPC')}")).content == b"from gRPC"
    await client.put(f"/cas/{sha(b'from HTTP')}", content=b"from HTTP")
    assert await blobs.get(digest_of(b"from HTTP")) == b"from HTTP"


@pytest.mark.parametrize("size", [10, 2 * MIB])
async def test_blobs_are_verified(client: httpx.AsyncClient, size: int) -> None:
    """Bytes that do not have the hash are refused and not stored."""
    answer = await client.put(f"/cas/{H}", content=os.urandom(size))
    assert answer.status_code == 400
    assert "not those of" in answer.text
    assert (await client.get(f"/cas/{H}")).status_code == 404


@pytest.mark.parametrize("size", [0, 10, 2 * MIB])
async def test_entries_are_opaque(client: httpx.AsyncClient, size: int) -> None:
    """Any bytes may be stored under /ac/, replaced, and are apart by prefix."""
    data = b"\xff" * size
    assert (await client.get(f"/ac/{H}")).status_code == 404
    assert (await client.put(f"/ac/{H}", content=data)).status_code == 204
    assert (await client.get(f"/ac/{H}")).content == data
    assert (await client.head(f"/ac/{H}")).headers["content-length"] == str(size)
    assert (await client.get(f"/cc/ac/{H}")).status_code == 404
    assert (await client.put(f"/ac/{H}", content=b"new")).status_code == 204
    assert (await client.get(f"/ac/{H}")).content == b"new"


async def test_a_body_without_length_is_taken(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunked body is stored, as an entry and as a blob, if it is not too large to be kept until
    its end; then it is refused, and its length is asked for."""

    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    for name in (f"/ac/{H}", f"/cas/{sha(b'onetwo')}"):
        assert (await client.put(name, content=body())).status_code == 204
        assert (await client.get(name)).content == b"onetwo"
    assert (await client.put(f"/cas/{H}", content=body())).status_code == 400
    monkeypatch.setattr(artifacts, "MOST_OPAQUE_BYTES", 5)
    answer = await client.put(f"/cas/{sha(b'onetwo')}", content=body())
    assert answer.status_code == 411
    assert "send Content-Length" in answer.text


@pytest.mark.parametrize("size", [1000, 2 * MIB])
async def test_a_part_of_a_blob(client: httpx.AsyncClient, size: int) -> None:
    """Who was interrupted goes on where it was."""
    data = os.urandom(size)
    for url in (f"/cas/{sha(data)}", f"/ac/{H}"):
        await client.put(url, content=data)
        whole = await client.get(url)
        assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
        for asked, start, stop in (
            ("bytes=10-", 10, size),
            ("bytes=0-0", 0, 1),
            ("bytes=5-99999999", 5, size),
            ("bytes=-7", size - 7, size),
        ):
            answer = await client.get(url, headers={"range": asked})
            assert (answer.status_code, answer.content) == (206, data[start:stop])
            assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        beyond = await client.get(url, headers={"range": f"bytes={size}-"})
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
        head = await client.head(url, headers={"range": "bytes=10-"})
        assert (head.status_code, head.headers["content-length"]) == (200, str(size))


async def test_a_result_is_a_miss_when_an_output_has_gone(
    client: httpx.AsyncClient, blobs: MemoryBlobStore
) -> None:
    """Also of what a tree names; a client that builds without the bytes would fail again and
    again."""
    file, below, said = b"a file", b"a file in a tree", b"said"
    tree = pb.Tree(root=pb.Directory(files=[pb.FileNode(digest=to_proto(digest_of(below)))]))
    result = pb.ActionResult(
        output_files=[pb.OutputFile(path="a", digest=to_proto(digest_of(file)))],
        output_directories=[
            pb.OutputDirectory(tree_digest=to_proto(digest_of(tree.SerializeToString())))
        ],
        stdout_digest=to_proto(digest_of(said)),
    ).SerializeToString()
    await client.put(f"/ac/{H}", content=result)
    for data in (file, tree.SerializeToString(), said, below):
        assert (await client.get(f"/ac/{H}")).status_code == 404
        assert (await client.head(f"/ac/{H}")).status_code == 404
        await blobs.put(digest_of(data), data)
    assert (await client.get(f"/ac/{H}")).content == result
    assert (await client.head(f"/ac/{H}")).status_code == 200


@pytest.mark.parametrize(
    "url", ["/cas/xyz", f"/cas/{H[:-1]}", f"/cas/{H.upper()}", f"/cas/{H}00", "/ac/xyz", "/ac/.."]
)
async def test_wrong_names(client: httpx.AsyncClient, url: str) -> None:
    """A name that is no hash is a bad request or no place at all, never stored."""
    assert (await client.put(url, content=b"x")).status_code in (400, 404)
    assert (await client.get(url)).status_code in (400, 404)


async def test_other_methods_and_places(client: httpx.AsyncClient) -> None:
    """DELETE is not allowed; other paths are not there."""
    assert (await client.delete(f"/cas/{H}")).status_code == 405
    assert (await client.get("/")).status_code == 404


async def test_no_room_is_507(client: httpx.AsyncClient) -> None:
    """When the store is full of promises, the client is told so."""
    first, second = os.urandom(7 * MIB + 1), os.urandom(MIB)
    assert (await client.put(f"/cas/{sha(first)}", content=first)).status_code == 204
    answer = await client.put(f"/cas/{sha(second)}", content=second)
    assert answer.status_code == 507
    assert "promised" in answer.text


async def test_too_large_an_entry_is_413(client: httpx.AsyncClient) -> None:
    """An entry that would not be gathered in memory is refused by its length alone."""
    address = client.base_url
    stream = await trio.open_tcp_stream(str(address.host), address.port or 0)
    async with stream:
        head = f"PUT /ac/{H} HTTP/1.1\r\nHost: x\r\nContent-Length: {MOST_OPAQUE_BYTES + 1}\r\n\r\n"
        await stream.send_all(head.encode())
        with trio.fail_after(60):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 413")


async def test_entries_may_be_bounded(client: httpx.AsyncClient) -> None:
    """By their names, of whatever length and with the same bytes; what was kept stays."""
    names = ["0" * 32, "0" * 64, "0" * 128]
    statuses = [(await client.put(f"/few/ac/{name}", content=b"x")).status_code for name in names]
    assert statuses == [204, 204, 507]
    assert (await client.get(f"/few/ac/{names[0]}")).content == b"x"
    assert (await client.put(f"/many/ac/{names[2]}", content=b"x")).status_code == 204


def test_a_pause_between_two_actions_ends_no_connection() -> None:
    """Build tools keep their connections to a cache."""
    assert OurConfig(None).keep_alive_timeout >= 60
