"""Redis and S3 for tests: real programs, on a Unix socket and on an ephemeral loopback port."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

BUCKET = "blobs"
PROGRAMS = ("redis-server", "valkey-server")


class RedisProcess:
    """A server in a directory of its own; it can be killed and started again."""

    def __init__(self, root: Path) -> None:
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            pytest.skip(f"none of {', '.join(PROGRAMS)} is installed")
        self._program = program
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{root}/socket?db=0"

    def start(self, *arguments: str) -> None:
        """It answers when this returns."""
        (self._root / "socket").unlink(missing_ok=True)
        argv = [self._program, "--port", "0", "--unixsocket", f"{self._root}/socket"]
        argv += ["--save", "", "--dir", str(self._root), *arguments]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"ready to accept connections" in line.lower():
                return
        raise AssertionError(f"{self._program} ended before it was ready")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextmanager
def redis_process() -> Iterator[RedisProcess]:
    # A Unix socket's path may have 107 bytes, which pytest's folders do not leave room for.
    with tempfile.TemporaryDirectory(prefix="redis-") as root:
        server = RedisProcess(Path(root))
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a server that is empty."""
    with redis_process() as server:
        yield server.url


SCOPE = "Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
_endpoints: list[str] = []


def s3_options() -> dict[str, str]:
    """Those of moto's S3 with a BUCKET; one server for all tests of this process.

    The bucket is made at each call: all of moto's servers in a process are views of one cloud,
    which tests of other parts empty. Making one that is there changes nothing.
    """
    if not _endpoints:
        from moto.server import ThreadedMotoServer  # late: it takes seconds

        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        _endpoints.append(f"http://{host}:{port}")
    headers = {"authorization": f"AWS4-HMAC-SHA256 {SCOPE}"}  # which moto goes by, unchecked
    httpx.put(f"{_endpoints[0]}/{BUCKET}", headers=headers, timeout=120.0).raise_for_status()
    return {
        "endpoint": _endpoints[0],
        "access_key_id": "test",
        "secret_access_key": "test",
        "region": "us-east-1",
    }
