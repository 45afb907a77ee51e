"""Debian's docker-registry on a port of loopback, and pushing to it by the distribution API."""

import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.images.pictures import Picture

PROGRAM = shutil.which("docker-registry")
NEEDED = pytest.mark.skipif(
    PROGRAM is None, reason="docker-registry is not installed: apt-get install docker-registry"
)
CONFIG = """
version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: {place}/data}}}}
http: {{addr: "127.0.0.1:0"}}
{auth}
"""
PATIENCE_S = 60.0
LISTENS = re.compile(r"listening on 127\.0\.0\.1:(\d+)")


class Registry:
    """`host` is what references name."""

    def __init__(self, host: str, base: str, client: httpx.Client) -> None:
        self.host, self.base, self.client = host, base, client

    def push(self, name: str, tag: str, *pictures: Picture, index: bytes = b"") -> str:
        """Blobs, manifests, and an index of them if there is one; the tag's digest."""
        for one in pictures:
            for digest, data in one.blobs.items():
                started = self.client.post(f"{self.base}/v2/{name}/blobs/uploads/")
                assert started.status_code == 202, started.text
                place = httpx.URL(started.headers["location"])
                url = place.copy_merge_params({"digest": digest})
                done = self.client.put(url, content=data)
                assert done.status_code == 201, done.text
            self._put(name, one.digest if index else tag, one.manifest, one.media_type)
        if index:
            media_type = httpx.Response(200, content=index).json()["mediaType"]
            return self._put(name, tag, index, media_type)
        return pictures[-1].digest

    def _put(self, name: str, reference: str, data: bytes, media_type: str) -> str:
        url = f"{self.base}/v2/{name}/manifests/{reference}"
        done = self.client.put(url, content=data, headers={"content-type": media_type})
        assert done.status_code == 201, done.text
        return str(done.headers["docker-content-digest"])


@contextlib.contextmanager
def running(
    place: Path, auth: str = "", account: tuple[str, str] | None = None
) -> Iterator[Registry]:
    """A registry with nothing in it; `auth` is a section of its configuration."""
    assert PROGRAM is not None
    place.mkdir(parents=True, exist_ok=True)
    config, log = place / "config.yml", place / "log"
    config.write_text(CONFIG.format(place=place, auth=auth))
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [PROGRAM, "serve", str(config)], stdout=output, stderr=output, cwd=place
        ) as process,
    ):
        try:
            host = f"127.0.0.1:{_port(process, log)}"
            with httpx.Client(auth=account, timeout=PATIENCE_S, trust_env=False) as client:
                yield Registry(host, f"http://{host}", client)
        finally:
            process.kill()


def _port(process: subprocess.Popen[bytes], log: Path) -> str:
    """The one that it has chosen, as soon as it says so."""
    while process.poll() is None:
        if found := LISTENS.search(log.read_text()):
            return found[1]
        time.sleep(0.02)
    raise AssertionError(log.read_text())
