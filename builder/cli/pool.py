"""`builder pool simulate`: what would a policy have cost on this trace of work?"""

import json
import os
import random
from collections.abc import Callable
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import NamedTuple

import click
from click.core import ParameterSource

from builder.base.errors import UsageError
from builder.base.nearest import nearest
from builder.base.units import parse_duration
from builder.cli.machines import buyers, offers
from builder.cli.options import config_option
from builder.scale.autoscaler import Bounds
from builder.scale.contenders import CONTENDERS, compete
from builder.scale.simulate import Report
from builder.scale.traces import SHAPES, Arrival
from builder.scale.vendor import Bought, Buyer, Offer, Vendor, alike

COLUMNS = "policy          worker-hours     cost  wait p50  wait p95  wait p99  in use  most"
BARS = " ▁▂▃▄▅▆▇█"
PLOT_WIDTH = 72


@click.group
def command() -> None:
    """Compare autoscaling policies on traces of work."""


@command.command("simulate")
@click.argument("trace")
@click.option("--policy", "chosen", multiple=True, help="A policy; may be repeated. Default: all.")
@click.option("--min", "minimum", default=1, show_default=True, help="Fewest workers.")
@click.option("--max", "maximum", default=60, show_default=True, help="Most workers.")
@click.option("--slots", default=2, show_default=True, help="Actions at once on a worker.")
@click.option("--start-up", default="40s", show_default=True, help="From launch to first action.")
@click.option("--price", default=0.10, show_default=True, help="Money for a worker-hour.")
@click.option("--machine", multiple=True, metavar="KEY=VALUE,...", help="Instead of those three.")
@click.option("--buy", multiple=True, metavar="HOW", help="Among the machines. Default: every way.")
@config_option
@click.option("--pool", metavar="NAME", help="Of the configuration. Default: its first.")
@click.option("--seed", default=1, show_default=True, help="Of chance: a generated trace, notices.")
@click.option("--plot/--no-plot", default=True, show_default=True, help="Workers over time.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per policy and line.")
@click.pass_context
def simulate(
    context: click.Context,
    trace: str,
    chosen: tuple[str, ...],
    minimum: int,
    maximum: int,
    slots: int,
    start_up: str,
    price: float,
    machine: tuple[str, ...],
    buy: tuple[str, ...],
    config: str | None,
    pool: str | None,
    seed: int,
    plot: bool,
    as_json: bool,
) -> None:
    """Replay TRACE through the autoscaler itself, without starting anything.

    TRACE is a shape to generate (bursty, daily, nightly, quiet, ramp, spike, step, week) or a
    file with one JSON object a line: {"at_s": 12.5, "duration_s": 3.2}.

    A machine has type, hour (its price), and may have place, spot_hour, slots, start_up,
    interruptions (of a spot machine in an hour) and most (how many of it are to be had). With
    several the pool is bought by price (cost-aware), as the providers do it, and in other ways
    to compare; the policy is predictive unless others are named.

    With --config the bounds, the policy and the machines are those of a pool of that file, where
    the prices of its cloud's machines are told, and it buys as that pool does.

    \b
    Examples:
      builder pool simulate bursty
      builder pool simulate trace.jsonl --policy predictive --policy hpa --max 100
      builder pool simulate daily --config production.yaml --policy predictive --policy hpa
      builder pool simulate daily --machine type=small,hour=0.20,spot_hour=0.08,slots=4 \\
          --machine type=big,place=north,hour=0.36,spot_hour=0.12,slots=8,start_up=90s,most=5
    """
    there = offers(machine)
    names = [_policy(name) for name in chosen]
    if config is not None or pool is not None:
        own = _own(config, pool, _duration(start_up))
        minimum = minimum if _is_said(context, "minimum") else own.minimum
        maximum = maximum if _is_said(context, "maximum") else own.maximum
        names = names or ([own.policy] if own.policy in CONTENDERS else [])
        if not there and own.offers:
            there = list(own.offers)
            buy = buy or ("cost-aware" if own.spot else "on demand, by price",)
    _check_bounds(minimum, maximum)
    shops = _shops(context, there, buy, seed) if there or buy else _alike(slots, start_up, price)
    arrivals = _load(trace, seed)
    names = names or (["predictive"] if there else list(CONTENDERS))
    if not as_json:
        told = f"{len(there)} kinds of machines" if there else f"{start_up} start-up"
        click.echo(f"{trace}: {len(arrivals)} actions, {told}\n\n{COLUMNS}")
    reports: dict[str, Report] = {}
    for name, (how, shop) in product(names, shops.items()):
        report = compete(name, arrivals, shop.bounds(minimum, maximum), shop.open())
        reports[f"{name}, {how}" if how else name] = report
        click.echo(_json(name, report, how) if as_json else _row(name, report, how))
    if plot and not as_json:
        for name, report in reports.items():
            click.echo(f"\n{name}: workers, below them actions\n{_plot(report)}")


class Shop(NamedTuple):
    """Where one simulation buys; `slots` and `start_up_s` are what the pool guesses at first."""

    slots: int
    start_up_s: float
    open: Callable[[], Vendor]

    def bounds(self, minimum: int, maximum: int) -> Bounds:
        """Of a pool of these sizes that buys here."""
        guess_s = self.start_up_s
        return Bounds(minimum, maximum, self.slots, start_up_guess_s=guess_s, service_guess_s=10.0)


def _check_bounds(minimum: int, maximum: int) -> None:
    if not 0 <= minimum <= maximum or not maximum:
        raise UsageError(
            f"--min {minimum} and --max {maximum}: want 0 <= min <= max, and max at least 1"
        )


def _alike(slots: int, start_up: str, price: float) -> dict[str, Shop]:
    if slots < 1:
        raise UsageError(f"--slots {slots}: a worker runs at least one action at once")
    if not 0 <= price < float("inf"):
        raise UsageError(f"--price {price:g}: want 0 or more")
    start_up_s = _duration(start_up)
    return {"": Shop(slots, start_up_s, lambda: alike(slots, start_up_s, price))}


def _own(config: str | None, pool: str | None, start_up_s: float) -> Bought:
    from builder.assembly.offers import bought  # late: most simulations have no configuration

    if config is None:
        raise UsageError(f"--pool {pool}: say of which configuration by --config FILE")
    return bought(config, pool, os.environ, start_up_s)


def _is_said(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _shops(
    context: click.Context, there: list[Offer], buy: tuple[str, ...], seed: int
) -> dict[str, Shop]:
    """One for each way to choose; they all have the same machines and the same luck."""
    for name in ("slots", "start_up", "price"):
        if _is_said(context, name) and context.params["machine"]:
            raise UsageError(f"--{name.replace('_', '-')}: say it of each --machine")
    if not there:
        raise UsageError("--buy chooses among machines: say which by --machine")
    slots = round(sum(one.price.slots for one in there) / len(there))
    quickest_s = min(one.price.start_up_s for one in there)

    def shop(buyer: Buyer) -> Shop:
        chance = random.Random
        return Shop(slots, quickest_s, lambda: Vendor(there, buyer, chance(seed).random))

    return {name: shop(buyer) for name, buyer in buyers(buy).items()}


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except UsageError as error:
        raise UsageError(f"--start-up: {error}") from None


def _policy(name: str) -> str:
    if name in CONTENDERS:
        return name
    meant = nearest(name, CONTENDERS)
    hint = f"did you mean {meant!r}?" if meant else f"there is {', '.join(CONTENDERS)}"
    raise UsageError(f"no policy {name!r}; {hint}")


def _load(trace: str, seed: int) -> list[Arrival]:
    if trace in SHAPES:
        return SHAPES[trace].trace(random.Random(seed))  # noqa: S311 - a trace
    path = Path(trace)
    if not path.is_file():
        raise UsageError(f"{trace} is neither a file nor one of {', '.join(SHAPES)}")
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{trace} cannot be read: {error}") from error
    found = [_arrival(trace, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise UsageError(f"{trace} holds no action")
    return sorted(found, key=lambda arrival: arrival.at_s)


def _arrival(trace: str, number: int, line: str) -> Arrival:
    try:
        value = json.loads(line)
        arrival = Arrival(float(value["at_s"]), float(value["duration_s"]))
    except (ValueError, KeyError, TypeError):
        arrival = Arrival(-1.0, -1.0)
    if not (0 <= arrival.at_s < float("inf") and 0 <= arrival.duration_s < float("inf")):
        raise UsageError(
            f'{trace}:{number}:1: not an action; write {{"at_s": 12.5, "duration_s": 3.2}}'
        )
    return arrival


def _row(name: str, report: Report, how: str) -> str:
    bought = f"  {how}, {report.interruptions} taken back" if how else ""
    return (
        f"{name:<15} {report.worker_hours:>12.1f} {report.cost:>8.2f}"
        f" {report.wait_p50_s:>8.1f}s {report.wait_p95_s:>8.1f}s {report.wait_p99_s:>8.1f}s"
        f" {report.utilisation:>7.0%} {report.most_workers:>5}{bought}"
    )


def _json(name: str, report: Report, how: str) -> str:
    figures = asdict(report)
    del figures["course"]
    return json.dumps({"policy": name, **({"bought": how} if how else {}), **figures})


def _plot(report: Report) -> str:
    return "\n".join(
        (_bars([point[1] for point in report.course]), _bars([p[2] for p in report.course]))
    )


def _bars(values: list[int]) -> str:
    """One line, each column the largest of its part, scaled to the largest of all."""
    per = max(1, -(-len(values) // PLOT_WIDTH))
    columns = [max(values[n : n + per]) for n in range(0, len(values), per)]
    top = max([1, *columns])
    line = "".join(BARS[-(-value * (len(BARS) - 1) // top)] for value in columns)
    return f"{line} {top}"
