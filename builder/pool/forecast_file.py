"""What the forecast has learned, in a file, so that a restart does not forget the week."""

import math
from dataclasses import asdict, fields
from pathlib import Path

import trio

from builder.pool.kept_file import no_such, read, write
from builder.scale.seasonal import STEPS, STEPS_OF_WEEK, HoltWinters, Learned

SAVE_EVERY_S = 300.0
WHAT = "forecast"


class ForecastFile:
    """One coordinator's; written whole and then put in the place of the one before."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Learned:
        """Nothing learned, if there is no file. Raises UsageError for one that is not ours."""
        found = read(self._path, WHAT)
        if found is None:
            return Learned()
        try:
            return _learned(found)
        except (ValueError, TypeError, AttributeError) as error:
            raise no_such(self._path, WHAT) from error

    def save(self, learned: Learned) -> None:
        write(self._path, asdict(learned), WHAT)

    async def keep(self, forecast: HoltWinters) -> None:
        """Save it now and then, and when cancelled."""
        try:
            while True:
                await trio.sleep(SAVE_EVERY_S)
                self.save(forecast.learned)
        finally:
            self.save(forecast.learned)


def _learned(found: object) -> Learned:
    """Raises ValueError, TypeError or AttributeError for anything else."""
    if not isinstance(found, dict) or set(found) != {one.name for one in fields(Learned)}:
        raise ValueError("other fields")
    learned = Learned(**found)  # looked at below
    learned.first_day = {int(place): float(rate) for place, rate in learned.first_day.items()}
    for values, length in ((learned.day, STEPS), (learned.week, STEPS_OF_WEEK)):
        if values and len(values) != length:
            raise ValueError("another length")
    if len(learned.seen) != STEPS_OF_WEEK or len(learned.week) != STEPS_OF_WEEK:
        raise ValueError("another length")
    numbers = [learned.level, learned.trend, *learned.day, *learned.week, *learned.seen]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("no numbers")
    return learned
