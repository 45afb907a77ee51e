"""`bldr test`: the targets that are tests, and how they went."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from builder.base.errors import UsageError
from builder.cli.building import BuildCommand, building_options, made_request
from builder.cli.completing import target_names


@click.command(
    cls=BuildCommand,
    epilog="""\b
Examples:
  bldr test                          all tests of this package and those beneath, here
  bldr test --remote                 on the configured coordinator
  bldr test unit --junit tests.xml   one of them, reported for other programs

\b
A test is a target with 'test: true'; it passes when its command exits with 0. One whose inputs
have not changed is not run again, unless --no-cache is given. With 'retries' a test that fails is
run again; one that then passes is reported as flaky.
Exit codes: 0 all passed, 1 a test failed or was not run, 2 wrong arguments or Builderfile.
""",
)
@click.argument("targets", nargs=-1, shell_complete=target_names)
@click.option(
    "--junit",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the results as JUnit XML.",
)
@click.option("--fail-fast", is_flag=True, help="Start nothing more after the first failure.")
@building_options
def command(targets: tuple[str, ...], junit: Path | None, fail_fast: bool, **flags: Any) -> int:
    """Run the tests among TARGETS, or all that are here, with everything that they need."""
    request, settings = made_request(targets, **flags)
    from builder.assembly.client import run
    from builder.assembly.project import open_project
    from builder.client import testing

    opened = open_project(request.directory)
    graph = opened.graph
    names = testing.tests_of(graph, graph.select(targets or [f"//{graph.project.here}/..."]))
    if not names:
        raise UsageError("there is no test here; a test is a target with 'test: true'")
    request = dataclasses.replace(request, keep_going=not fail_fast, arguments=None)
    finished = run(request, settings, opened, names)
    if finished.summary is None:
        return finished.code
    results = testing.tested(finished.summary, names)
    if not flags["as_json"]:
        for line in testing.report(results):
            click.echo(f"[INFO] {line}")
    if junit is not None:
        junit.write_bytes(testing.junit(results, opened.root.name))
    return finished.code
