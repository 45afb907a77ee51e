"""Chromium without a screen, driven over the DevTools protocol on a pair of pipes."""

import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-sync"
FLAGS += " --no-first-run --disable-dev-shm-usage --remote-debugging-pipe"
PATIENCE_S = 60.0


class Page:
    """One tab. All methods wait, at most PATIENCE_S; they are for a thread."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._number = 0
        self._unread = b""
        self.errors: list[str] = []  # of scripts, and what the policy has refused
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    _session = None

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        request: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            request["sessionId"] = self._session
        os.write(self._send, json.dumps(request).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        if message.get("method") in ("Runtime.exceptionThrown", "Page.javascriptDialogOpening"):
            self.errors.append(json.dumps(message["params"]))
        if message.get("method") == "Log.entryAdded":
            entry = message["params"]["entry"]
            if entry["level"] == "error" and entry["source"] != "network":
                self.errors.append(entry["text"])

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_S
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._receive], [], [], end - time.monotonic())
            assert ready, "the browser says nothing"
            data = os.read(self._receive, 1 << 16)
            assert data, "the browser has ended"
            self._unread += data
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))

    def run(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until this is so in the page."""
        end = time.monotonic() + PATIENCE_S
        while not self.run(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never: {expression}"
            time.sleep(0.05)

    def open(self, url: str) -> None:
        """Load it, until its scripts have heard of the service."""
        self.ask("Page.navigate", url=url)
        self.until(
            f"location.href === {json.dumps(url)} && document.documentElement?.dataset.alive"
        )

    def key(self, key: str) -> None:
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    def width(self, pixels: int) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=pixels,
            height=900,
            deviceScaleFactor=1,
            mobile=pixels < 600,
        )


@contextmanager
def browsing(program: str, folder: Path) -> Iterator[Page]:
    """A browser with an empty profile in this folder."""
    its_in, our_out = (_high(fd) for fd in os.pipe())
    our_in, its_out = (_high(fd) for fd in os.pipe())

    def place() -> None:
        os.dup2(its_in, 3)
        os.dup2(its_out, 4)

    process = subprocess.Popen(
        [program, *FLAGS.split(), f"--user-data-dir={folder}"],
        preexec_fn=place,
        pass_fds=(3, 4),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )
    os.close(its_in)
    os.close(its_out)
    try:
        page = Page(our_out, our_in)
        yield page
        page._session = None
        page.ask("Browser.close")
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(our_in)
        os.close(our_out)


def _high(descriptor: int) -> int:
    """The same file above the numbers that the browser wants."""
    made = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return made
