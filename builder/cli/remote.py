"""`builder remote`: see and steer a running service."""

import os
from typing import TYPE_CHECKING

import click

from builder.cli.configure import configure
from builder.cli.look import COMMANDS, as_text
from builder.cli.options import config_option
from builder.cli.steer import drain, scale
from builder.cli.watch import watch

if TYPE_CHECKING:
    from builder.config.settings import Settings

GET_STATUS = "/builder.control.Control/GetStatus"
PATIENCE_S = 10.0


@click.group()
def command() -> None:
    """See and steer a running service."""


command.add_command(scale)
command.add_command(drain)
command.add_command(watch)
command.add_command(configure)
for one in COMMANDS:
    command.add_command(one)


@command.command(
    epilog="""\b
Examples:
  builder remote status
  builder remote status --coordinator build.internal:9000 --json

Exit codes: 0 healthy, 1 not healthy or not reachable.
"""
)
@config_option
@click.option("--coordinator", metavar="HOST:PORT", help="The coordinator to ask.")
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def status(config: str | None, coordinator: str | None, as_json: bool) -> int:
    """What the service is doing: uptime, workers, queue, pool, metrics, storage, health."""
    import trio  # late: `builder remote --help` needs none of it

    from builder.assembly.settings import load_settings
    from builder.reapi.pb import control_pb2

    settings, _ = load_settings(config, {"client.coordinator": coordinator}, os.environ)
    request = control_pb2.GetStatusRequest(details=as_json).SerializeToString()
    answer = trio.run(_ask, settings, request)
    found = control_pb2.Status.FromString(answer)
    click.echo(as_text(found) if as_json else _text(found), nl=False)
    return 1 if found.problems or found.state != "running" else 0


async def _ask(settings: "Settings", request: bytes) -> bytes:
    from builder.assembly.dial import client_access, open_channel

    client = settings.client
    async with open_channel(str(client.coordinator), client_access(client)) as channel:
        return await channel.unary(GET_STATUS, request, timeout_s=PATIENCE_S)


def _text(status: object) -> str:
    from builder.assembly.status import sections, service_line
    from builder.reapi.pb import control_pb2

    assert isinstance(status, control_pb2.Status)
    title = "Remote Execution Status"
    lines = [title, "═" * len(title), f"Service: {service_line(status)}"]
    for name, rows in sections(status):
        lines += ["", f"{name}:"]
        lines += [f"  {label}: {figure}" for label, figure in rows]
    return "\n".join(lines) + "\n"
