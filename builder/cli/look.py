"""`builder remote workers`, `actions`, `action`, `logs`, `cancel` and `explain-miss`."""

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import config_option
from builder.cli.steer import call, client_of

if TYPE_CHECKING:
    from builder.reapi.pb import control_pb2

COORDINATOR = "The coordinator to ask."


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of all of them."""
    with_json = click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
    with_address = click.option("--coordinator", metavar="HOST:PORT", help=COORDINATOR)
    return config_option(with_address(with_json(function)))


def as_text(message: object) -> str:
    """A message as JSON."""
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import Message

    from builder.reapi.pb.pool import POOL

    assert isinstance(message, Message)
    found = MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        descriptor_pool=POOL,
    )
    return json.dumps(found, indent=2) + "\n"


def _say(lines: list[str]) -> None:
    click.echo("\n".join(lines))


@click.command(
    epilog="""\b
Examples:
  builder remote workers
  builder remote workers --json
"""
)
@common
def workers(config: str | None, coordinator: str | None, as_json: bool) -> None:
    """The workers one by one: state, slots, sandbox, and what each runs."""
    from builder.reapi.pb import control_pb2
    from builder.telemetry import telling

    request = control_pb2.GetStatusRequest(details=True).SerializeToString()
    answer = call(client_of(config, coordinator), "GetStatus", request)
    status = control_pb2.Status.FromString(answer)
    if as_json:
        only = control_pb2.Status(worker=status.worker, workers=status.workers)
        click.echo(as_text(only), nl=False)
    else:
        _say(telling.workers(status))


@click.command(
    epilog="""\b
Examples:
  builder remote actions
  builder remote actions --failures
  builder remote actions --invocation 7a5c... --limit 1000
"""
)
@common
@click.option("--limit", type=click.IntRange(1, 10_000), default=30, show_default=True)
@click.option("--invocation", metavar="ID", help="Only those of one build.")
@click.option("--worker", metavar="NAME", help="Only those that this worker has or had.")
@click.option("--failures", is_flag=True, help="Only those that did not succeed.")
def actions(
    config: str | None,
    coordinator: str | None,
    as_json: bool,
    limit: int,
    invocation: str | None,
    worker: str | None,
    failures: bool,
) -> None:
    """The actions, the newest first: what waits and why, what runs where, what became of them."""
    from builder.reapi.pb import control_pb2
    from builder.telemetry import telling

    request = control_pb2.ListActionsRequest(
        limit=limit, invocation=invocation or "", worker=worker or "", failures=failures
    )
    data = call(client_of(config, coordinator), "ListActions", request.SerializeToString())
    found = control_pb2.ListActionsResponse.FromString(data)
    if as_json:
        click.echo(as_text(found), nl=False)
    else:
        _say(telling.actions(found, time.time_ns()))


def details_of(
    config: str | None, coordinator: str | None, id_: str, wait: bool = False
) -> "control_pb2.ActionDetails":
    from builder.reapi.pb import control_pb2

    request = control_pb2.GetActionRequest(id=id_, wait=wait).SerializeToString()
    client = client_of(config, coordinator)
    return control_pb2.ActionDetails.FromString(
        call(client, "GetAction", request, 90.0 if wait else None)
    )


@click.command(
    epilog="""\b
Examples:
  builder remote action 3f2a91c0
  builder remote action 3f2a91c0 --json

ID is what `builder remote actions` shows, the name of an operation, or the hash of an action.
"""
)
@common
@click.argument("id_", metavar="ID")
def action(config: str | None, coordinator: str | None, as_json: bool, id_: str) -> None:
    """One action: command, platform, inputs, timeline, reasons, resources, guarantees, outputs."""
    from builder.telemetry import telling

    details = details_of(config, coordinator, id_)
    if as_json:
        click.echo(as_text(details), nl=False)
    else:
        _say(telling.action(details, time.time_ns()))


@click.command(
    epilog="""\b
Examples:
  builder remote logs 3f2a91c0
  builder remote logs 3f2a91c0 -f

Exit codes: 0 the action succeeded (or goes on, without -f), 1 it did not.
"""
)
@config_option
@click.option("--coordinator", metavar="HOST:PORT", help=COORDINATOR)
@click.option("-f", "--follow", is_flag=True, help="As it is written, to the action's end.")
@click.argument("id_", metavar="ID")
def logs(config: str | None, coordinator: str | None, follow: bool, id_: str) -> int:
    """What an action has written: its stdout on stdout, its stderr on stderr."""
    details = details_of(config, coordinator, id_)
    if follow and not details.summary.outcome:
        operation = details.summary.operation
        _follow(config, coordinator, operation)
        details = details_of(config, coordinator, operation, wait=True)
    else:
        _write("stdout", details.stdout)
        _write("stderr", details.stderr)
    if not details.summary.outcome:
        click.echo(f"(it {details.summary.reason}; -f shows its output as it comes)", err=True)
        return 0
    for note in details.notes:
        click.echo(f"({note})", err=True)
    return 0 if details.summary.outcome in ("succeeded", "cached") else 1


def _follow(config: str | None, coordinator: str | None, operation: str) -> None:
    import trio

    from builder.assembly.following import follow

    trio.run(follow, client_of(config, coordinator), operation, _write)


def _write(stream: str, data: bytes) -> None:
    """As it is: bytes, at once."""
    out = sys.stdout if stream == "stdout" else sys.stderr
    out.buffer.write(data)
    out.flush()


@click.command(
    epilog="""\b
Examples:
  builder remote cancel 3f2a91c0

Other clients that wait for the same action keep it running.
"""
)
@config_option
@click.option("--coordinator", metavar="HOST:PORT", help=COORDINATOR)
@click.argument("id_", metavar="ID")
def cancel(config: str | None, coordinator: str | None, id_: str) -> None:
    """Cancel an action that waits or runs."""
    from builder.reapi.pb import control_pb2
    from builder.telemetry import telling

    request = control_pb2.CancelActionRequest(id=id_).SerializeToString()
    answer = call(client_of(config, coordinator), "CancelAction", request)
    found = control_pb2.Action.FromString(answer)
    click.echo(f"Cancelled: {telling.label(found)} ({found.operation}).")


@click.command(
    "explain-miss",
    epilog="""\b
Examples:
  builder remote explain-miss 3f2a91c0

It is compared with the nearest earlier action of the same target and mnemonic.
""",
)
@common
@click.argument("action")
def explain_miss(config: str | None, coordinator: str | None, as_json: bool, action: str) -> None:
    """Why ACTION was no cache hit: the argument, variable, property or input that differs."""
    from builder.reapi.pb import control_pb2
    from builder.telemetry import telling

    request = control_pb2.ExplainMissRequest(id=action).SerializeToString()
    data = call(client_of(config, coordinator), "ExplainMiss", request)
    answer = control_pb2.MissExplanation.FromString(data)
    if as_json:
        click.echo(as_text(answer), nl=False)
    else:
        _say(telling.explanation(answer))


COMMANDS = (workers, actions, action, logs, cancel, explain_miss)
