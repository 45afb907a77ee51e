"""What has to fit in the settings of pools and of their providers."""

import re
from collections.abc import Iterator

from builder.base.document import Path
from builder.config.filling import Finding
from builder.config.pools import pool_names, settings_of
from builder.config.providers import Aws, MachinePrice, Providers
from builder.config.settings import Pool, Settings

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def of_pools(settings: Settings) -> Iterator[Finding]:
    """Each pool for itself, and beside the others."""
    pool = settings.pool
    if settings.role == "coordinator" and pool.provider == "local" and pool != Pool(pool.name):
        message = "'pool' is set, but a coordinator has no local workers"
        yield Finding(("pool",), message, "use role: all, or another provider")
    yield from _pool(settings, ("pool",))
    yield from _providers(settings.providers, ("providers",))
    for index, pool in enumerate(settings.pools):
        yield from _another(settings, index)
        yield from _pool(settings_of(settings, pool), ("pools", index))


def _another(settings: Settings, index: int) -> Iterator[Finding]:
    """What only a pool beside the first has to mind."""
    pool, path = settings.pools[index], ("pools", index)
    if pool.name in list(pool_names(settings))[: index + 1]:
        message = f"there are two pools of the name {pool.name!r}"
        yield Finding((*path, "name"), message, "actions and operators tell pools by their names")
    elif not PLAIN_NAME.fullmatch(pool.name):
        message = (
            f"the name {pool.name!r} is no plain word, and this pool's workers are named by it"
        )
        yield Finding((*path, "name"), message, "use letters, digits, '.', '_' and '-'")
    if settings.role == "coordinator" and pool.provider == "local":
        message = f"'pools.{index}' is local, but a coordinator has no local workers"
        yield Finding((*path, "provider"), message, "use role: all, or another provider", path)
    others = [settings.pool, *settings.pools[:index]]
    if pool.forecast is not None and pool.forecast in [one.forecast for one in others]:
        message = f"another pool keeps its forecast in {pool.forecast}"
        yield Finding((*path, "forecast"), message, "give each pool a file of its own")
    if pool.record is not None:
        message = "one trace is recorded for the whole service"
        yield Finding((*path, "record"), message, "set 'pool.record'")


def _pool(alone: Settings, path: Path) -> Iterator[Finding]:
    """One pool, in settings in which there is no other."""
    pool, name = alone.pool, _dotted(path)
    if pool.min > pool.max:
        message = f"'{name}.min' is {pool.min}, above '{name}.max' {pool.max}"
        yield Finding((*path, "min"), message, other=(*path, "max"))
    elif pool.target is not None and not pool.min <= pool.target <= pool.max:
        message = f"'{name}.target' is {pool.target}, outside of {pool.min} to {pool.max}"
        yield Finding((*path, "target"), message, f"it lies between '{name}.min' and '{name}.max'")
    if pool.scale_down_threshold >= pool.scale_up_threshold:
        message = (
            f"'{name}.scale_down_threshold' {pool.scale_down_threshold:g} is not below "
            f"'{name}.scale_up_threshold' {pool.scale_up_threshold:g}"
        )
        other = (*path, "scale_up_threshold")
        yield Finding((*path, "scale_down_threshold"), message, other=other)
    if getattr(alone.providers, pool.provider) is None:
        message = f"'{name}.provider' is {pool.provider}, but "
        message += f"'providers.{pool.provider}' is not set"
        yield Finding((*path, "provider"), message)
    if pool.providers is not None:
        yield from _providers(pool.providers, (*path, "providers"))


def _providers(providers: Providers, path: Path) -> Iterator[Finding]:
    if (aws := providers.aws) and aws.spot_max_price is not None and not aws.spot:
        here = (*path, "aws", "spot_max_price")
        yield Finding(here, "a spot price is set, but spot instances are not", "set spot: true")
    if aws := providers.aws:
        here = (*path, "aws", "prices")
        yield from _prices(aws.prices, aws.instance_types, _aws_places(aws), here)
        yield from _regions(aws, (*path, "aws", "other_regions"))
    if gcp := providers.gcp:
        here = (*path, "gcp", "prices")
        yield from _prices(gcp.prices, gcp.machine_types, gcp.zones, here)
    name = _dotted(path)
    if (gcp := providers.gcp) and gcp.template is None and gcp.image is None:
        yield Finding((*path, "gcp"), f"'{name}.gcp' needs a template or an image")
    if (k8s := providers.k8s) and k8s.template is None and k8s.image is None:
        yield Finding((*path, "k8s"), f"'{name}.k8s' needs a template or an image")
    if custom := providers.custom:
        commands = [custom.launch, custom.terminate, custom.list]
        if (None in commands) == (custom.entry_point is None):
            message = f"'{name}.custom' needs launch, terminate and list, or an entry_point"
            yield Finding((*path, "custom"), message)


def _aws_places(aws: Aws) -> tuple[str, ...]:
    """Subnets are places, and so is a region: a price there is that of all its subnets."""
    others = [(one.region, *one.subnets) for one in aws.other_regions]
    return aws.region, *aws.subnets, *(place for places in others for place in places)


def _regions(aws: Aws, path: Path) -> Iterator[Finding]:
    seen = {aws.region}
    for number, one in enumerate(aws.other_regions):
        if one.region in seen:
            message = f"the region {one.region} is there already"
            yield Finding((*path, number, "region"), message, "name each region once")
        seen.add(one.region)


def _prices(
    prices: tuple[MachinePrice, ...], types: tuple[str, ...], places: tuple[str, ...], path: Path
) -> Iterator[Finding]:
    """All types or none, each once: what has no price could not be compared. Places are extra."""
    named = sorted(one.type for one in prices if one.place is None)
    if prices and named != sorted(types):
        message = f"'{_dotted(path)}' has to name every type once: {', '.join(types)}"
        yield Finding(path, message, "or leave it out")
    seen: set[tuple[str, str]] = set()
    for number, one in enumerate(prices):
        if one.place is None:
            continue
        here = (*path, number)
        if one.type not in types or one.place not in places:
            told = ", ".join(places) or "none"
            message = f"'{_dotted(here)}' is of {one.type} in {one.place}; places are {told}"
            yield Finding(here, message)
        if (one.type, one.place) in seen:
            yield Finding(here, f"{one.type} in {one.place} has a price already")
        seen.add((one.type, one.place))


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
