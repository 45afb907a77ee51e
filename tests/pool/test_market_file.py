"""The market's file."""

import json
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from builder.base.errors import UsageError
from builder.pool.market_file import SAVE_EVERY_S, MarketFile
from builder.scale.market import MEMORY_S, Candidate, Market, Memory, Placed, Price

SPOT = Candidate("c7i.large", "north-a", True)
DEAR = Candidate("c7i.large", "north-a", False)
PRICES = {"c7i.large": Price(0.10, 0.04)}


def market() -> Market:
    return Market([SPOT, DEAR], PRICES)


async def interrupted() -> Market:
    """Two hours of five spot machines, of which four were taken back; they take 70 s to start."""
    found = market()
    found.granted(SPOT, 5, trio.current_time())
    await trio.sleep(70)
    found.joined(Placed(SPOT, trio.current_time() - 70), trio.current_time())
    await trio.sleep(7130)
    for _ in range(4):
        found.interrupted(SPOT, trio.current_time())
    return found


async def test_a_restart_does_not_forget_who_is_taken_back(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The same order, for the same reasons; what was long ago counts for less."""
    known, wall = await interrupted(), 1e9
    file = MarketFile.beside(tmp_path / "forecast.json", lambda: wall)
    file.load(known)  # there is none yet
    file.save(known)
    assert [path.name for path in tmp_path.iterdir()] == ["forecast.market.json"]
    for age_s in (0.0, MEMORY_S):
        wall = 1e9 + age_s
        again = market()
        file.load(again)
        now = trio.current_time()
        assert again.start_up_s(SPOT) == again.start_up_s(DEAR) == pytest.approx(70)
        rate, new = known.rate(SPOT, now), market().rate(SPOT, now)
        if age_s:
            assert new < again.rate(SPOT, now) < rate
        else:
            assert again.rate(SPOT, now) == pytest.approx(rate)
    other = Market([DEAR], PRICES)
    file.load(other)  # knows nothing of spot machines any more


async def test_it_is_saved_now_and_then_and_at_the_end(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Whole, each time."""
    file, known = MarketFile(tmp_path / "market.json", lambda: 5.0), await interrupted()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.keep, known)
        await trio.sleep(SAVE_EVERY_S + 1)
        assert len(json.loads((tmp_path / "market.json").read_text())["machines"]) == 1
        known.granted(DEAR, 1, trio.current_time())
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert len(json.loads((tmp_path / "market.json").read_text())["machines"]) == 2


GOOD = {"kind": "c7i.large", "place": "", "spot": True, "hours": 1.0, "interruptions": 0.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null x",
        '{"machines": []}',
        '{"saved_at": 1, "machines": [{"kind": "x"}]}',
        json.dumps({"saved_at": 1, "machines": [{**GOOD, "hours": -1}]}),
        json.dumps({"saved_at": 1, "machines": [{**GOOD, "hours": "many"}]}),
        json.dumps({"saved_at": 1, "machines": [{**GOOD, "start_up_s": float("inf")}]}),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    """With its name and what to do; it is not written over."""
    path = tmp_path / "market.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"market\.json is no market; remove it"):
        MarketFile(path, lambda: 0.0).load(market())
    assert path.read_text() == text


def test_nothing_seen_is_nothing_to_remember() -> None:
    """And a memory is what was put in."""
    found = market()
    assert found.memories(100.0) == []
    found.recall([Memory("c7i.large", "north-a", True, 3.0, 1.0)], 0.0, 100.0)
    assert found.memories(100.0) == [Memory("c7i.large", "north-a", True, 3.0, 1.0)]
