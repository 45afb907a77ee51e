"""`bldr build`: targets of a Builderfile, here or remotely."""

import os
import re
import sys
import time
from pathlib import Path

import click

from builder.base.errors import UsageError
from builder.cli.options import config_option

CONFIGURED = "@"  # what a bare --remote becomes: the coordinator that is configured
LOCAL = "local"
ADDRESS = re.compile(r"[\w.-]+:\d+|\[[0-9a-fA-F:]+\]:\d+")


class BuildCommand(click.Command):
    """`--remote` takes a value only behind `=`, so that a target's name may follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        options = [f"--remote={CONFIGURED}" if a == "--remote" else a for a in args[:end]]
        return super().parse_args(ctx, [*options, *args[end:]])


@click.command(
    cls=BuildCommand,
    epilog="""\b
Examples:
  bldr build                                  the target 'default', or else all targets
  bldr build cpp_project                      here, in the sandbox of this machine
  bldr build cpp_project --remote             on the configured coordinator
  bldr build cpp_project --remote=build:9000  on this one
  bldr build cpp_project --remote=local       through a whole service inside this process
  bldr build -k -j 8 test parallel            go on after a failure, eight at once

\b
The Builderfile is looked for in the directory and those above it. Inputs are found by their
contents, so a result is used again wherever the same files are built in the same way.
Exit codes: 0 built, 1 a target failed, 2 wrong arguments or Builderfile, 130 interrupted.
Environment: BUILDER_COORDINATOR names the coordinator, BUILDER_REMOTE=true makes --remote the
default.
""",
)
@click.argument("targets", nargs=-1)
@click.option(
    "--remote",
    metavar="[=ADDR|local]",
    help="Build on a coordinator: the configured one, the one at =HOST:PORT, or with =local a "
    "service inside this process.",
)
@click.option("--no-remote", is_flag=True, help="Build here, whatever is configured.")
@click.option("--coordinator", metavar="HOST:PORT", help="The coordinator for --remote.")
@click.option("-k", "--keep-going", is_flag=True, help="Go on with what a failure does not touch.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 10_000),
    help="At most so many targets at once; without it as many as this machine has processors, "
    "or 64 remotely.",
)
@click.option(
    "-C",
    "--directory",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Build in this directory.",
)
@click.option("--no-cache", is_flag=True, help="Run everything, and store the new results.")
@config_option
def command(
    targets: tuple[str, ...],
    remote: str | None,
    no_remote: bool,
    coordinator: str | None,
    keep_going: bool,
    jobs: int | None,
    directory: Path | None,
    no_cache: bool,
    config: str | None,
) -> int:
    """Build TARGETS of the Builderfile, and bring their outputs back.

    Each command runs in a sandbox that holds its inputs and nothing else of the project. Without
    --remote it is the sandbox of this machine; all ways give the same bytes.
    """
    started = time.monotonic()
    _check(targets, remote, no_remote, coordinator)
    from builder.assembly.client import Request, run
    from builder.assembly.settings import load_settings

    address = remote if remote not in (None, CONFIGURED, LOCAL) else coordinator
    settings, _ = load_settings(config, {"client.coordinator": address}, os.environ)
    where: bool | str = settings.client.remote
    if remote is not None or coordinator is not None:
        where = LOCAL if remote == LOCAL else True
    return run(
        Request(
            targets=targets,
            directory=directory or Path.cwd(),
            remote=False if no_remote else where,
            keep_going=keep_going,
            jobs=jobs or 0,
            use_cache=not no_cache,
            started=started,
            arguments=_arguments(),
            read=() if config is None else (str(Path(config).absolute()),),
        ),
        settings,
    )


def _arguments() -> tuple[str, ...] | None:
    """The process's own, when they are this command's; another program may have called us."""
    return tuple(sys.argv[1:]) if sys.argv[1:2] == ["build"] else None


def _check(
    targets: tuple[str, ...], remote: str | None, no_remote: bool, coordinator: str | None
) -> None:
    """Raises UsageError for what cannot be meant."""
    if no_remote and (remote is not None or coordinator is not None):
        raise UsageError("--no-remote contradicts --remote and --coordinator; give one of them")
    if remote == LOCAL and coordinator is not None:
        raise UsageError("--remote=local needs no --coordinator; give one of them")
    if remote not in (None, CONFIGURED, LOCAL) and coordinator not in (None, remote):
        raise UsageError(f"--remote={remote} and --coordinator {coordinator} are two coordinators")
    for name in targets:
        if ADDRESS.fullmatch(name):
            raise UsageError(f"{name!r} is no target; write --remote={name} for a coordinator")
