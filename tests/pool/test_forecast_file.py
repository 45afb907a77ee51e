"""The forecast's file."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from builder.base.errors import UsageError
from builder.pool.forecast_file import SAVE_EVERY_S, ForecastFile
from builder.scale.seasonal import STEPS, HoltWinters, Learned


def test_what_was_learned_comes_back(tmp_path: Path) -> None:
    """Also the part of a first day; where there is no file, nothing was learned."""
    file = ForecastFile(tmp_path / "new" / "forecast.json")
    assert file.load() == Learned()
    forecast = HoltWinters()
    for step in range(STEPS + 40):
        forecast.add(step, float(step % 7))
        if step in (10, STEPS + 39):
            file.save(forecast.learned)
            assert file.load() == forecast.learned
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["forecast.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    """With its name and what to do; it is not written over."""
    path = tmp_path / "forecast.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"forecast\.json is no forecast; remove it"):
        ForecastFile(path).load()
    assert path.read_text() == text


@pytest.mark.parametrize(
    "changed",
    [{"day": [1.0]}, {"week": []}, {"seen": [1]}, {"level": "high"}, {"trend": float("nan")}],
)
def test_a_damaged_forecast_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    """Of other lengths, or with what is no number."""
    path = tmp_path / "forecast.json"
    path.write_text(json.dumps({**asdict(Learned()), **changed}))
    with pytest.raises(UsageError, match=r"forecast\.json is no forecast; remove it"):
        ForecastFile(path).load()


async def test_it_is_saved_now_and_then_and_at_the_end(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """A killed coordinator loses five minutes, a stopped one nothing."""
    file, forecast = ForecastFile(tmp_path / "forecast.json"), HoltWinters()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.keep, forecast)
        forecast.add(0, 1.0)
        await trio.sleep(SAVE_EVERY_S + 1)
        assert file.load().first_day == {0: 1.0}
        forecast.add(1, 2.0)
        nursery.cancel_scope.cancel()
    assert file.load().first_day == {0: 1.0, 1: 2.0}


def test_a_full_disk_costs_the_memory_and_not_the_pool(tmp_path: Path) -> None:
    """Nothing is raised where it cannot be written."""
    (tmp_path / "file").write_text("")
    ForecastFile(tmp_path / "file" / "forecast.json").save(Learned())
    assert (tmp_path / "file").read_text() == ""
