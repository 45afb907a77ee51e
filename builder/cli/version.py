"""`builder version`: which version this is, and what it runs on."""

import json
import platform
import sys

import click

from builder.base.version import VERSION


@click.command
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def command(as_json: bool) -> None:
    """Show the version of builder, of Python and of the system."""
    facts = {
        "builder": VERSION,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "program": sys.argv[0],
    }
    if as_json:
        click.echo(json.dumps(facts))
        return
    click.echo(f"builder {VERSION}")
    click.echo(f"python {facts['python']}, {facts['system']}")
