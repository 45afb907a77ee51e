"""`bldr run`: build a program, then start it."""

import dataclasses
import os
import sys
from typing import Any

import click

from builder.base.errors import UsageError
from builder.cli.building import BuildCommand, building_options, made_request
from builder.cli.completing import target_names


@click.command(
    cls=BuildCommand,
    epilog="""\b
Examples:
  bldr run app                    build app, then start the program that it made
  bldr run app -- --port 8080     with arguments
  bldr run --remote app           built remotely, started here

\b
The program is the target's first output that is an executable file. It starts in your own
directory, outside of the sandbox; its exit code is that of this command.
""",
)
@click.argument("target", shell_complete=target_names)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@building_options
def command(target: str, arguments: tuple[str, ...], **flags: Any) -> int:
    """Build TARGET, and start the program that it made with ARGUMENTS."""
    request, settings = made_request((target,), **flags)
    from builder.assembly.client import run
    from builder.assembly.project import open_project
    from builder.client.outputs import executables

    opened = open_project(request.directory)
    outputs = [o for name in opened.graph.select([target]) for o in opened.graph.outputs(name)]
    finished = run(dataclasses.replace(request, arguments=None), settings, opened)
    if finished.code:
        return finished.code
    assert finished.summary is not None  # it ended well
    made = {p: e for built in finished.summary.built.values() for p, e in built.entries.items()}
    for path in executables(outputs, made):
        sys.stdout.flush()
        program = str(opened.root / path)
        os.execv(program, [program, *arguments])  # noqa: S606  it is what was asked for
    raise UsageError(f"target {target!r} makes no executable file")
