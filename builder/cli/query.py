"""`bldr query`: questions about targets, one answer to a line."""

from collections.abc import Iterable
from pathlib import Path

import click

from builder.cli.completing import target_names
from builder.cli.options import directory_option


@click.group(
    epilog="""\b
Examples:
  bldr query deps app            all that app needs
  bldr query rdeps lib           all that is built anew when lib changes
  bldr query inputs app          the source files that app itself reads
  bldr query outputs app         what it makes
  bldr query somepath app lib    why app needs lib
"""
)
def command() -> None:
    """Ask about targets: deps, rdeps, inputs, outputs, somepath."""


@command.command()
@click.argument("targets", nargs=-1, required=True, shell_complete=target_names)
@directory_option
def deps(targets: tuple[str, ...], directory: Path) -> None:
    """All that TARGETS need, needed ones first."""
    from builder.assembly.project import open_project

    graph = open_project(directory).graph
    names = graph.select(targets)
    _say(name for name in graph.closure(names) if name not in names)


@command.command()
@click.argument("targets", nargs=-1, required=True, shell_complete=target_names)
@directory_option
def rdeps(targets: tuple[str, ...], directory: Path) -> None:
    """All that need one of TARGETS, nearest first."""
    from builder.assembly.project import open_project
    from builder.project.query import dependents

    graph = open_project(directory).graph
    _say(dependents(graph, graph.select(targets)))


@command.command()
@click.argument("targets", nargs=-1, required=True, shell_complete=target_names)
@directory_option
def inputs(targets: tuple[str, ...], directory: Path) -> None:
    """The source files that TARGETS themselves read; of a group, those of its members."""
    from builder.assembly.project import open_project
    from builder.client.filestate import FileStates
    from builder.client.scan import Scanner
    from builder.project.query import members

    opened = open_project(directory)
    scanner = Scanner(opened.graph, opened.walker, FileStates(opened.root))
    chosen = members(opened.graph, opened.graph.select(targets))
    every = opened.graph.project.targets
    _say(dict.fromkeys(path for name in chosen for path in scanner.sources(every[name])))


@command.command()
@click.argument("targets", nargs=-1, required=True, shell_complete=target_names)
@directory_option
def outputs(targets: tuple[str, ...], directory: Path) -> None:
    """What TARGETS make; of a group, what its members make."""
    from builder.assembly.project import open_project

    graph = open_project(directory).graph
    found = (output for name in graph.select(targets) for output in graph.outputs(name))
    _say(dict.fromkeys(o.path + "/" * o.directory for o in found))


@command.command()
@click.argument("target", shell_complete=target_names)
@click.argument("needed", shell_complete=target_names)
@directory_option
def somepath(target: str, needed: str, directory: Path) -> int:
    """A shortest way by which TARGET needs NEEDED; exit code 1 when it does not."""
    from builder.assembly.project import open_project
    from builder.project.query import some_path

    graph = open_project(directory).graph
    (start,), (end,) = graph.select([target]), graph.select([needed])
    way = some_path(graph, start, end)
    _say(way)
    return 0 if way else 1


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
