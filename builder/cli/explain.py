"""`bldr explain`: why a target ran."""

import os
from pathlib import Path

import click

from builder.cli.completing import target_names
from builder.cli.options import config_option, directory_option


@click.command(
    epilog="""\b
Examples:
  bldr explain app          what changed before app ran the last time, and what has since
  bldr explain obj/src/a.c  of one action of a foreach
  bldr explain app --remote the last time that anybody ran it on the coordinator
"""
)
@click.argument("targets", nargs=-1, required=True, shell_complete=target_names)
@click.option("--remote", is_flag=True, help="Of what the coordinator remembers.")
@click.option("--coordinator", metavar="HOST:PORT", help="The coordinator for --remote.")
@config_option
@directory_option
def command(
    targets: tuple[str, ...],
    remote: bool,
    coordinator: str | None,
    config: str | None,
    directory: Path,
) -> None:
    """Tell why TARGETS ran the last time: the inputs, flags, variables or limits that had changed
    since the time before, and those that have changed since then."""
    from builder.assembly.client import platform
    from builder.assembly.project import open_project
    from builder.client.explaining import explanation

    recall = None
    if remote or coordinator is not None:
        from builder.assembly.recalling import recall_from
        from builder.assembly.settings import load_settings

        settings, _ = load_settings(config, {"client.coordinator": coordinator}, os.environ)
        recall = recall_from(settings.client)
    opened = open_project(directory)
    for name in opened.graph.select(targets):
        for line in explanation(opened.graph, opened.root, opened.walker, name, platform(), recall):
            click.echo(line)
