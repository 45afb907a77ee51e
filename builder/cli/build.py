"""`bldr build`: targets of a Builderfile, here or remotely."""

from typing import Any

import click

from builder.cli.building import BuildCommand, building_options, made_request
from builder.cli.completing import target_names


@click.command(
    cls=BuildCommand,
    epilog="""\b
Examples:
  bldr build                                  the target 'default', or else all targets
  bldr build cpp_project                      here, in the sandbox of this machine
  bldr build cpp_project --remote             on the configured coordinator
  bldr build cpp_project --remote=build:9000  on this one
  bldr build cpp_project --remote=local       through a whole service inside this process
  bldr build -k -j 8 test parallel            go on after a failure, eight at once
  bldr build --profile trace.json             where the time goes, for ui.perfetto.dev
  bldr build --json | jq .event               for programs

\b
The Builderfile is looked for in the directory and those above it. Inputs are found by their
contents, so a result is used again wherever the same files are built in the same way.
Exit codes: 0 built, 1 a target failed, 2 wrong arguments or Builderfile, 130 interrupted.
On a terminal, what runs is shown beneath the lines; NO_COLOR=1 leaves out colours.
Environment: BUILDER_COORDINATOR names the coordinator, BUILDER_REMOTE=true makes --remote the
default.
""",
)
@click.argument("targets", nargs=-1, shell_complete=target_names)
@building_options
def command(targets: tuple[str, ...], **flags: Any) -> int:
    """Build TARGETS of the Builderfile, and bring their outputs back.

    Each command runs in a sandbox that holds its inputs and nothing else of the project. Without
    --remote it is the sandbox of this machine; all ways give the same bytes.
    """
    request, settings = made_request(targets, **flags)
    from builder.assembly.client import run

    return run(request, settings).code
