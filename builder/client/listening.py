"""Who listens to a build: its lines, `--json`, `--profile`, and what is live on a terminal."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from builder.client.console import Writer, write_line
from builder.client.events import Event, Listener
from builder.client.live import Live
from builder.client.profile import Profile


@dataclass(slots=True)
class JsonLines:
    """Each event as a line."""

    out: TextIO

    def __call__(self, event: Event) -> None:
        write_line(self.out, json.dumps(event.plain()))


class Standard:
    """A standard stream; on the terminal where something live is shown, above that."""

    def __init__(self, name: str, live: Live | None = None) -> None:
        self._stream: TextIO = getattr(sys, name)
        self._live = live if live is not None and _is_terminal(self._stream) else None

    @property
    def encoding(self) -> str:
        return str(self._stream.encoding)

    def write(self, text: str) -> int:
        if self._live is not None and self._live.above is not None:
            self._live.above(text)
            return len(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()


class Nowhere:
    """Takes what nobody wants to read."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...

    def fileno(self) -> int:
        raise OSError("nowhere is no file")


@dataclass(frozen=True, slots=True)
class Listening:
    """`out` and `err` are where lines go; `live` and `profile` are listeners too, if wanted."""

    out: Writer
    err: Writer
    listeners: tuple[Listener, ...] = ()
    live: Live | None = None
    profile: Profile | None = None
    profile_path: Path | None = None

    def finish(self) -> None:
        """Write what was collected. Raises OSError."""
        if self.profile is not None and self.profile_path is not None:
            self.profile_path.write_text(self.profile.text())


def lines() -> Listening:
    """To the standard streams, and nobody listens."""
    return Listening(Standard("stdout"), Standard("stderr"))


def listening(
    started: float, *, as_json: bool, profile: Path | None, environ: Mapping[str, str]
) -> Listening:
    """What was asked for; something live on a terminal only."""
    live = Live(started) if not as_json and _can_draw(environ) else None
    collected = Profile() if profile is not None else None
    wanted: list[Listener | None] = [JsonLines(sys.stdout) if as_json else None, live, collected]
    listeners = tuple(one for one in wanted if one is not None)
    out = Nowhere() if as_json else Standard("stdout", live)
    return Listening(out, Standard("stderr", live), listeners, live, collected, profile)


def _can_draw(environ: Mapping[str, str]) -> bool:
    """Continuous integration has terminals that keep all that was ever drawn."""
    dumb = environ.get("TERM", "dumb") == "dumb"
    return not dumb and not environ.get("CI") and _is_terminal(sys.stdout)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return os.isatty(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
