"""`builder remote configure`: change a service's config file, and show what has changed."""

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import click

from builder.base.errors import UsageError
from builder.cli.options import config_option
from builder.config.providers import ProviderName

if TYPE_CHECKING:
    from builder.base.document import Plain
    from builder.config.settings import Settings

SPOT = ("spot", "spot_max_price", "on_demand_base")


@click.command(
    epilog="""\b
Examples:
  builder remote configure --config service.yaml --provider aws --spot --on-demand-base 2
  builder remote configure --config service.yaml --min 4 --max 100 --policy hpa
  builder remote configure --config service.yaml --pool gpu --max 4
  builder remote configure --config service.yaml --set logging.level=debug --dry-run

Comments and order of the file are kept. It is written only if it is valid then, and holds from
the next start of the service. Exit codes: 0 written, or nothing to change; 2 not valid.
"""
)
@config_option
@click.option(
    "--provider", type=click.Choice(get_args(ProviderName)), help="Who gives the machines."
)
@click.option("--spot/--no-spot", default=None, help="Machines that may be taken back.")
@click.option("--spot-max-price", type=float, metavar="PRICE", help="The most for an hour of one.")
@click.option("--on-demand-base", type=click.IntRange(0), help="How many are never spot.")
@click.option("--min", "minimum", type=click.IntRange(0), help="The fewest workers.")
@click.option("--max", "maximum", type=click.IntRange(0), help="The most workers.")
@click.option("--autoscale/--no-autoscale", default=None, help="Follow the load.")
@click.option("--policy", help="How the size is found.")
@click.option("--pool", metavar="NAME", help="Which pool, where there are several.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any other key.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
def configure(
    config: str | None,
    pool: str | None,
    assignments: tuple[str, ...],
    dry_run: bool,
    **options: object,
) -> None:
    """Change the config file of a service: its pools, spot machines, or any key."""
    if config is None:
        raise UsageError("say which file: --config FILE (or BUILDER_CONFIG)")
    from builder.assembly.settings import read_settings
    from builder.config.editing import edited

    path = Path(config)
    before = read_settings(config, {}, os.environ).settings
    changes = _changes(cast("dict[str, Plain]", options), before, pool)
    changes.update(_assigned(text) for text in assignments)
    if not changes:
        raise UsageError("say what to change; --help has examples")
    text = path.read_text()
    new = edited(text, changes)
    if new == text:
        click.echo(f"{config}: nothing to change")
        return
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(new)
        beside.chmod(path.stat().st_mode & 0o7777)
        _check(beside, path)
        _show(text, new, config)
        if not dry_run:
            beside.replace(path.resolve())
            click.echo("Written; it holds from the next start of the service.")
    finally:
        beside.unlink(missing_ok=True)


def _check(beside: Path, path: Path) -> None:
    """Raises UsageError that speaks of the file itself."""
    from builder.assembly.settings import read_settings

    try:
        read_settings(str(beside), {}, os.environ)
    except UsageError as error:
        said = str(error).replace(str(beside), str(path))
        raise UsageError(f"{said}\nnothing is written") from None


def _changes(
    options: "dict[str, Plain]", before: "Settings", name: str | None
) -> "dict[tuple[str, ...], Plain]":
    """By key; what the command line does not say stays."""
    from builder.config.pools import member_of, pool_names

    pool = before.pool if name is None else member_of(before, name).pool
    index = list(pool_names(before)).index(pool.name)
    here = ("pools", str(index - 1)) if index else ("pool",)
    provider = str(options["provider"] or pool.provider)
    providers = ("providers",) if pool.providers is None else (*here, "providers")
    keys: dict[str, tuple[str, ...]] = {
        "provider": (*here, "provider"),
        "minimum": (*here, "min"),
        "maximum": (*here, "max"),
        "autoscale": (*here, "autoscale"),
        "policy": (*here, "policy"),
    }
    keys |= {name: (*providers, provider, name) for name in SPOT}
    return {keys[name]: value for name, value in options.items() if value is not None}


def _assigned(text: str) -> "tuple[tuple[str, ...], Plain]":
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {text}: write KEY=VALUE, as pool.min=4")
    try:
        return tuple(key.split(".")), yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(f"--set {text}: {value!r} is no YAML value") from None


def _show(before: str, after: str, name: str) -> None:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, name, n=1)
    for line in lines:
        click.echo(line.rstrip("\n"))
