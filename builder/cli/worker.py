"""`builder worker`: one worker that joins a coordinator."""

import os
from functools import partial

import click

from builder.cli.options import config_option


@click.command(
    epilog="""\b
Examples:
  builder worker --coordinator build.internal:9000
  builder worker --coordinator :9000 --slots 4 --scratch /var/lib/builder/worker
  builder worker --config worker.yaml

SIGTERM or Ctrl-C drains: no new actions, running ones may finish, the rest is handed back. A
second signal stops at once.
"""
)
@config_option
@click.option("--coordinator", metavar="HOST:PORT", help="The coordinator to join.")
@click.option("--name", help="The worker's name; unique in the pool.")
@click.option("--pool", metavar="NAME", help="Which of the configuration's pools it belongs to.")
@click.option("--slots", type=click.IntRange(min=1), help="How many actions run at once.")
@click.option("--scratch", metavar="DIR", help="Where inputs are cached and actions write.")
@click.option(
    "--notices",
    type=click.Choice(["none", "aws", "gcp"]),
    help="Drain when this cloud wants the machine back.",
)
@click.option(
    "--work-stealing/--no-work-stealing",
    default=None,
    help="Whether it takes what waits at loaded workers, and they from it.",
)
@click.option("--exit-with-stdin", is_flag=True, hidden=True, help="Stop when stdin ends.")
def command(
    config: str | None,
    coordinator: str | None,
    name: str | None,
    pool: str | None,
    slots: int | None,
    scratch: str | None,
    notices: str | None,
    work_stealing: bool | None,
    exit_with_stdin: bool,
) -> None:
    """Run one worker: it dials out to the coordinator, takes actions and runs each of them in a
    sandbox. Nothing connects to it, but other workers where the configuration has work stealing."""
    import trio  # late: `builder worker --help` needs none of it

    from builder.assembly.settings import load_settings
    from builder.assembly.worker import run_worker, worker_setup
    from builder.config.pools import member_of
    from builder.host.descriptors import allow_usual
    from builder.telemetry.log import configure, get_logger

    overrides = {
        "worker.coordinator": coordinator,
        "worker.name": name,
        "worker.slots": slots,
        "worker.scratch": scratch,
        "worker.notices": notices,
        "scheduler.work_stealing": work_stealing,
    }
    settings, _ = load_settings(config, overrides, os.environ)
    configure(settings.logging.level, settings.logging.format)
    allow_usual()
    setup = worker_setup(member_of(settings, settings.pool.name if pool is None else pool))
    get_logger().info("Worker starting", worker=setup.name, coordinator=setup.coordinator)
    trio.run(partial(run_worker, setup, exit_with_stdin=exit_with_stdin))
