"""What we say while we work: `[INFO] message key=value` for people, one JSON object a line for
programs.

Lines go to stderr and are flushed one by one. Levels: INFO for life cycle and scaling, DEBUG for
scheduling and selection, WARNING for health and retries, ERROR for failures. Values that hold
secrets never come here.
"""

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Protocol, TextIO, cast

import structlog
from structlog.typing import Processor

from builder.base.errors import UsageError

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FORMATS = ("human", "json")
COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m"}
RESET = "\x1b[0m"
BRIDGED = ("builder", "hypercorn.error")


class Logger(Protocol):
    """What modules get; `bind` gives one that adds its fields to every line."""

    def debug(self, message: str, /, **fields: object) -> None: ...
    def info(self, message: str, /, **fields: object) -> None: ...
    def warning(self, message: str, /, **fields: object) -> None: ...
    def error(self, message: str, /, **fields: object) -> None: ...
    def exception(self, message: str, /, **fields: object) -> None:
        """An error with the traceback of the exception that is being handled."""
        ...

    def bind(self, **fields: object) -> "Logger": ...


def get_logger(**fields: object) -> Logger:
    """May be called at import: the set-up is read when the first line is written."""
    return cast("Logger", structlog.get_logger(**fields))


def configure(level: str = "info", form: str = "human", stream: TextIO | None = None) -> None:
    """Set up once, at the start of a program. Raises UsageError for an unknown level or form."""
    if level not in LEVELS:
        raise UsageError(f"log level {level!r} is unknown: use one of {', '.join(LEVELS)}")
    if form not in FORMATS:
        raise UsageError(f"log format {form!r} is unknown: use one of {', '.join(FORMATS)}")
    out = sys.stderr if stream is None else stream
    _install(level, _json() if form == "json" else _human(out.isatty()), stream)
    _bridge(level)


def _install(level: str, processors: list[Processor], stream: TextIO | None) -> None:
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Enduring(stream))),
        cache_logger_on_first_use=False,
    )


class _Enduring:
    """A stream whose reader may go away: that must not end what is being told about."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream  # None: stderr, whatever it is at the time

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a closed pipe, a closed file
            (self._stream or sys.stderr).write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            (self._stream or sys.stderr).flush()


class _Bridge(logging.Handler):
    """Lines of modules that use the standard library's logging, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        getattr(get_logger(), level)(record.getMessage(), **fields)


def _bridge(level: str) -> None:
    for name in BRIDGED:
        logger = logging.getLogger(name)
        logger.handlers = [_Bridge()]
        logger.propagate = False
        logger.setLevel(LEVELS[level])


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


# A program that does not set it up (`bldr build` has a console of its own) hears of trouble only.
_install("warning", _human(colour=False), None)
