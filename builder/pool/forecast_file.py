"""What the forecast has learned, in a file, so that a restart does not forget the week."""

import json
import math
import os
from dataclasses import asdict, fields
from pathlib import Path

import trio

from builder.base.errors import UsageError
from builder.scale.seasonal import STEPS, STEPS_OF_WEEK, HoltWinters, Learned
from builder.telemetry.log import get_logger

SAVE_EVERY_S = 300.0

log = get_logger()


class ForecastFile:
    """One coordinator's; written whole and then put in the place of the one before."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Learned:
        """Nothing learned, if there is no file. Raises UsageError for one that is not ours."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return Learned()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"pool.forecast: {self._path} cannot be read: {error}") from error
        try:
            return _learned(json.loads(text))
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(
                f"pool.forecast: {self._path} is no forecast; remove it to begin anew"
            ) from error

    def save(self, learned: Learned) -> None:
        """What cannot be written is missing after a restart, and said."""
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(asdict(learned)))
            os.replace(beside, self._path)
        except OSError as error:
            log.warning("The forecast is not kept", file=str(self._path), why=error.strerror)

    async def keep(self, forecast: HoltWinters) -> None:
        """Save it now and then, and when cancelled."""
        try:
            while True:
                await trio.sleep(SAVE_EVERY_S)
                self.save(forecast.learned)
        finally:
            self.save(forecast.learned)


def _learned(found: dict[str, object]) -> Learned:
    """Raises ValueError, TypeError or AttributeError for anything else."""
    if set(found) != {one.name for one in fields(Learned)}:
        raise ValueError("other fields")
    learned = Learned(**found)  # type: ignore[arg-type]  # looked at below
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
