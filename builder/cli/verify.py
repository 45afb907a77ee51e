"""`bldr verify`: does a target make the same bytes each time?"""

from typing import Any

import click

from builder.cli.building import BuildCommand, building_options, made_request
from builder.cli.completing import target_names


@click.command(
    cls=BuildCommand,
    epilog="""\b
Examples:
  bldr verify app               twice, here
  bldr verify app -n 5 --remote on the workers of the configured coordinator, each time another one
  bldr verify app --seeds       also with other hash seeds in each run

\b
What it needs is taken from the cache; the target itself is run each time. Exit codes: 0 all runs
made the same bytes, 1 they did not or a run failed.
""",
)
@click.argument("target", shell_complete=target_names)
@click.option("-n", "count", type=click.IntRange(2, 100), default=2, help="So many runs.")
@click.option(
    "--seeds",
    "seeded",
    is_flag=True,
    help="Set PYTHONHASHSEED, PERL_HASH_SEED and BUILDER_SEED to the number of the run, where the "
    "target does not set them itself.",
)
@building_options
def command(target: str, count: int, seeded: bool, **flags: Any) -> int:
    """Run TARGET several times and compare what it makes, byte by byte."""
    request, settings = made_request((target,), **flags)
    from builder.assembly.verifying import verify

    verdict = verify(request, settings, target, count, seeded=seeded)
    for line in verdict.found:
        click.echo(f"[ERROR] {line}", err=True)
    if verdict.conclusion:
        click.echo(f"[INFO] {verdict.conclusion}")
    return verdict.code
