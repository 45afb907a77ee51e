"""What every provider promises; each provider's tests run all of it on a real one."""

import trio

from builder.providers.interface import Provider


async def launches_are_listed(provider: Provider) -> None:
    started = await provider.launch(2, "one")
    assert len({instance.id for instance in started}) == 2
    assert all(instance.token == "one" for instance in started)
    assert await provider.list() == started


async def the_same_token_starts_nothing_more(provider: Provider) -> None:
    started = await provider.launch(2, "one")
    assert await provider.launch(2, "one") == started
    assert await provider.list() == started
    more = await provider.launch(1, "two")
    assert await provider.list() == [*started, *more]


async def terminating_ends_and_is_forgiving(provider: Provider) -> None:
    first, second = await provider.launch(2, "one")
    await provider.terminate([first.id, "nobody"])
    with trio.fail_after(30):
        while await provider.list() != [second]:  # noqa: ASYNC110 - only the list tells
            await trio.sleep(0.01)
    await provider.terminate([first.id])
    assert await provider.list() == [second]


CONTRACT = [
    launches_are_listed,
    the_same_token_starts_nothing_more,
    terminating_ends_and_is_forgiving,
]
