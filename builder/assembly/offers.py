"""What a configured pool may buy, for a simulation of it."""

from collections.abc import Mapping
from dataclasses import replace

from builder.assembly.prices import prices_of
from builder.assembly.settings import read_shape
from builder.base.errors import UsageError
from builder.base.nearest import nearest
from builder.config.pools import settings_of
from builder.config.settings import Settings
from builder.providers.ec2 import Fleet, Region, by_place
from builder.scale.market import Goods, Price
from builder.scale.vendor import Bought, Offer


def bought(config: str, pool: str | None, environ: Mapping[str, str], start_up_s: float) -> Bought:
    """Of this pool in the file, else of the first. `start_up_s` is for machines that tell none.

    Raises UsageError.
    """
    settings = _pool(read_shape(config, {}, environ).settings, pool)
    spot, priced = _machines(settings)
    offers = []
    for (kind, place), price in priced.items():
        told = price if price.start_up_s else replace(price, start_up_s=start_up_s)
        offers.append(Offer(kind, told, place))
    wanted = settings.pool
    return Bought(wanted.min, wanted.max, wanted.policy, spot, tuple(offers))


def _pool(settings: Settings, name: str | None) -> Settings:
    every = {one.name: one for one in (settings.pool, *settings.pools)}
    wanted = settings.pool.name if name is None else name
    if wanted not in every:
        meant = nearest(wanted, every)
        hint = f"did you mean {meant!r}?" if meant else f"there is {', '.join(every)}"
        raise UsageError(f"--pool {wanted}: {hint}")
    return settings_of(settings, every[wanted])


def _machines(settings: Settings) -> tuple[bool, dict[tuple[str, str], Price]]:
    """Whether spot machines are wanted, and the price of each kind in each place, where told."""
    provider, found = settings.pool.provider, settings.providers
    if provider == "aws" and found.aws is not None:
        aws = found.aws
        others = tuple(Region(one.region, "", one.subnets, (), None) for one in aws.other_regions)
        fleet = Fleet(
            aws.region,
            "",
            aws.instance_types,
            "",
            aws.subnets,
            others=others,
            prices=prices_of(aws.prices),
        )
        places = [place for region in fleet.regions for place in region.places]
        return aws.spot, _priced(aws.instance_types, places, by_place(fleet))
    if provider == "gcp" and found.gcp is not None:
        gcp = found.gcp
        return gcp.spot, _priced(gcp.machine_types, gcp.zones, prices_of(gcp.prices))
    return False, {}


def _priced(
    kinds: tuple[str, ...], places: list[str] | tuple[str, ...], prices: Mapping[Goods, Price]
) -> dict[tuple[str, str], Price]:
    return {
        (kind, place): price
        for kind in kinds
        for place in places
        if (price := prices.get((kind, place)) or prices.get(kind)) is not None
    }
