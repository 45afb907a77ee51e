"""What a person sees when something fails: `error: ...` on stderr and an exit code.

    0    done
    1    it failed: a build, a connection, a bug of ours
    2    it could not be right: arguments, configuration, Builderfile
    130  interrupted with Ctrl-C

Never a traceback, unless BUILDER_DEBUG is set.
"""

from collections.abc import Iterator
from typing import NamedTuple

import click
from click.exceptions import NoArgsIsHelpError

from builder.base.errors import BuilderError, UsageError

FAILED = 1
USAGE = 2
INTERRUPTED = 130

RANKS: tuple[type[BaseException], ...] = (
    KeyboardInterrupt,
    click.Abort,
    SystemExit,
    UsageError,
    BuilderError,
    click.ClickException,
    OSError,
)


class Ending(NamedTuple):
    """What goes to stderr (nothing when empty) and the process's exit code."""

    message: str
    code: int


def ending(error: BaseException) -> Ending:
    """For the error that ends the program; of an exception group, for what matters most in it."""
    leaves = list(_leaves(error))
    worst = min(leaves, key=_rank)
    found = _ending(worst)
    others = {str(leaf) for leaf in leaves if isinstance(leaf, BuilderError)} - {str(worst)}
    if isinstance(worst, BuilderError) and others:
        plural = "s" if len(others) > 1 else ""
        return Ending(f"{found.message} (and {len(others)} more error{plural})", found.code)
    return found


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _rank(error: BaseException) -> int:
    """Ctrl-C explains all that it caused; then what a person can act on comes first."""
    return next((n for n, kind in enumerate(RANKS) if isinstance(error, kind)), len(RANKS))


def _ending(error: BaseException) -> Ending:
    match error:
        case KeyboardInterrupt() | click.Abort():
            return Ending("", INTERRUPTED)
        case SystemExit(code=code):
            return Ending("", code) if isinstance(code, int) else _exit_with_text(code)
        case UsageError():
            return Ending(f"error: {error}", USAGE)
        case BuilderError():
            return Ending(f"error: {error}", FAILED)
        case NoArgsIsHelpError(ctx=click.Context() as ctx):
            return Ending(ctx.get_help(), USAGE)
        case click.UsageError():
            return Ending(_click_usage(error), error.exit_code)
        case click.ClickException():
            return Ending(f"error: {error.format_message()}", error.exit_code)
        case BrokenPipeError():  # who read our output has gone, as in `... | head`
            return Ending("", FAILED)
        case OSError(strerror=str(reason)):
            return Ending(f"error: {_file(error)}{reason}", FAILED)
    kind = type(error).__name__
    text = f"error: internal error: {kind}: {error}".splitlines()[0]
    return Ending(f"{text} (BUILDER_DEBUG=1 shows where; please report it)", FAILED)


def _exit_with_text(code: object) -> Ending:
    return Ending("", 0) if code is None else Ending(f"error: {code}", FAILED)


def _click_usage(error: click.UsageError) -> str:
    message = error.format_message().rstrip(".")
    hint = f" (try '{error.ctx.command_path} --help')" if error.ctx else ""
    return f"error: {message}{hint}"


def _file(error: OSError) -> str:
    return f"{error.filename}: " if error.filename is not None else ""
