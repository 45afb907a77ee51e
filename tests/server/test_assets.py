"""Assets pushed and fetched by a foreign client, from a local HTTP server and a git repository."""

import functools
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import trio

from builder.base.digest import Digest, digest_of
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server import fetching
from builder.server.asset_index import AssetIndex
from builder.server.assets import AssetServices, FetchPolicy
from builder.server.fetching import Bounds
from builder.server.instances import Instances
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from tests.server.conftest import Start, ask, refused

MIB = 1024 * 1024
DATA = b"an asset of some size" * 20_000
NOT_FOUND, ABORTED, DEADLINE, DENIED, EXHAUSTED, UNAVAILABLE = 5, 10, 4, 7, 8, 14


class Server(ThreadingHTTPServer):
    """Files of a folder, and a few answers of another kind."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, str | None]] = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("X-Token")))
        if self.path == "/moved":
            self._head(302, ("Location", "/file"))
        elif self.path == "/away":
            self._head(302, ("Location", f"http://localhost:{self.server.server_port}/file"))
        elif self.path == "/secret":
            self._head(403)
        elif self.path == "/broken":
            self._head(500)
        elif self.path == "/silent":
            self.rfile.read(1)  # until the client has gone
        else:
            super().do_GET()

    def _head(self, status: int, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", "0")):
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not on the test's stderr."""


@pytest.fixture
def http(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "file").write_bytes(DATA)
    with Server(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Client:
    def __init__(self, f: SimpleNamespace, channel: grpc.Channel, blobs: MemoryBlobStore) -> None:
        self.f, self.blobs = f, blobs
        self.fetch = f.asset_grpc.FetchStub(channel)
        self.push = f.asset_grpc.PushStub(channel)
        self.now_ns = 10**18

    def qualifiers(self, given: dict[str, str]) -> list[Any]:
        return [self.f.asset.Qualifier(name=n, value=v) for n, v in given.items()]

    async def blob(self, *uris: str, **more: Any) -> Any:
        qualifiers = self.qualifiers(more.pop("qualifiers", {}))
        request = self.f.asset.FetchBlobRequest(uris=uris, qualifiers=qualifiers, **more)
        return await ask(self.fetch.FetchBlob, request)

    async def tree(self, *uris: str, **qualifiers: str) -> Any:
        given = self.qualifiers({name.replace("_", "."): v for name, v in qualifiers.items()})
        request = self.f.asset.FetchDirectoryRequest(uris=uris, qualifiers=given)
        return await ask(self.fetch.FetchDirectory, request)

    def digest(self, data: bytes) -> Any:
        return self.f.re.Digest(hash=digest_of(data).hash, size_bytes=len(data))

    async def put(self, data: bytes) -> Any:
        await self.blobs.put(digest_of(data), data)
        return self.digest(data)


@pytest.fixture
async def client(start: Start, foreign: SimpleNamespace) -> Client:
    return await serve(start, foreign, FetchPolicy(most_s=5.0))


async def serve(start: Start, foreign: SimpleNamespace, policy: FetchPolicy) -> Client:
    blobs = MemoryBlobStore(32 * MIB, lease_s=0.0, now=itertools.count(0, 100).__next__)
    index = AssetIndex(blobs, MemoryRecords(MIB))
    functions = ("sha256", "blake3")
    made: list[Client] = []
    services = AssetServices(
        blobs, index, Instances(), lambda: made[0].now_ns, policy, functions
    ).services()
    made.append(Client(foreign, await start(*services), blobs))
    return made[0]


def sri(data: bytes, algorithm: str = "sha256") -> dict[str, str]:
    digest = hashlib.new(algorithm, data).digest()
    return {"checksum.sri": f"{algorithm}-{b64encode(digest).decode()}"}


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
async def test_a_file_is_fetched_once(client: Client, http: Server, algorithm: str) -> None:
    """Verified by its checksum, stored, and known the next time."""
    for _ in range(2):
        answer = await client.blob(f"{http.url}/file", qualifiers=sri(DATA, algorithm))
        assert answer.status.code == 0, answer
        assert answer.blob_digest == client.digest(DATA)
        assert answer.uri == f"{http.url}/file"
        assert await client.blobs.get(digest_of(DATA)) == DATA
    assert len(http.asked) == 1


async def test_it_is_named_by_the_clients_digest_function(client: Client, http: Server) -> None:
    answer = await client.blob(f"{http.url}/file", digest_function=9)
    wanted = digest_of(DATA, "blake3")
    assert (answer.blob_digest.hash, answer.digest_function) == (wanted.hash, 9)
    assert await client.blobs.get(wanted) == DATA


async def test_uris_are_tried_in_their_order(client: Client, http: Server) -> None:
    """The first that works counts, redirects are followed, and the answer says which it was."""
    dead = "http://127.0.0.1:1/file"
    answer = await client.blob(dead, f"{http.url}/none", f"{http.url}/moved", f"{http.url}/file")
    assert (answer.status.code, answer.uri) == (0, f"{http.url}/moved")
    assert [path for path, _ in http.asked] == ["/none", "/moved", "/file"]


@pytest.mark.parametrize(
    ("path", "code"),
    [("none", NOT_FOUND), ("secret", DENIED), ("broken", UNAVAILABLE), ("silent", DEADLINE)],
)
async def test_what_cannot_be_fetched(client: Client, http: Server, path: str, code: int) -> None:
    """The call is fine, its response's status says what is wrong."""
    timeout = {"timeout": {"nanos": 300_000_000}} if path == "silent" else {}
    answer = await client.blob(f"{http.url}/{path}", **timeout)
    assert answer.status.code == code, answer
    assert not answer.HasField("blob_digest")
    assert answer.status.message


async def test_another_file_than_wanted(client: Client, http: Server) -> None:
    """ABORTED, with the hash that was found; and nothing is stored."""
    answer = await client.blob(f"{http.url}/file", qualifiers=sri(b"something else"))
    assert answer.status.code == ABORTED
    assert hashlib.sha256(DATA).hexdigest() in answer.status.message
    assert await client.blobs.find_missing([digest_of(DATA)])


async def test_headers_are_sent_and_are_no_part_of_the_identity(
    client: Client, http: Server
) -> None:
    """Both ways of giving them; another token finds the same asset."""
    url = f"{http.url}/file"
    await client.blob(url, qualifiers={"http_header:X-Token": "one"})
    auth = json.dumps({f"{http.url}/moved": {"X-Token": "two"}})
    await client.blob(f"{http.url}/moved", qualifiers={"bazel.auth_headers": auth})
    assert http.asked[:2] == [("/file", "one"), ("/moved", "two")]
    await client.blob(url, qualifiers={"http_header:X-Token": "three"})
    assert len(http.asked) == 3


async def test_a_header_for_one_of_the_addresses(client: Client, http: Server) -> None:
    """By its place in the request; the others do not see it."""
    uris = [f"{http.url}/none", f"{http.url}/file"]
    await client.blob(*uris, qualifiers={"http_header_url:1:X-Token": "one"})
    assert http.asked == [("/none", None), ("/file", "one")]
    await client.blob(uris[1])
    assert len(http.asked) == 2
    for wrong in ("2:X-Token", "-1:X-Token", "x:X-Token", "0:", "", "0", "9" * 99 + ":X"):
        with pytest.raises(grpc.RpcError) as caught:
            await client.blob(uris[0], qualifiers={f"http_header_url:{wrong}": "one"})
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_qualifiers_that_are_not_supported(client: Client, http: Server) -> None:
    """INVALID_ARGUMENT with a BadRequest, as the API has it."""
    request = client.f.asset.FetchBlobRequest(
        uris=[f"{http.url}/file"], qualifiers=client.qualifiers({"colour": "blue"})
    )
    with pytest.raises(grpc.RpcError) as caught:
        await ask(client.fetch.FetchBlob, request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailer = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    detail = client.f.details.BadRequest()
    assert client.f.status.Status.FromString(trailer).details[0].Unpack(detail)
    [violation] = detail.field_violations
    assert violation.field == "qualifiers.name"
    assert violation.description == '"colour" not supported'


@pytest.mark.parametrize("value", ["", "md5-AAAA", "sha256-AAAA", "sha256-***", "sha256"])
async def test_checksums_that_are_none(client: Client, http: Server, value: str) -> None:
    if not value:
        assert (await client.blob(f"{http.url}/file", qualifiers={"checksum.sri": ""})).uri
        return
    request = client.f.asset.FetchBlobRequest(
        uris=[f"{http.url}/file"], qualifiers=client.qualifiers({"checksum.sri": value})
    )
    assert (await refused(client.fetch.FetchBlob, request))[0] == "INVALID_ARGUMENT"


async def test_only_allowed_hosts_are_asked(
    start: Start, foreign: SimpleNamespace, http: Server
) -> None:
    """A redirect to another host is no way around; other schemes are never tried."""
    client = await serve(start, foreign, FetchPolicy(bounds=Bounds(hosts=("127.0.0.1",))))
    local = f"http://localhost:{http.server_port}/file"
    assert (await client.blob(local)).status.code == DENIED
    assert (await client.blob(f"{http.url}/away")).status.code == DENIED
    assert (await client.blob(f"{http.url}/file")).status.code == 0
    assert (await client.blob("file:///etc/passwd")).status.code == NOT_FOUND
    assert [path for path, _ in http.asked] == ["/away", "/file"]


@pytest.mark.parametrize(
    ("address", "confides"),
    [
        ("169.254.169.254", True),
        ("::ffff:169.254.169.254", True),
        ("fe80::1%eth0", True),
        ("fd00:ec2::254", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("2001:db8::1", False),
    ],
)
def test_where_machines_are_told_their_secrets(address: str, confides: bool) -> None:
    assert fetching.is_confiding(address) is confides


async def test_what_a_machine_is_told_is_not_given_on(
    start: Start, foreign: SimpleNamespace, http: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what name ever it is asked, unless the configuration has that name."""
    monkeypatch.setattr(fetching, "is_confiding", lambda address: address == "127.0.0.1")
    local = f"http://localhost:{http.server_port}/file"
    client = await serve(start, foreign, FetchPolicy())
    status = (await client.blob(local)).status
    assert status.code == DENIED
    assert "localhost is at 127.0.0.1" in status.message
    assert (await client.blob(f"{http.url}/away")).status.code == DENIED
    named = await serve(start, foreign, FetchPolicy(bounds=Bounds(hosts=("localhost",))))
    assert (await named.blob(local)).status.code == 0


async def test_limits(start: Start, foreign: SimpleNamespace, http: Server) -> None:
    """Too large is RESOURCE_EXHAUSTED; where fetching is off, only pushed assets are found."""
    small = await serve(start, foreign, FetchPolicy(bounds=Bounds(most_bytes=1000)))
    assert (await small.blob(f"{http.url}/file")).status.code == EXHAUSTED
    off = await serve(start, foreign, FetchPolicy(enabled=False))
    assert (await off.blob(f"{http.url}/file")).status.code == NOT_FOUND


async def test_a_pushed_blob_is_found_by_every_uri(client: Client) -> None:
    """With the same qualifiers, whatever they are; until it expires."""
    digest = await client.put(b"pushed")
    qualifiers = client.qualifiers({"colour": "blue", "size": "L"})
    push = client.f.asset.PushBlobRequest(
        uris=["urn:one", "urn:two"], qualifiers=qualifiers, blob_digest=digest
    )
    push.expire_at.FromNanoseconds(client.now_ns + 5)
    await ask(client.push.PushBlob, push)
    for uri in ("urn:one", "urn:two"):
        answer = await client.blob(uri, qualifiers={"size": "L", "colour": "blue"})
        assert answer.blob_digest == digest
        assert answer.expires_at.ToNanoseconds() == client.now_ns + 5
    assert (await client.blob("urn:one", qualifiers={"size": "L"})).status.code == NOT_FOUND
    old = await client.blob(
        "urn:one",
        qualifiers={"size": "L", "colour": "blue"},
        oldest_content_accepted={"seconds": client.now_ns // 10**9 + 1},
    )
    assert old.status.code == NOT_FOUND
    client.now_ns += 5
    again = await client.blob("urn:one", qualifiers={"size": "L", "colour": "blue"})
    assert again.status.code == NOT_FOUND


@pytest.mark.parametrize(("seconds", "nanos", "found"), [(2**62, 0, True), (5, -5, False)])
async def test_a_time_of_expiry_beyond_all_calendars(
    client: Client, seconds: int, nanos: int, found: bool
) -> None:
    """Counts as the nearest that there is."""
    digest = await client.put(b"pushed")
    push = client.f.asset.PushBlobRequest(uris=["urn:one"], blob_digest=digest)
    push.expire_at.seconds, push.expire_at.nanos = seconds, nanos
    await ask(client.push.PushBlob, push)
    answer = await client.blob("urn:one")
    assert (answer.status.code == 0) == found
    late = await client.blob("urn:one", oldest_content_accepted={"seconds": seconds})
    assert (late.status.code == 0) == (found and seconds == 5)


async def test_what_is_pushed_has_to_be_there(client: Client) -> None:
    """FAILED_PRECONDITION for an absent blob, reference or entry of a directory."""
    here = await client.put(b"here")
    gone = client.digest(b"gone")
    push = client.f.asset.PushBlobRequest
    for request in (
        push(uris=["urn:a"], blob_digest=gone),
        push(uris=["urn:a"], blob_digest=here, references_blobs=[gone]),
        push(uris=["urn:a"], blob_digest=here, references_directories=[gone]),
    ):
        assert (await refused(client.push.PushBlob, request))[0] == "FAILED_PRECONDITION"
    root = pb.Directory()
    root.files.add(name="f").digest.hash = gone.hash
    root.files[0].digest.size_bytes = gone.size_bytes
    directory = client.f.asset.PushDirectoryRequest(
        uris=["urn:a"], root_directory_digest=await client.put(root.SerializeToString())
    )
    assert (await refused(client.push.PushDirectory, directory))[0] == "FAILED_PRECONDITION"
    assert (await refused(client.push.PushBlob, push(blob_digest=here)))[0] == "INVALID_ARGUMENT"


async def test_an_asset_whose_references_went_is_not_found(client: Client) -> None:
    """And while it is asked for, everything that it references is used, so it stays."""
    main, extra = await client.put(b"m" * MIB), await client.put(b"e" * MIB)
    push = client.f.asset.PushBlobRequest(
        uris=["urn:a"], blob_digest=main, references_blobs=[extra]
    )
    await ask(client.push.PushBlob, push)
    for n in range(40):  # more than the store holds; it forgets what was not used for longest
        await client.put(bytes([n]) * MIB)
        if n < 35:
            assert (await client.blob("urn:a")).status.code == 0
    assert await client.blobs.find_missing([digest_of(b"e" * MIB)]) == []
    for n in range(40):
        await client.put(bytes([100 + n]) * MIB)
    assert (await client.blob("urn:a")).status.code == NOT_FOUND


def git(folder: Path, *arguments: str) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.com",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.com",
    }
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> str:
    """The commit before the last of `repo`, which the HTTP server has as plain files."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    work = tmp_path / "repo"
    (work / "deep").mkdir(parents=True)
    git(work, "init", "--quiet", ".")
    (work / "deep" / "file").write_text("first\n")
    (work / "run").write_text("#!/bin/sh\n")
    (work / "run").chmod(0o755)
    (work / "link").symlink_to("deep/file")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", "one")
    commit = git(work, "rev-parse", "HEAD")
    (work / "deep" / "file").write_text("second\n")
    git(work, "commit", "--quiet", "-am", "two")
    git(work, "update-server-info")
    return commit


async def test_a_tree_of_git_by_commit(client: Client, http: Server, repository: str) -> None:
    """Files, executables and links of exactly that commit; the next time git is not asked."""
    url = f"{http.url}/repo/.git"
    with trio.fail_after(60):
        answer = await client.tree(url, vcs_commit=repository)
    assert answer.status.code == 0, answer
    named = answer.root_directory_digest
    root = pb.Directory.FromString(await client.blobs.get(Digest(named.hash, named.size_bytes)))
    assert [(one.name, one.is_executable) for one in root.files] == [("run", True)]
    assert [(one.name, one.target) for one in root.symlinks] == [("link", "deep/file")]
    [deep] = root.directories
    below = pb.Directory.FromString(
        await client.blobs.get(Digest(deep.digest.hash, deep.digest.size_bytes))
    )
    assert below.files[0].digest.hash == digest_of(b"first\n").hash
    asked = len(http.asked)
    assert (await client.tree(url, vcs_commit=repository)).root_directory_digest == named
    assert len(http.asked) == asked


async def test_trees_that_cannot_be_fetched(client: Client, http: Server, repository: str) -> None:
    """An unknown commit, an unknown repository, a commit that is none, and no commit."""
    url = f"{http.url}/repo/.git"
    assert (await client.tree(url, vcs_commit="0" * 40)).status.code == NOT_FOUND
    assert (await client.tree(f"{http.url}/no", vcs_commit=repository)).status.code == UNAVAILABLE
    for qualifiers in ({"vcs.commit": "main"}, {}):
        request = client.f.asset.FetchDirectoryRequest(
            uris=[url], qualifiers=client.qualifiers(qualifiers)
        )
        assert (await refused(client.fetch.FetchDirectory, request))[0] == "INVALID_ARGUMENT"
