"""Options that several commands share."""

from collections.abc import Callable
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


def _or_before_the_command(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> str | None:
    del param  # click's signature
    if value is not None:
        return value
    before: str | None = ctx.find_root().params.get("config")
    return before
