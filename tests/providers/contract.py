"""What every provider promises; each provider's tests run all of it on a real one.

CONTRACT holds for one object. SURVIVING holds for those whose instances outlive the coordinator:
each takes a function that makes one more provider of the same pool, or of another one.
"""

from collections.abc import Callable

import trio

from builder.providers.interface import Instance, Provider

Make = Callable[[str], Provider]  # by the pool's name


async def launches_are_listed(provider: Provider) -> None:
    started = await provider.launch(2, "one")
    assert len({instance.id for instance in started}) == 2
    assert all(instance.token == "one" for instance in started)
    assert same(await provider.list(), started)


async def the_same_token_starts_nothing_more(provider: Provider) -> None:
    started = await provider.launch(2, "one")
    assert await provider.launch(2, "one") == started
    assert same(await provider.list(), started)
    more = await provider.launch(1, "two")
    assert same(await provider.list(), [*started, *more])


async def the_same_token_at_the_same_time_starts_nothing_more(provider: Provider) -> None:
    answers: list[list[Instance]] = []

    async def launch() -> None:
        answers.append(await provider.launch(2, "one"))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(launch)
    assert all(answer == answers[0] for answer in answers)
    assert same(await provider.list(), answers[0])


async def terminating_ends_and_is_forgiving(provider: Provider) -> None:
    first, second = await provider.launch(2, "one")
    await provider.terminate([first.id, "nobody"])
    with trio.fail_after(60):
        while await provider.list() != [second]:  # noqa: ASYNC110 - only the list tells
            await trio.sleep(0.01)
    await provider.terminate([first.id])
    await provider.terminate([])
    assert await provider.list() == [second]


def same(found: list[Instance], wanted: list[Instance]) -> bool:
    return sorted(one.id for one in found) == sorted(one.id for one in wanted)


async def another_coordinator_finds_them(make: Make) -> None:
    """By their tags: after a restart nothing is lost, and a token still stands for its launch."""
    started = await make("pool").launch(2, "one")
    successor = make("pool")
    assert same(await successor.list(), started)
    assert {one.token for one in await successor.list()} == {"one"}
    assert same(await successor.launch(2, "one"), started)
    assert same(await successor.list(), started)


async def another_pool_does_not_see_them(make: Make) -> None:
    started = await make("pool").launch(1, "one")
    assert await make("other").list() == []
    assert same(await make("pool").list(), started)


CONTRACT = [
    launches_are_listed,
    the_same_token_starts_nothing_more,
    the_same_token_at_the_same_time_starts_nothing_more,
    terminating_ends_and_is_forgiving,
]
SURVIVING = [another_coordinator_finds_them, another_pool_does_not_see_them]
