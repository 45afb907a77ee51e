"""Many things at once, but not too many."""

import pytest
import trio
from trio.testing import MockClock

from builder.net.together import each, leaves


async def test_at_most_so_many_are_under_way(autojump_clock: MockClock) -> None:
    under_way = most = 0
    done: list[int] = []

    async def work(item: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await trio.sleep(1)
        under_way -= 1
        done.append(item)

    await each(work, range(10), at_once=3)
    assert most == 3
    assert sorted(done) == list(range(10))
    assert trio.current_time() == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("count", [0, 1])
async def test_none_and_one_need_no_nursery(count: int) -> None:
    done: list[int] = []

    async def work(item: int) -> None:
        await trio.lowlevel.checkpoint()
        done.append(item)

    await each(work, range(count))
    assert done == list(range(count))


async def test_the_first_error_comes_bare_and_stops_the_rest(autojump_clock: MockClock) -> None:
    started: list[int] = []

    async def work(item: int) -> None:
        started.append(item)
        await trio.sleep(item)
        if item == 2:
            raise KeyError(item)

    with pytest.raises(KeyError):
        await each(work, range(1, 100), at_once=5)
    assert len(started) < 10


def test_leaves_of_nested_groups() -> None:
    one, two = ValueError("1"), ValueError("2")
    group = ExceptionGroup("a", [ExceptionGroup("b", [one]), two])
    assert list(leaves(group)) == [one, two]
