"""The user's own Python: the contract on plain functions and on coroutines, and its faults."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

import pytest
import trio

from builder.base.errors import UsageError
from builder.providers.entry_point import EntryPointProvider
from builder.providers.interface import (
    CapacityError,
    Instance,
    Provider,
    RefusedError,
    TransientError,
)
from tests.providers.contract import CONTRACT

HERE = __name__
FAULTS: list[object] = []


class Plain:
    """A user's class with plain methods, which gives mappings."""

    def __init__(self, pool: str, environment: Mapping[str, str]) -> None:
        self.pool, self.environment = pool, environment
        self.machines: dict[str, str] = {}

    def launch(self, count: int, token: str) -> Iterable[object]:
        if FAULTS:
            fault = FAULTS.pop()
            if isinstance(fault, Exception):
                raise fault
            return fault  # type: ignore[return-value]
        names = [f"{self.pool}-{len(self.machines) + n}" for n in range(1, count + 1)]
        self.machines |= dict.fromkeys(names, token)
        return [{"id": name} for name in names]

    def terminate(self, ids: Iterable[str]) -> None:
        for name in ids:
            self.machines.pop(name, None)

    def list(self) -> Iterable[object]:
        return [{"id": name, "token": token} for name, token in self.machines.items()]


def coroutines(pool: str, environment: Mapping[str, str]) -> object:
    """A user's function that gives an object of trio's, with bare ids."""
    plain = Plain(pool, environment)

    class Async:
        async def launch(self, count: int, token: str) -> list[str]:
            await trio.lowlevel.checkpoint()
            return [one["id"] for one in plain.launch(count, token)]  # type: ignore[index]

        async def terminate(self, ids: Iterable[str]) -> None:
            plain.terminate(ids)

        async def list(self) -> Iterator[Instance]:
            return (Instance(*pair) for pair in plain.machines.items())

    return Async()


class Half:
    def __init__(self, pool: str, environment: Mapping[str, str]) -> None:
        pass

    def launch(self, count: int, token: str) -> None:
        pass


def provider(name: str = "Plain") -> EntryPointProvider:
    return EntryPointProvider(f"{HERE}:{name}", "pool", {"A": "b"})


@pytest.mark.parametrize("name", ["Plain", "coroutines"])
@pytest.mark.parametrize("promise", CONTRACT)
async def test_keeps_the_contract(
    promise: Callable[[Provider], Awaitable[None]], name: str
) -> None:
    with trio.fail_after(60):
        await promise(provider(name))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (ValueError("odd"), TransientError),
        (CapacityError("none left"), CapacityError),
        (None, RefusedError),
        ([{"name": "x"}], RefusedError),
        ([7], RefusedError),
    ],
)
async def test_faults(fault: object, error: type[Exception]) -> None:
    """What it raises or gives wrongly is one error of the tree."""
    FAULTS.append(fault)
    with pytest.raises(error):
        await provider().launch(1, "one")


@pytest.mark.parametrize(
    ("entry_point", "words"),
    [
        ("no.such.module:X", "cannot import no.such.module"),
        (f"{HERE}:Nobody", "has no 'Nobody'"),
        (f"{HERE}:FAULTS", "cannot be called"),
        (f"{HERE}:Half", "has no terminate"),
    ],
)
def test_what_is_not_there(entry_point: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        EntryPointProvider(entry_point, "pool", {})
