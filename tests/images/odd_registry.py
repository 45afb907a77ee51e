"""A registry that does what a real one would not: breaks off, lies, and asks for tokens."""

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.images.pictures import Picture


@dataclass
class Odd:
    """`blobs` and `manifests` by digest or tag. It breaks off each answer after `breaks_after`
    bytes of it, knows ranges or not, and wants `token` where there is one."""

    host: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    breaks_after: int = 0
    ranges: bool = True
    token: str = ""
    account: tuple[str, str] | None = None  # who is given the token, or let in without one
    realm: str = ""
    answers_503: int = 0
    redirect: str = ""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def has(self, one: Picture, tag: str = "1") -> None:
        self.blobs |= one.blobs
        self.manifests |= {tag: one.manifest, one.digest: one.manifest}

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


def basic(account: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(account).encode()).decode()


class Handler(BaseHTTPRequestHandler):
    odd: Odd

    def do_GET(self) -> None:
        odd = self.odd
        odd.requests.append((self.path, dict(self.headers)))
        path = urlsplit(self.path).path
        if path == "/token":
            self._token()
        elif odd.answers_503:
            odd.answers_503 -= 1
            self._answer(503, b"")
        elif not self._may():
            self._ask()
        elif odd.redirect and "/blobs/" in path:
            self._answer(307, b"", {"Location": odd.redirect + path})
        else:
            kind, _, name = path.rpartition("/")
            shelf = odd.manifests if kind.endswith("/manifests") else odd.blobs
            self._send(shelf.get(name))

    def _may(self) -> bool:
        said = self.headers.get("Authorization")
        if self.odd.token:
            return said == f"Bearer {self.odd.token}"
        return self.odd.account is None or said == basic(self.odd.account)

    def _ask(self) -> None:
        realm = self.odd.realm or f"http://{self.odd.host}/token"
        asked = f'Bearer realm="{realm}",service="odd"' if self.odd.token else 'Basic realm="odd"'
        self._answer(401, b"", {"WWW-Authenticate": asked})

    def _token(self) -> None:
        account = self.odd.account
        wanted = parse_qs(urlsplit(self.path).query)
        if account is not None and self.headers.get("Authorization") != basic(account):
            self._answer(401, b"{}")
        elif wanted.get("service") != ["odd"] or "scope" not in wanted:
            self._answer(400, b"{}")
        else:
            self._answer(200, json.dumps({"access_token": self.odd.token}).encode())

    def _send(self, data: bytes | None) -> None:
        if data is None:
            self._answer(404, b"{}")
            return
        first = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
        start = int(first) if self.odd.ranges else 0
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        self._answer(206 if start else 200, data[start:], headers, self.odd.breaks_after)

    def _answer(
        self, status: int, data: bytes, headers: dict[str, str] | None = None, most: int = 0
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(data[:most] if most else data)
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its own name
        """Nothing: the requests are kept."""


@contextlib.contextmanager
def odd_registry(**more: object) -> Iterator[Odd]:
    odd = Odd(**more)  # type: ignore[arg-type]  # the test's own
    handler = type("OneHandler", (Handler,), {"odd": odd})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        odd.host = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield odd
        finally:
            server.shutdown()
            thread.join()
