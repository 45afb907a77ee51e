"""`bldr watch`: build again whenever something changes."""

import dataclasses
import sys
from typing import Any

import click

from builder.cli.building import BuildCommand, building_options, made_request
from builder.cli.completing import target_names

PAUSE_S = 0.3


@click.command(
    cls=BuildCommand,
    epilog="""\b
Examples:
  bldr watch            the target 'default', or else all targets
  bldr watch test       tests, at each change of a file that they depend on

\b
It looks at the project's files some times a second, leaving out what targets make, and builds when
one has changed, has come or is gone. Ctrl-C ends it.
""",
)
@click.argument("targets", nargs=-1, shell_complete=target_names)
@building_options
def command(targets: tuple[str, ...], **flags: Any) -> int:
    """Build TARGETS, then wait for changes and build again, until it is interrupted."""
    request, settings = made_request(targets, **flags)
    from builder.assembly.client import run
    from builder.assembly.project import SCHEMA
    from builder.base.errors import BuilderError
    from builder.client.builderfile import find
    from builder.client.watching import Watcher
    from builder.host.resources import schema

    path = find(request.directory.absolute())
    watcher = Watcher(path, lambda: schema(SCHEMA), PAUSE_S)
    while True:
        try:
            finished = run(dataclasses.replace(request, arguments=None), settings)
            if finished.summary is None:
                return finished.code
        except BuilderError as error:
            click.echo(f"error: {error}", err=True)
        click.echo("[INFO] Waiting for changes...")
        sys.stdout.flush()
        watcher.wait()
        request, settings = made_request(targets, **flags)
