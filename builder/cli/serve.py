"""`builder serve`: the whole service on this machine."""

import os
from functools import partial
from pathlib import Path

import click

from builder.cli.options import config_option


@click.command(
    epilog="""\b
Examples:
  builder serve
  builder serve --workers-min 4 --state /var/lib/builder
  builder serve --remote --coordinator 127.0.0.1:9000 --workers-min 2 --workers-max 20 \\
      --autoscale --reapi 9001 --metrics :9090
  builder serve --config coordinator.yaml

\b
Bazel:  bazel build //... --remote_executor=grpc://127.0.0.1:9001
bldr:   bldr build cpp_project --remote

Addresses are HOST:PORT, :PORT or PORT alone, which mean this machine only; port 0 lets the
system choose. Ctrl-C or SIGTERM drains: running actions may finish. A second one stops at once.
"""
)
@config_option
@click.option("--remote", is_flag=True, help="Serve remote execution; it always does.")
@click.option("--coordinator", metavar="ADDR", help="Where workers, bldr and operators connect.")
@click.option("--reapi", metavar="ADDR", help="Where Bazel and other REAPI clients connect.")
@click.option("--metrics", metavar="ADDR", help="Where Prometheus and browsers connect.")
@click.option("--artifacts", metavar="ADDR", help="Where HTTP cache clients (ccache) connect.")
@click.option("--workers-min", type=click.IntRange(min=0), help="The fewest local workers.")
@click.option("--workers-max", type=click.IntRange(min=1), help="The most local workers.")
@click.option("--autoscale/--no-autoscale", default=None, help="Follow the load between the two.")
@click.option(
    "--cloud",
    type=click.Choice(["aws", "gcp", "k8s"]),
    help="Where workers come from, as `providers` in the configuration says.",
)
@click.option(
    "--work-stealing/--no-work-stealing",
    default=None,
    help="Whether workers with nothing to do take what waits at loaded ones.",
)
@click.option("--state", metavar="DIR", help="Where blobs, results and inputs are kept.")
@click.option("--exit-with-stdin", is_flag=True, hidden=True, help="Stop when stdin ends.")
def command(
    config: str | None,
    remote: bool,
    coordinator: str | None,
    reapi: str | None,
    metrics: str | None,
    artifacts: str | None,
    workers_min: int | None,
    workers_max: int | None,
    autoscale: bool | None,
    cloud: str | None,
    work_stealing: bool | None,
    state: str | None,
    exit_with_stdin: bool,
) -> None:
    """Run the service: coordinator, Remote Execution API, storage, metrics and local workers.

    Without any option or configuration everything listens on this machine only.
    """
    del remote  # there is no service without it; the flag reads well in scripts
    import trio  # late: `builder serve --help` needs none of it

    from builder.assembly.service import check_role, run_service
    from builder.assembly.settings import load_settings
    from builder.host.descriptors import allow_many
    from builder.telemetry.log import configure

    overrides = {
        "coordinator.listen": coordinator,
        "reapi.listen": reapi,
        "metrics.listen": metrics,
        "artifacts.listen": artifacts,
        "pool.min": workers_min,
        "pool.max": workers_max,
        "pool.autoscale": autoscale,
        "pool.provider": cloud,
        "scheduler.work_stealing": work_stealing,
        "store.path": None if state is None else str(Path(state).absolute() / "store"),
        "worker.scratch": None if state is None else str(Path(state).absolute() / "worker"),
    }
    settings, _ = load_settings(config, overrides, os.environ)
    check_role(settings)
    configure(settings.logging.level, settings.logging.format)
    allow_many()
    trio.run(partial(run_service, settings, config, exit_with_stdin=exit_with_stdin))
