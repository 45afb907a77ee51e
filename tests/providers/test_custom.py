"""The user's own commands: the contract on real ones, and everything that they may do wrong."""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from builder.providers.custom import Commands, CustomProvider
from builder.providers.interface import (
    CapacityError,
    CredentialsError,
    Provider,
    ProviderError,
    QuotaError,
    RefusedError,
    TransientError,
)
from tests.providers.contract import CONTRACT, SURVIVING, Make

MACHINES = [sys.executable, "-S", str(Path(__file__).parent / "machines.py")]


def custom(folder: Path, pool: str = "pool") -> CustomProvider:
    folder.mkdir(exist_ok=True)
    words = [*MACHINES, str(folder)]
    commands = Commands(
        [*words, "launch"], [*words, "terminate"], [*words, "list"], dict(os.environ), 30.0
    )
    return CustomProvider(pool, commands)


def saying(script: str, timeout_s: float = 20.0) -> CustomProvider:
    argv = ["/bin/sh", "-c", f"cat > /dev/null; {script}"]
    return CustomProvider("pool", Commands(argv, argv, argv, dict(os.environ), timeout_s))


@pytest.mark.parametrize("promise", CONTRACT)
async def test_keeps_the_contract(
    promise: Callable[[Provider], Awaitable[None]], tmp_path: Path
) -> None:
    with trio.fail_after(60):
        await promise(custom(tmp_path / "cloud"))


@pytest.mark.parametrize("promise", SURVIVING)
async def test_survives(promise: Callable[[Make], Awaitable[None]], tmp_path: Path) -> None:
    with trio.fail_after(60):
        await promise(lambda pool: custom(tmp_path / "cloud", pool))


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("quota", QuotaError),
        ("capacity", CapacityError),
        ("credentials", CredentialsError),
        ("refused", RefusedError),
        ("transient", TransientError),
        ("unheard-of", TransientError),
    ],
)
async def test_a_failure_of_each_kind(kind: str, error: type[ProviderError]) -> None:
    """Its message arrives, also with the exit code 0."""
    provider = saying(f"""echo '{{"error": {{"kind": "{kind}", "message": "no luck"}}}}'""")
    with pytest.raises(error, match="launch command: no luck"):
        await provider.launch(1, "one")


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("echo first >&2; echo last words >&2; exit 3", TransientError, "exit code 3: last words"),
        ("exit 4", TransientError, "exit code 4: it said nothing"),
        ("kill -9 $$", TransientError, "signal 9"),
        ("echo hello", RefusedError, "one JSON object, and printed 'hello'"),
        ("echo '[]'", RefusedError, "one JSON object"),
        ("echo '{}'", RefusedError, "instances"),
        ("""echo '{"instances": [{"id": ""}]}'""", RefusedError, "instances"),
        ("""echo '{"instances": [{"name": "x"}]}'""", RefusedError, "instances"),
        ("""echo '{"instances": ["x"]}'""", RefusedError, "instances"),
    ],
)
async def test_what_a_command_may_do_wrong(
    script: str, error: type[ProviderError], words: str
) -> None:
    """One sentence that names the command and what it did."""
    with pytest.raises(error) as caught:
        await saying(script).list()
    assert "list command" in caught.value.message
    assert words in caught.value.message


async def test_a_command_that_hangs_is_killed() -> None:
    with pytest.raises(TransientError, match=r"longer than 0.2 s"):
        await saying("exec sleep 60", timeout_s=0.2).terminate(["a"])


async def test_a_command_that_is_not_there() -> None:
    """Only a person can help."""
    argv = ["/no/such/command"]
    provider = CustomProvider("pool", Commands(argv, argv, argv, {}, 5.0))
    with pytest.raises(RefusedError, match="cannot be started: /no/such/command"):
        await provider.launch(1, "one")


async def test_a_failed_launch_may_be_tried_again(tmp_path: Path) -> None:
    """The same token, once the command works."""
    good = f"""test -e {tmp_path}/ready && echo '{{"instances": [{{"id": "m"}}]}}'"""
    provider = saying(good)
    with pytest.raises(TransientError):
        await provider.launch(1, "one")
    (tmp_path / "ready").touch()
    assert [one.id for one in await provider.launch(1, "one")] == ["m"]
