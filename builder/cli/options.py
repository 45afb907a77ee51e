"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def config_option(function: F) -> F:
    """Adds `--config FILE`, for the function's parameter `config`: the file's path or None.

    It may stand behind the command as well as before it.
    """
    return click.option(
        "--config",
        metavar="FILE",
        callback=_or_before_the_command,
        help="Configuration file; the same as before the command.",
    )(function)


def directory_option(function: F) -> F:
    """Adds `-C DIR`, for the function's parameter `directory`: a Path."""
    return click.option(
        "-C",
        "--directory",
        metavar="DIR",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=Path.cwd,
        help="In the project of this directory.",
    )(function)


def _or_before_the_command(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> str | None:
    del param  # click's signature
    if value is not None:
        return value
    before: str | None = ctx.find_root().params.get("config")
    return before
