"""`bldr clean`: remove what builds have made."""

from pathlib import Path

import click

from builder.cli.completing import target_names
from builder.cli.options import directory_option


@click.command(
    epilog="""\b
Examples:
  bldr clean           the outputs of all targets
  bldr clean app       those of one
  bldr clean --all     also what bldr knows of earlier builds, and results stored here
"""
)
@click.argument("targets", nargs=-1, shell_complete=target_names)
@click.option("--all", "everything", is_flag=True, help="The project's .builder directory too.")
@directory_option
def command(targets: tuple[str, ...], everything: bool, directory: Path) -> None:
    """Remove the outputs of TARGETS, or of all. Sources are never touched: of a directory that no
    build has made nothing is removed."""
    from builder.assembly.project import open_project
    from builder.base.errors import UsageError
    from builder.base.units import format_size
    from builder.client.clean import clean

    if everything and targets:
        raise UsageError("--all removes what all targets made; leave the TARGETS out")
    opened = open_project(directory)
    names = opened.graph.select(targets) if targets else list(opened.graph.project.targets)
    outputs = [output for name in names for output in opened.graph.outputs(name)]
    count, size_bytes = clean(opened.root, outputs, everything=everything)
    click.echo(f"[INFO] Removed {count} files ({format_size(size_bytes)})")
