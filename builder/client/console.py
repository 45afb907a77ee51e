"""What a build says, line by line.

A build of one target speaks in whole sentences about the build; one of several puts the target's
name first. Lines go to `out`, what went wrong to `err`, a command's own output to where it wrote
it.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from builder.base.shown import format_duration, hit
from builder.base.units import format_size
from builder.client.events import Event, Listener

NO_PROOF = "a worker"
MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Streams:
    """What a command wrote."""

    stdout: bytes = b""
    stderr: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.stdout or self.stderr)


NOTHING = Streams()


@dataclass(slots=True)
class Counts:
    """Of targets. `stored`: built and kept for the next time."""

    hits: int = 0
    built: int = 0
    stored: int = 0


class Writer(Protocol):
    """As much of a text stream as is needed."""

    @property
    def encoding(self) -> str: ...

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def fileno(self) -> int: ...


class Console:
    """`listeners` hear of everything; `started`: time.monotonic() of the command."""

    def __init__(
        self,
        out: Writer,
        err: Writer,
        *,
        several: bool,
        listeners: Sequence[Listener] = (),
        started: float | None = None,
    ) -> None:
        self._listeners = listeners
        self._started = time.monotonic() if started is None else started
        self._out = out
        self._err = err
        self._several = several
        self._greeted: set[str] = set()
        self.counts = Counts()

    def tell(self, kind: str, target: str = "", **more: Any) -> None:
        """To the listeners alone."""
        if self._listeners:
            event = Event(kind, time.monotonic() - self._started, target, more)
            for listener in self._listeners:
                listener(event)

    def greet(self, greeting: str) -> None:
        """Where targets are built, once for each place."""
        if greeting and greeting not in self._greeted:
            self._greeted.add(greeting)
            self._info(greeting)

    def uploading(self, target: str, size_bytes: int) -> None:
        self.tell("uploading", target, size_bytes=size_bytes)
        self._of(target, f"Uploading inputs... ({format_size(size_bytes)})")

    def executing(self, target: str, proof: str) -> None:
        self.tell("executing", target, where=proof)
        self._of(target, f"Executing on {proof or NO_PROOF}")

    def hit(self, target: str, age_s: float | None) -> None:
        self.counts.hits += 1
        self.tell("hit", target, age_s=None if age_s is None else round(age_s, 3))
        self._info(hit(target, age_s))

    def built(self, target: str, seconds: float, *, stored: bool) -> None:
        self.counts.built += 1
        self.counts.stored += stored
        self.tell("built", target, seconds=round(seconds, 4), stored=stored)
        if self._several:
            self._of(target, f"Built in {format_duration(seconds)}")

    def wrote(self, target: str, streams: Streams) -> None:
        """A successful command's own output: warnings, or a test's report."""
        out, err = self.wording(target, streams)
        if streams:
            self.tell("wrote", target, stdout=_as_text(streams.stdout), stderr=err)
        for stream, text in ((self._out, out), (self._err, err)):
            if text:
                _write(stream, text)

    def wording(self, target: str, streams: Streams) -> tuple[str, str]:
        """What `wrote` says to `out` and to `err`."""
        if not streams:
            return "", ""
        title = f"[INFO] {target}: The command wrote:\n" if self._several else ""
        return title + _as_text(streams.stdout), _as_text(streams.stderr)

    def failed(self, target: str, reason: str, proof: str = "", streams: Streams = NOTHING) -> None:
        """`reason` may have several lines; then it shows a place in the Builderfile."""
        self.tell("failed", target, reason=reason, where=proof)
        _text(self._err, streams.stdout)
        _text(self._err, streams.stderr)
        where = f" on {proof}" if proof else ""
        _write(self._err, f"[ERROR] Target {target} failed{where}: {reason}\n")

    def audited(self, target: str, lines: list[str]) -> None:
        """What an audit found, its sum first."""
        self.tell("audited", target, lines=lines)
        for line in lines:
            self._of(target, line)

    def unkept(self, target: str, paths: Sequence[str]) -> None:
        """It wrote more than its outputs."""
        self.tell("unkept", target, paths=list(paths))
        more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
        named = ", ".join(paths[:MOST_NAMED]) + more
        are = "is no output" if len(paths) == 1 else "are no outputs"
        advice = "add to 'outputs' what is to be kept, and write the rest to /tmp"
        _write(self._err, f"[WARN] {named} {are} of {target!r} and not kept; {advice}\n")

    def again(self, target: str, reason: str, attempt: int, retries: int) -> None:
        """A test failed and is run once more."""
        self.tell("retried", target, reason=reason, attempt=attempt)
        text = f"Test {target} failed: {reason}; retry {attempt} of {retries}"
        _write(self._err, f"[WARN] {text}\n")

    def fell_back(self, reason: str) -> None:
        """The coordinator is away, and the rest is built here."""
        self.tell("fell_back", reason=reason)
        _write(self._err, f"[WARN] {reason}; building here instead\n")

    def completed(self, seconds: float) -> None:
        self._ended(seconds, 0, 0)
        self._info(f"Build completed in {format_duration(seconds)}")
        counts = self.counts
        if self._several:
            total = counts.hits + counts.built
            parts = [f"{counts.hits} from the cache", f"{counts.built} built"]
            if counts.stored:
                parts[1] += f" → {counts.stored} stored for reuse"
            self._info(f"{total} targets: {', '.join(parts)}")
        elif counts.stored:
            self._info("Cache miss → stored for reuse")

    def spent(self, seconds: Mapping[str, float], chain: Sequence[str]) -> None:
        """Where the time went, of several that ran: the chain that nothing could shorten but
        quicker commands, and the longest ones."""
        longest = sorted(seconds, key=lambda name: -seconds[name])[:MOST_NAMED]
        self.tell("spent", chain=list(chain), longest={n: round(seconds[n], 4) for n in longest})
        named = ", ".join(f"{name} {format_duration(seconds[name])}" for name in longest)
        shown = chain if len(chain) <= MOST_NAMED else [*chain[:1], "…", *chain[-1:]]
        total = format_duration(sum(seconds[name] for name in chain))
        self._info(f"Longest: {named}; longest chain: {total} ({' → '.join(shown)})")

    def not_completed(self, seconds: float, failed: int, skipped: int) -> None:
        self._ended(seconds, failed, skipped)
        parts = [f"{failed} failed" if self._several else ""]
        parts.append(f"{skipped} not built" if skipped else "")
        rest = ", ".join(part for part in parts if part)
        text = f"Build failed in {format_duration(seconds)}" + (f": {rest}" if rest else "")
        _write(self._err, f"[ERROR] {text}\n")

    def _ended(self, seconds: float, failed: int, skipped: int) -> None:
        self.tell(
            "build_ended",
            ok=not failed,
            seconds=round(seconds, 4),
            hits=self.counts.hits,
            built=self.counts.built,
            failed=failed,
            skipped=skipped,
        )

    def _of(self, target: str, text: str) -> None:
        self._info(f"{target}: {text}" if self._several else text)

    def _info(self, text: str) -> None:
        _write(self._out, f"[INFO] {text}\n")


def write_line(stream: Writer, line: str) -> None:
    """Whoever reads it may have gone."""
    _write(stream, line + "\n")


def _as_text(data: bytes) -> str:
    """A command's bytes as they are, as far as they are text."""
    text = data.decode(errors="replace")
    return text if not text or text.endswith("\n") else text + "\n"


def _text(stream: Writer, data: bytes) -> None:
    if data:
        _write(stream, _as_text(data))


def _write(stream: Writer, text: str) -> None:
    """What the terminal's encoding cannot show becomes `?`; a reader that went away is no reason
    to stop building."""
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            stream.write(text.encode(stream.encoding, "replace").decode(stream.encoding))
        stream.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # so that the end of the program can flush it too
        os.close(nowhere)
