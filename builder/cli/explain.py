"""`bldr explain`: why a target ran."""

from pathlib import Path

import click

from builder.cli.completing import target_names
from builder.cli.options import directory_option


@click.command(
    epilog="""\b
Examples:
  bldr explain app          what changed before app ran the last time, and what has since
  bldr explain obj/src/a.c  of one action of a foreach
"""
)
@click.argument("targets", nargs=-1, required=True, shell_complete=target_names)
@directory_option
def command(targets: tuple[str, ...], directory: Path) -> None:
    """Tell why TARGETS ran the last time: the inputs, flags, variables or limits that had changed
    since the time before, and those that have changed since then."""
    from builder.assembly.client import platform
    from builder.assembly.project import open_project
    from builder.client.explaining import explanation

    opened = open_project(directory)
    for name in opened.graph.select(targets):
        for line in explanation(opened.graph, opened.root, opened.walker, name, platform()):
            click.echo(line)
