"""`bldr verify`: does a target make the same bytes each time?"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import click

from builder.cli.building import BuildCommand, building_options, made_request
from builder.cli.completing import target_names


@click.command(
    cls=BuildCommand,
    epilog="""\b
Examples:
  bldr verify app               twice, here
  bldr verify app -n 5 --remote on the workers of the configured coordinator

\b
What it needs is taken from the cache; the target itself is run each time. Exit codes: 0 all runs
made the same bytes, 1 they did not or a run failed.
""",
)
@click.argument("target", shell_complete=target_names)
@click.option("-n", "count", type=click.IntRange(2, 100), default=2, help="So many runs.")
@building_options
def command(target: str, count: int, **flags: Any) -> int:
    """Run TARGET several times and compare what it makes, byte by byte."""
    request, settings = made_request((target,), **flags)
    from builder.assembly.client import run
    from builder.assembly.project import open_project
    from builder.base.digest import Digest
    from builder.client.state import StateDirectory
    from builder.client.verify import described, differences, keep
    from builder.project.query import members

    opened = open_project(request.directory)
    names = members(opened.graph, opened.graph.select([target]))
    request = dataclasses.replace(request, arguments=None, fresh=frozenset(names))
    runs = []
    state = StateDirectory(opened.root)
    with tempfile.TemporaryDirectory(dir=state.path / "tmp") as folder:
        kept: dict[Digest, Path] = {}
        for _ in range(count):
            finished = run(request, settings, opened)
            if finished.summary is None or finished.code:
                return finished.code
            runs.append({name: finished.summary.built[name] for name in names})
            keep(opened.root, runs[-1].values(), Path(folder), kept)
        found = [
            f"{name}: {described(one, lambda digest: kept[digest].read_bytes())}"
            for name in names
            for one in differences([run[name] for run in runs])
        ]
    for line in found:
        click.echo(f"[ERROR] {line}", err=True)
    if not found:
        places = dict.fromkeys(built.proof for run in runs for built in run.values())
        click.echo(f"[INFO] {count} runs made the same bytes (on {', '.join(places)})")
    return int(bool(found))
