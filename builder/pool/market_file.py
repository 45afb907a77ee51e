"""What was learned of machines, in a file beside the forecast's: who is taken back how often, and
how long each takes to start. A restart would else have to be interrupted again to know."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import trio

from builder.pool.kept_file import no_such, read, write
from builder.scale.market import Market, Memory

SAVE_EVERY_S = 300.0
WHAT = "market"


class MarketFile:
    """One pool's. `wall` is the time of day, in seconds since some epoch: two coordinators have no
    other clock in common."""

    def __init__(self, path: Path, wall: Callable[[], float]) -> None:
        self._path = path
        self._wall = wall

    @classmethod
    def beside(cls, forecast: Path, wall: Callable[[], float]) -> "MarketFile":
        return cls(forecast.with_name(f"{forecast.stem}.market{forecast.suffix}"), wall)

    def load(self, market: Market) -> None:
        """Nothing, if there is no file. Raises UsageError for one that is not ours."""
        found = read(self._path, WHAT)
        if found is None:
            return
        try:
            saved_at, memories = _memories(found)
        except (ValueError, TypeError, KeyError) as error:
            raise no_such(self._path, WHAT) from error
        market.recall(memories, self._wall() - saved_at, trio.current_time())

    def save(self, market: Market) -> None:
        memories = [asdict(one) for one in market.memories(trio.current_time())]
        write(self._path, {"saved_at": self._wall(), "machines": memories}, WHAT)

    async def keep(self, market: Market) -> None:
        """Save it now and then, and when cancelled."""
        try:
            while True:
                await trio.sleep(SAVE_EVERY_S)
                self.save(market)
        finally:
            self.save(market)


def _memories(found: object) -> tuple[float, list[Memory]]:
    """Raises ValueError, TypeError or KeyError for anything else."""
    if not isinstance(found, dict) or not isinstance(found["machines"], list):
        raise TypeError("no table")
    memories = [Memory(**one) for one in found["machines"]]
    numbers = [found["saved_at"], *(n for one in memories for n in (one.hours, one.interruptions))]
    numbers += [one.start_up_s for one in memories if one.start_up_s is not None]
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise ValueError("no numbers")
    return found["saved_at"], memories
