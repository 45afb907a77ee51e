"""`bldr graph`: which target needs which."""

from pathlib import Path

import click

from builder.cli.completing import target_names
from builder.cli.options import directory_option


@click.command(
    epilog="""\b
Examples:
  bldr graph                          all targets, as a tree
  bldr graph app                      one target and all that it needs
  bldr graph --svg > graph.svg        a picture, for browsers
  bldr graph --dot | dot -Tpng        one by Graphviz
"""
)
@click.argument("targets", nargs=-1, shell_complete=target_names)
@click.option("--dot", is_flag=True, help="In the language of Graphviz.")
@click.option(
    "--svg", "as_svg", is_flag=True, help="As a picture: SVG, groups with dashed borders."
)
@directory_option
def command(targets: tuple[str, ...], dot: bool, as_svg: bool, directory: Path) -> None:
    """Show TARGETS with all that they need; without TARGETS what nothing else needs."""
    from builder.assembly.project import open_project
    from builder.base.errors import UsageError
    from builder.project.drawing import svg
    from builder.project.query import dot_lines, needed_by, tree_lines

    if dot and as_svg:
        raise UsageError("--dot and --svg are two forms; give one of them")
    graph = open_project(directory).graph
    roots = [name for name, by in needed_by(graph).items() if not by]
    names = graph.select(targets) if targets else roots
    if as_svg:
        click.echo(svg(graph, names))
        return
    lines = dot_lines(graph, names) if dot else tree_lines(graph, names)
    click.echo("\n".join(lines))
