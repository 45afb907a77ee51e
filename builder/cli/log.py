"""`bldr log`: the builds of this project so far."""

import json
import time
from pathlib import Path
from typing import Any

import click

from builder.cli.options import directory_option


@click.command(
    epilog="""\b
Examples:
  bldr log            the last ten builds
  bldr log -n 1       the last one
  bldr log --json     one JSON object for each, with the times of what ran
"""
)
@click.option("-n", "count", type=click.IntRange(1), default=10, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@directory_option
def command(count: int, as_json: bool, directory: Path) -> None:
    """Show the last builds, oldest first. A build with nothing to do is not kept."""
    from builder.client.builderfile import find
    from builder.client.history import History
    from builder.client.noop import STATE

    root = find(directory.absolute()).parent
    for build in History(root / STATE / "history").builds()[-count:]:
        click.echo(json.dumps(build) if as_json else _line(build))


def _line(build: dict[str, Any]) -> str:
    from builder.base.shown import format_duration

    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(build["at"]))
    names = build["targets"]
    what = ", ".join(names) if isinstance(names, list) else f"{names} targets"
    parts = [f"{build['hits']} from the cache", f"{build['built']} built"]
    if build["failed"]:
        parts.append(f"failed: {', '.join(build['failed'])}")
    if build["skipped"]:
        parts.append(f"{build['skipped']} not built")
    return f"{when}  {format_duration(build['seconds']):>7}  {what}: {', '.join(parts)}"
