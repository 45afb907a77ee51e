"""What we say while we work: `[INFO] message key=value` for people, one JSON object a line for
programs.

Lines go to stderr and are flushed one by one. What a service tells whoever has started it (where it
listens, that it is ready) is said to that person by `announce`, on stdout and in words wherever
that goes; a log in JSON has it too. Levels: INFO for life cycle and scaling, DEBUG for
scheduling and selection, WARNING for health and retries, ERROR for failures. Values that hold
secrets never come here. A program that does not set the log up (`bldr build` has a console of its
own) hears of trouble only; a line below the level costs one comparison, and nothing is imported
before the first one is written.
"""

import contextlib
import logging
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from builder.base.errors import UsageError

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FORMATS = ("human", "json", "auto")  # the last is the first on a terminal, the second elsewhere
BRIDGED = ("builder", "hypercorn.error", "opentelemetry")


class _SetUp:
    """Where lines go. One for a process, as stderr is."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.level = LEVELS["warning"]
        self.form = "human"
        self.in_words = True  # what is announced
        self.stream: TextIO | None = None
        self.sink: Any = None

    def write(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        if self.sink is None:
            from builder.telemetry.lines import sink  # late: most processes say nothing

            self.sink = sink(self.form, self.stream)
        getattr(self.sink, level)(message, **fields)


SET_UP = _SetUp()


def announce(message: str) -> None:
    """`[INFO] message` on stdout, unless everything is to be JSON or INFO is not shown."""
    if SET_UP.level > LEVELS["info"]:
        return
    if SET_UP.in_words:
        with contextlib.suppress(OSError, ValueError):  # its reader may have gone away
            sys.stdout.write(f"[INFO] {message}\n")
            sys.stdout.flush()
    if SET_UP.form == "json":
        SET_UP.write("info", message.strip(), {})


class Logger:
    """What modules get; `bind` gives one that adds its fields to every line."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    def bind(self, **fields: object) -> "Logger":
        return Logger({**self._fields, **fields})

    @property
    def verbose(self) -> bool:
        """Whether DEBUG is shown, for lines that take time to make."""
        return SET_UP.level <= 10

    def debug(self, message: str, /, **fields: object) -> None:
        if SET_UP.level <= 10:
            SET_UP.write("debug", message, {**self._fields, **fields})

    def info(self, message: str, /, **fields: object) -> None:
        if SET_UP.level <= 20:
            SET_UP.write("info", message, {**self._fields, **fields})

    def warning(self, message: str, /, **fields: object) -> None:
        if SET_UP.level <= 30:
            SET_UP.write("warning", message, {**self._fields, **fields})

    def error(self, message: str, /, **fields: object) -> None:
        SET_UP.write("error", message, {**self._fields, **fields})

    def exception(self, message: str, /, **fields: object) -> None:
        """An error with the traceback of the exception that is being handled."""
        SET_UP.write("error", message, {**self._fields, "exc_info": True, **fields})


def get_logger(**fields: object) -> Logger:
    """May be called at import: the set-up is read when a line is written."""
    return Logger(fields)


def configure(level: str = "info", form: str = "human", stream: TextIO | None = None) -> None:
    """Set up once, at the start of a program. Raises UsageError for an unknown level or form."""
    if level not in LEVELS:
        raise UsageError(f"log level {level!r} is unknown: use one of {', '.join(LEVELS)}")
    if form not in FORMATS:
        raise UsageError(f"log format {form!r} is unknown: use one of {', '.join(FORMATS)}")
    SET_UP.in_words = form != "json"
    if form == "auto":
        form = "human" if (stream or sys.stderr).isatty() else "json"
    SET_UP.level, SET_UP.form, SET_UP.stream, SET_UP.sink = LEVELS[level], form, stream, None
    for name in BRIDGED:
        logger = logging.getLogger(name)
        logger.handlers = [_Bridge()]
        logger.propagate = False
        logger.setLevel(LEVELS[level])


class _Bridge(logging.Handler):
    """Lines of modules that use the standard library's logging, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        getattr(get_logger(), level)(record.getMessage(), **fields)
