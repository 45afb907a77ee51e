"""A small Compute Engine: instances, operations, aggregated lists; and Google's token service.

Shapes are those of compute/v1: an insert answers with an Operation that is RUNNING, its `wait`
with one that is DONE and, where there is no capacity, has `error.errors[].code`; errors of the
API are `{"error": {"code", "message", "errors": [{"reason"}]}}`. Every request, and every answer of
ours, is held against what Google's discovery document says of it (compute_schema.json).
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jsonschema import Draft202012Validator

Answer = tuple[int, object]
RECORDED = json.loads(Path(__file__).with_name("compute_schema.json").read_text())
ANSWERS = {
    "instances.insert": "Operation",
    "instances.aggregatedList": "InstanceAggregatedList",
    "instances.delete": "Operation",
    "instances.get": "Instance",
    "zoneOperations.wait": "Operation",
}


def recorded_method(verb: str, path: str) -> tuple[str, Any]:
    """The method's name and what is recorded of it."""
    for name, method in RECORDED["methods"].items():
        pattern = re.sub(r"\{[a-z]+\}", "[^/]+", method["path"])
        if verb == method["httpMethod"] and re.fullmatch(pattern, path):
            return name, method
    raise AssertionError(f"Google has no {verb} {path}")


def hold_against(resource: str, value: object) -> None:
    """Every field is there, by this name, and has the right type."""
    schema = {"$ref": f"#/$defs/{resource}", "$defs": RECORDED["$defs"]}
    Draft202012Validator(schema).validate(value)


class Compute:
    def __init__(self) -> None:
        self.instances: dict[str, dict[str, Any]] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.exhausted: dict[str, str] = {}  # "zone/type" or "type": the operation's error code
        self.spotless = False  # no zone has spot machines
        self.asked: list[str] = []
        self.together = 1  # operations are done when so many were asked for
        self.refuse: tuple[int, str, str] | None = None
        self.grants: list[dict[str, list[str]]] = []
        self.templates: list[str] = []
        self.faults: list[str] = []  # what Google would not understand
        self.lock = threading.Lock()
        self.url = ""

    def insert(self, zone: str, made: dict[str, Any], query: dict[str, list[str]]) -> Answer:
        kind = made["machineType"].rpartition("/")[2]
        self.asked.append(f"{zone}/{kind}")
        self.templates += query.get("sourceInstanceTemplate", [])
        if made["name"] in self.instances:
            return error(409, "alreadyExists", f"instance {made['name']} already exists")
        name = f"operation-{len(self.operations)}"
        code = self.exhausted.get(f"{zone}/{kind}", self.exhausted.get(kind))
        if self.spotless and "scheduling" in made:
            code = "ZONE_RESOURCE_POOL_EXHAUSTED"
        done: dict[str, Any] = {"name": name, "status": "DONE"}
        if code:
            done["error"] = {"errors": [{"code": code, "message": f"{zone} has none"}]}
        else:
            self.instances[made["name"]] = {**made, "zone": zone, "status": "STAGING"}
        self.operations[name] = done
        return 200, {"name": name, "status": "RUNNING"}

    def aggregated(self, query: dict[str, list[str]]) -> Answer:
        key, _, value = query["filter"][0].removeprefix("labels.").partition("=")
        found = [one for one in self.instances.values() if one["labels"].get(key) == value]
        start = int(query.get("pageToken", ["0"])[0])
        items: dict[str, Any] = {"zones/empty": {"warning": {"code": "NO_RESULTS_ON_PAGE"}}}
        for one in found[start : start + 2]:  # small pages, so that paging is used
            part = items.setdefault(f"zones/{one['zone']}", {"instances": []})
            part["instances"].append(one)
        more = {"nextPageToken": str(start + 2)} if start + 2 < len(found) else {}
        return 200, {"items": items, **more}

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Answer:
        name, method_of = recorded_method(method, path)
        assert set(query) <= set(method_of["query"]), f"{name} has no {query}"
        if name == "instances.insert":
            hold_against("Instance", body)
        else:
            assert body is None, f"{name} has no body"
        if self.refuse is not None:
            return error(*self.refuse)
        code, said = self.served(method, path, query, body)
        if code == 200:
            hold_against(ANSWERS[name], said)
        return code, said

    def served(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Answer:
        words = path.strip("/").split("/")
        assert words[:4] == ["compute", "v1", "projects", "proj"]
        match (method, *words[4:]):
            case ("POST", "zones", zone, "instances"):
                return self.insert(zone, body, query)
            case ("POST", "zones", _, "operations", name, "wait"):
                done = len(self.asked) >= self.together
                return 200, {**self.operations[name], **({} if done else {"status": "RUNNING"})}
            case ("GET", "aggregated", "instances"):
                return self.aggregated(query)
            case ("GET", "zones", zone, "instances", name):
                there = self.instances.get(name, {})
                return (200, there) if there.get("zone") == zone else error(404, "notFound", name)
            case ("DELETE", "zones", zone, "instances", name):
                if self.instances.get(name, {}).get("zone") != zone:
                    return error(404, "notFound", name)
                del self.instances[name]
                return 200, {"name": "delete", "status": "RUNNING"}
        raise AssertionError((method, path))


def error(code: int, reason: str, message: str) -> Answer:
    body = {"code": code, "message": message, "errors": [{"reason": reason, "message": message}]}
    return code, {"error": body}


def handler(compute: Compute) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            url = urlsplit(self.path)
            code, body = self._answer(url.path, parse_qs(url.query), data)
            said = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def _answer(self, path: str, query: dict[str, list[str]], data: bytes) -> Answer:
            with compute.lock:
                if path == "/token":
                    compute.grants.append(parse_qs(data.decode()))
                    grant = {"access_token": "ya29", "expires_in": 3600, "token_type": "Bearer"}
                    return 200, grant
                if self.headers.get("Authorization") != "Bearer ya29":
                    return error(401, "authError", "Invalid Credentials")
                try:
                    return compute.answer(self.command, path, query, json.loads(data or b"null"))
                except Exception as fault:
                    compute.faults.append(repr(fault))
                    return error(400, "invalid", str(fault))

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serving() -> Iterator[Compute]:
    compute = Compute()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(compute)) as server:
        compute.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield compute
        finally:
            server.shutdown()
            thread.join()
        assert compute.faults == []
