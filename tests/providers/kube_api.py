"""A small API server of Kubernetes: pods of any namespace, with the answers of the real one.

Shapes and status codes are those of the core v1 API: PodList with `metadata.continue`, Status
objects for errors, 409 AlreadyExists, 404 NotFound, a graceful deletion by `deletionTimestamp`.
"""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Cluster:
    """`pods` by (namespace, name). `refuse` answers every call until it is None again."""

    def __init__(self) -> None:
        self.pods: dict[tuple[str, str], dict[str, Any]] = {}
        self.token = "kube-token"
        self.refuse: tuple[int, str] | None = None
        self.quota = 1000
        self.graceful = False
        self.peers: set[str] = set()
        self.lock = threading.Lock()
        self.server = ""

    def create(self, namespace: str, pod: dict[str, Any]) -> tuple[int, object]:
        key = (namespace, pod["metadata"]["name"])
        if key in self.pods:
            return status(409, "AlreadyExists", f'pods "{key[1]}" already exists')
        if len(self.pods) >= self.quota:
            return status(403, "Forbidden", f'pods "{key[1]}" is forbidden: exceeded quota: build')
        if not pod["spec"]["containers"][0].get("image"):
            return status(422, "Invalid", "spec.containers[0].image: Required value")
        security = pod["spec"]["containers"][0].get("securityContext", {})
        if security.get("procMount") == "Unmasked" and pod["spec"].get("hostUsers") is not False:
            return status(422, "Invalid", "`hostUsers` must be false to use `Unmasked`")
        pod["status"] = {"phase": "Pending"}
        self.pods[key] = pod
        return 201, pod

    def delete(self, namespace: str, name: str) -> tuple[int, object]:
        pod = self.pods.get((namespace, name))
        if pod is None:
            return status(404, "NotFound", f'pods "{name}" not found')
        if self.graceful:
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        else:
            del self.pods[namespace, name]
        return 200, pod

    def list(self, namespace: str, query: dict[str, list[str]]) -> tuple[int, object]:
        name, _, value = query["labelSelector"][0].partition("=")
        found = [
            pod
            for (owner, _), pod in self.pods.items()
            if owner == namespace and pod["metadata"]["labels"].get(name) == value
        ]
        start = int(query.get("continue", ["0"])[0])
        end = start + min(2, int(query["limit"][0]))  # small pages, so that paging is used
        more = {"continue": str(end)} if end < len(found) else {}
        return 200, {"kind": "PodList", "metadata": more, "items": found[start:end]}


def status(code: int, reason: str, message: str) -> tuple[int, object]:
    body = {"kind": "Status", "status": "Failure", "reason": reason, "code": code}
    return code, {**body, "message": message}


def handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> tuple[int, object]:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length) or b"null")
            if isinstance(self.connection, ssl.SSLSocket):
                peer = self.connection.getpeercert() or {}
                cluster.peers |= {str(one) for one in peer.get("subjectAltName", ())}
            if cluster.refuse is not None:
                return status(cluster.refuse[0], "Refused", cluster.refuse[1])
            if self.headers.get("Authorization") != f"Bearer {cluster.token}":
                return status(401, "Unauthorized", "Unauthorized")
            url = urlsplit(self.path)
            words = url.path.strip("/").split("/")
            assert words[:3] == ["api", "v1", "namespaces"]
            assert words[4] == "pods"
            with cluster.lock:
                if self.command == "POST":
                    return cluster.create(words[3], body)
                if self.command == "DELETE":
                    return cluster.delete(words[3], words[5])
                return cluster.list(words[3], parse_qs(url.query))

        def do_GET(self) -> None:
            code, body = self.answer()
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serving(tls: ssl.SSLContext) -> Iterator[Cluster]:
    cluster = Cluster()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(cluster)) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        cluster.server = f"https://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield cluster
        finally:
            server.shutdown()
            thread.join()
