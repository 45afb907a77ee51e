"""What machines cost, as the configuration tells it."""

from collections.abc import Iterable

from builder.config.providers import MachinePrice
from builder.scale.market import Goods, Price


def prices_of(said: Iterable[MachinePrice]) -> dict[Goods, Price]:
    return {
        one.type if one.place is None else (one.type, one.place): Price(
            one.hour, one.spot_hour, one.slots, one.start_up
        )
        for one in said
    }
