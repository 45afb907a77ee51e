"""How a line is made and written, by structlog. Imported with the first line: it takes 100 ms."""

import contextlib
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m"}
RESET = "\x1b[0m"


def sink(form: str, stream: TextIO | None) -> FilteringBoundLogger:
    """Writes what it is given, whatever its level. No stream is stderr, whatever that is then."""
    out = sys.stderr if stream is None else stream
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", _Enduring(stream))),
        processors=_json() if form == "json" else _human(out.isatty()),
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    return logger


class _Enduring:
    """A stream whose reader may go away: that must not end what is being told about."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a closed pipe, a closed file
            (self._stream or sys.stderr).write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            (self._stream or sys.stderr).flush()


def _json() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(default=str),
    ]


def _human(colour: bool) -> list[Processor]:
    def render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
        return human_line(event, colour)

    return [
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        render,
    ]


def human_line(event: MutableMapping[str, Any], colour: bool = False) -> str:
    """`[LEVEL] message key=value ...`, then a traceback on lines of its own if there is one."""
    level = str(event.pop("level", "info"))
    message = event.pop("event", "")
    traceback = event.pop("exception", None)
    fields = "".join(f" {key}={_value(value)}" for key, value in event.items())
    tag = f"[{level.upper()}]"
    if colour and level in COLOURS:
        tag = f"{COLOURS[level]}{tag}{RESET}"
    line = f"{tag} {message}{fields}"
    return f"{line}\n{traceback}" if traceback else line


def _value(value: object) -> str:
    """Quoted where it would not read as one word; never breaks the line."""
    if isinstance(value, float):
        return f"{value:.3g}"
    text = str(value)
    plain = text and text.isprintable() and not any(sign in text for sign in " \"'=")
    return text if plain else repr(text)
