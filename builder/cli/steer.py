"""`builder remote scale` and `builder remote drain`: an operator decides."""

import os
from typing import TYPE_CHECKING

import click

from builder.base.errors import (
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    UsageError,
)
from builder.base.units import parse_duration
from builder.cli.options import config_option

if TYPE_CHECKING:
    from builder.config.settings import Client
    from builder.reapi.pb import control_pb2

PATIENCE_S = 10.0
MOST_WORKERS = 2**31 - 1  # what the request can carry


def client_of(config: str | None, coordinator: str | None) -> "Client":
    """Whom to ask, and as whom, from the command line or the settings."""
    from builder.assembly.settings import load_settings

    settings, _ = load_settings(config, {"client.coordinator": coordinator}, os.environ)
    return settings.client


def call(client: "Client", method: str, request: bytes, patience_s: float | None = None) -> bytes:
    """The answer of one method of the Control service."""
    import trio  # late: `builder remote --help` needs none of it

    async def ask() -> bytes:
        from builder.assembly.dial import client_access, open_channel

        async with open_channel(str(client.coordinator), client_access(client)) as channel:
            return await channel.unary(
                f"/builder.control.Control/{method}", request, timeout_s=patience_s or PATIENCE_S
            )

    return trio.run(ask)


@click.command(
    epilog="""\b
Examples:
  builder remote scale --workers 8
  builder remote scale --release
  builder remote scale --pool gpu --workers 0

The size holds until it is released, or the service restarts; busy workers finish what they run.
Exit codes: 0 held or released; 1 no answer; 2 no such pool, or a size beyond its min and max.
"""
)
@config_option
@click.option("--coordinator", metavar="HOST:PORT", help="The coordinator to ask.")
@click.option("--workers", type=click.IntRange(0, MOST_WORKERS), help="How many there shall be.")
@click.option("--release", is_flag=True, help="Follow the policy again.")
@click.option("--pool", metavar="NAME", help="Which pool, where there are several.")
def scale(
    config: str | None,
    coordinator: str | None,
    workers: int | None,
    release: bool,
    pool: str | None,
) -> None:
    """Hold a pool at a size, or let it follow its policy again."""
    from builder.reapi.pb import control_pb2

    if (workers is None) != release:
        raise UsageError("say either --workers N or --release")
    request = control_pb2.ScalePoolRequest(workers=workers, pool=pool or "")
    client = client_of(config, coordinator)
    try:
        answer = call(client, "ScalePool", request.SerializeToString())
    except (InvalidArgumentError, NotFoundError, OutOfRangeError) as error:
        raise UsageError(error.message) from error  # no such pool, or not such a size of it
    state = control_pb2.PoolState.FromString(answer)
    which = f"The pool {state.name}" if pool else "The pool"
    click.echo(_released(which, state) if workers is None else _held(which, workers, state))


def _held(which: str, workers: int, pool: "control_pb2.PoolState") -> str:
    now = f"{pool.ready} ready, {pool.starting} starting"
    return f"{which} is held at {workers} worker{'' if workers == 1 else 's'} ({now})."


def _released(which: str, pool: "control_pb2.PoolState") -> str:
    policy = f"the policy {pool.policy}" if pool.autoscale else "its configured size"
    return f"{which} follows {policy} again ({pool.minimum} to {pool.maximum} workers)."


@click.command(
    epilog="""\b
Examples:
  builder remote drain worker-3
  builder remote drain worker-3 --grace 30s

The pool may start another worker in its place.
"""
)
@config_option
@click.option("--coordinator", metavar="HOST:PORT", help="The coordinator to ask.")
@click.option("--grace", help="After so long, what is not finished is run elsewhere.")
@click.argument("worker")
def drain(config: str | None, coordinator: str | None, grace: str | None, worker: str) -> None:
    """Let WORKER finish what it runs, give it nothing more, and let it go."""
    from builder.reapi.pb import control_pb2

    request = control_pb2.DrainWorkerRequest(worker=worker)
    if grace is not None:
        request.grace.FromNanoseconds(round(parse_duration(grace) * 1e9))
    client = client_of(config, coordinator)
    answer = call(client, "DrainWorker", request.SerializeToString())
    running = control_pb2.DrainWorkerResponse.FromString(answer).running
    actions = f"{running} action{'' if running == 1 else 's'}"
    click.echo(f"{worker} drains" + (f": {actions} to finish first." if running else "."))
