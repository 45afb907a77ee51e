"""Assets from servers of other kinds: HTTPS, and a git server that gives single commits."""

import functools
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from builder.base.digest import Digest, digest_of
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.assets import FetchPolicy
from tests.net.certificates import Certificates, make
from tests.server.conftest import Start
from tests.server.test_assets import DATA, UNAVAILABLE, git, serve, sri


@contextmanager
def answering(server: ThreadingHTTPServer) -> Iterator[str]:
    """While it serves; host and port."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Not on the test's stderr."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_file_over_https(
    start: Start,
    foreign: SimpleNamespace,
    tmp_path: Path,
    certificates: Certificates,
    trusted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a server whose authority this machine trusts; from another the answer says why not."""
    (tmp_path / "file").write_bytes(DATA)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.folder / "ca.pem"))
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))
    )
    context = certificates.server()
    context.set_alpn_protocols(["http/1.1"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    client = await serve(start, foreign, FetchPolicy(most_s=30.0))
    with answering(server) as address:
        answer = await client.blob(f"https://{address}/file", qualifiers=sri(DATA))
    if trusted:
        assert answer.status.code == 0, answer
        assert await client.blobs.get(digest_of(DATA)) == DATA
    else:
        assert answer.status.code == UNAVAILABLE
        assert "certificate verify failed" in answer.status.message


class GitBackend(BaseHTTPRequestHandler):
    """git's own server, as CGI; `said` keeps what clients sent to it."""

    root: Path
    said: list[bytes]

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.said.append(body)
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "HOME": str(self.root),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], env=environment, input=body, stdout=subprocess.PIPE, check=True
        )
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)

    def log_message(self, *_: object) -> None:
        """Not on the test's stderr."""


async def test_one_commit_without_its_history(
    start: Start, foreign: SimpleNamespace, tmp_path: Path
) -> None:
    """A server that gives single commits is asked for that one, one deep, and for nothing else."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    work = tmp_path / "repo"
    work.mkdir()
    git(work, "init", "--quiet", ".")
    commits = []
    for text in ("first\n", "second\n", "third\n"):
        (work / "file").write_text(text)
        git(work, "add", ".")
        git(work, "commit", "--quiet", "-m", text)
        commits.append(git(work, "rev-parse", "HEAD"))
    said: list[bytes] = []
    handler = type("Handler", (GitBackend,), {"root": tmp_path, "said": said})
    client = await serve(start, foreign, FetchPolicy(most_s=30.0))
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as address:
        with trio.fail_after(60):
            answer = await client.tree(f"http://{address}/repo/.git", vcs_commit=commits[1])
    assert answer.status.code == 0, answer
    named = answer.root_directory_digest
    root = pb.Directory.FromString(await client.blobs.get(Digest(named.hash, named.size_bytes)))
    assert [one.digest.hash for one in root.files] == [digest_of(b"second\n").hash]
    wanted = [body for body in said if b"want " in body]
    assert len(wanted) == 1
    assert f"want {commits[1]}".encode() in wanted[0]
    assert b"deepen 1" in wanted[0]
    assert not any(commit.encode() in wanted[0] for commit in (commits[0], commits[2]))
