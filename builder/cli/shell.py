"""`bldr shell`: a shell in a target's sandbox."""

import dataclasses
from typing import Any

import click

from builder.cli.building import BuildCommand, building_options, made_request
from builder.cli.completing import target_names


@click.command(
    cls=BuildCommand,
    epilog="""\b
Examples:
  bldr shell app             what app needs is built; then look around where its command runs
  bldr shell app -- ls -lR   another command there

\b
It sees what the target's command would see: its inputs, its environment, its limits, no network
unless it has one. What it writes is thrown away at the end. The exit code is that of the shell.
""",
)
@click.argument("target", shell_complete=target_names)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@building_options
def command(target: str, arguments: tuple[str, ...], **flags: Any) -> int:
    """Build what TARGET needs, then open a shell in its sandbox on this machine."""
    request, settings = made_request((target,), **flags)
    from builder.assembly.shell import shell

    return shell(dataclasses.replace(request, arguments=None), settings, arguments)
