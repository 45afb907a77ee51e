"""`builder remote watch`: the service live, second by second."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import click

from builder.cli.options import config_option
from builder.cli.steer import PATIENCE_S, client_of

if TYPE_CHECKING:
    from builder.config.settings import Client
    from builder.net.rpc import Channel
    from builder.reapi.pb import control_pb2

EVERY_S = 1.0
MOST_ACTIONS = 100
CONTROL = "/builder.control.Control/"
HOME_AND_CLEAR = "\x1b[H\x1b[J"
ALTERNATE, NORMAL = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


@click.command(
    epilog="""\b
Examples:
  builder remote watch
  builder remote watch | tee watch.log     one line a second, without a terminal

\b
Keys:  o overview, w workers, u queue, a actions, p pool, q quit
"""
)
@config_option
@click.option("--coordinator", metavar="HOST:PORT", help="The coordinator to ask.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many seconds.")
def watch(config: str | None, coordinator: str | None, count: int | None) -> None:
    """Workers, queue, throughput and hit rate, live."""
    import trio

    trio.run(_watch, client_of(config, coordinator), count)


async def _watch(client: "Client", count: int | None) -> None:
    from builder.assembly.dial import client_access, open_channel

    async with open_channel(str(client.coordinator), client_access(client)) as channel:
        if sys.stdout.isatty() and sys.stdin.isatty():
            with _screen():
                await _live(channel, count)
        else:
            await _plain(channel, count)


async def _plain(channel: "Channel", count: int | None) -> None:
    from builder.assembly.live import Rates, plain_line

    rates = Rates()
    async for _ in _seconds(count):
        status, _actions = await _ask(channel, "o")
        click.echo(plain_line(status, rates.per_minute(status, time.monotonic())))
        sys.stdout.flush()


async def _live(channel: "Channel", count: int | None) -> None:
    """Redraw every second and at each key."""
    import trio

    from builder.assembly.live import VIEWS, Rates, screen

    rates, view = Rates(), "o"
    left = count
    next_tick = trio.current_time()
    while left is None or left > 0:
        if trio.current_time() >= next_tick:
            next_tick = trio.current_time() + EVERY_S
            left = None if left is None else left - 1
        status, actions = await _ask(channel, view)
        rate = rates.per_minute(status, time.monotonic())
        lines = screen(view, status, actions, rate, shutil.get_terminal_size())
        sys.stdout.write(HOME_AND_CLEAR + "\r\n".join(lines))
        sys.stdout.flush()
        with trio.move_on_at(next_tick):
            await trio.lowlevel.wait_readable(sys.stdin.fileno())
            key = os.read(sys.stdin.fileno(), 1).decode(errors="replace").lower()
            if key in ("q", "\x04", "\x1b"):
                return
            view = key if key in VIEWS else view


async def _seconds(count: int | None) -> AsyncIterator[None]:
    import trio

    number = 0
    while count is None or number < count:
        yield
        number += 1
        if count is None or number < count:
            await trio.sleep(EVERY_S)


async def _ask(
    channel: "Channel", view: str
) -> "tuple[control_pb2.Status, control_pb2.ListActionsResponse]":
    from builder.reapi.pb import control_pb2

    request = control_pb2.GetStatusRequest(details=view in "wu").SerializeToString()
    data = await channel.unary(CONTROL + "GetStatus", request, timeout_s=PATIENCE_S)
    actions = control_pb2.ListActionsResponse()
    if view == "a":
        wanted = control_pb2.ListActionsRequest(limit=MOST_ACTIONS).SerializeToString()
        answer = await channel.unary(CONTROL + "ListActions", wanted, timeout_s=PATIENCE_S)
        actions.ParseFromString(answer)
    return control_pb2.Status.FromString(data), actions


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    """A screen of our own, keys without Enter; all as before in the end."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    sys.stdout.write(ALTERNATE)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        sys.stdout.write(NORMAL)
        sys.stdout.flush()
