"""What `build`, `test` and `run` have in common: options, and the request that they make."""

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from builder.base.errors import UsageError
from builder.cli.options import config_option, directory_option

if TYPE_CHECKING:
    from builder.assembly.client import Request
    from builder.config.settings import Settings

CONFIGURED = "@"  # what a bare --remote becomes: the coordinator that is configured
LOCAL, AUTO = "local", "auto"
ADDRESS = re.compile(r"[\w.-]+:\d+|\[[0-9a-fA-F:]+\]:\d+")

F = TypeVar("F", bound=Callable[..., Any])


class BuildCommand(click.Command):
    """`--remote` takes a value only behind `=`, so that a target's name may follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        options = [f"--remote={CONFIGURED}" if a == "--remote" else a for a in args[:end]]
        return super().parse_args(ctx, [*options, *args[end:]])


OPTIONS = [
    click.option(
        "--remote",
        metavar="[=ADDR|local|auto]",
        help="Build on a coordinator: the configured one, the one at =HOST:PORT, or with =local a "
        "service inside this process; with =auto here as long as a processor is free, else there.",
    ),
    click.option("--no-remote", is_flag=True, help="Build here, whatever is configured."),
    click.option("--coordinator", metavar="HOST:PORT", help="The coordinator for --remote."),
    click.option(
        "--fallback",
        is_flag=True,
        help="When the coordinator does not answer or goes away, build here, and say so.",
    ),
    click.option(
        "--download",
        type=click.Choice(["all", "outputs", "none"]),
        help="Whose outputs --remote brings here: of all targets (without this option), of those "
        "that were asked for, or of none.",
    ),
    click.option(
        "-k", "--keep-going", is_flag=True, help="Go on with what a failure does not touch."
    ),
    click.option(
        "-j",
        "--jobs",
        type=click.IntRange(1, 10_000),
        help="At most so many targets at once; without it as many as this machine has processors, "
        "or 64 remotely.",
    ),
    directory_option,
    click.option("--no-cache", is_flag=True, help="Run everything, and store the new results."),
    click.option(
        "--hermetic-audit",
        "audit",
        is_flag=True,
        help="Tell which files each command uses, and which hosts it tries to reach, beyond what "
        "is declared.",
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="One JSON object for each event on stdout, instead of lines.",
    ),
    click.option(
        "--profile",
        metavar="FILE",
        type=click.Path(dir_okay=False, writable=True, path_type=Path),
        help="Write where the time went, for chrome://tracing or ui.perfetto.dev.",
    ),
    config_option,
]


def building_options(function: F) -> F:
    """Adds them all; `made_request` takes their values."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def made_request(targets: tuple[str, ...], **flags: Any) -> tuple["Request", "Settings"]:
    """Raises UsageError for what cannot be meant, or is wrong in the configuration."""
    started = time.monotonic()
    remote, coordinator = flags["remote"], flags["coordinator"]
    _check(targets, remote, flags["no_remote"], coordinator)
    from builder.assembly.client import Request
    from builder.assembly.settings import load_settings
    from builder.client.listening import listening

    address = remote if remote not in (None, CONFIGURED, LOCAL, AUTO) else coordinator
    config = flags["config"]
    settings, _ = load_settings(config, {"client.coordinator": address}, os.environ)
    where: bool | str = settings.client.remote
    if remote is not None or coordinator is not None:
        where = remote if remote in (LOCAL, AUTO) else True
    where = False if flags["no_remote"] else where
    fallback = flags["fallback"] or (settings.client.fallback and flags["download"] is None)
    _check_download(flags["download"], where, fallback=fallback)
    request = Request(
        targets=targets,
        directory=flags["directory"],
        remote=where,
        download=flags["download"] or "all",
        fallback=fallback,
        keep_going=flags["keep_going"],
        jobs=flags["jobs"] or 0,
        use_cache=not flags["no_cache"],
        started=started,
        arguments=_arguments() if not (flags["as_json"] or flags["profile"]) else None,
        read=() if config is None else (str(Path(config).absolute()),),
        audit="full" if flags["audit"] else None,
        listening=listening(
            started, as_json=flags["as_json"], profile=flags["profile"], environ=os.environ
        ),
    )
    return request, settings


def _arguments() -> tuple[str, ...] | None:
    """The process's own, when they are this command's; another program may have called us."""
    return tuple(sys.argv[1:]) if sys.argv[1:2] == ["build"] else None


def _check(
    targets: tuple[str, ...], remote: str | None, no_remote: bool, coordinator: str | None
) -> None:
    if no_remote and (remote is not None or coordinator is not None):
        raise UsageError("--no-remote contradicts --remote and --coordinator; give one of them")
    if remote == LOCAL and coordinator is not None:
        raise UsageError("--remote=local needs no --coordinator; give one of them")
    if remote not in (None, CONFIGURED, LOCAL, AUTO) and coordinator not in (None, remote):
        raise UsageError(f"--remote={remote} and --coordinator {coordinator} are two coordinators")
    for name in targets:
        if ADDRESS.fullmatch(name):
            raise UsageError(f"{name!r} is no target; write --remote={name} for a coordinator")


def _check_download(download: str | None, where: bool | str, *, fallback: bool) -> None:
    if download in (None, "all"):
        return
    if not where:
        raise UsageError(f"--download={download} is for --remote: what is built here, is here")
    if fallback or where == AUTO:
        what = "--remote=auto" if where == AUTO else "--fallback"
        raise UsageError(f"{what} may build here, and needs all outputs; leave --download out")
