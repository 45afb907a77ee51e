"""Workers from the user's own commands: JSON in, JSON out.

    launch     reads {"pool", "count", "token", "urgent"}   prints {"instances": [{"id"}]};
               urgent: work waits for them
    terminate  reads {"pool", "ids"}
    list       reads {"pool"}                     prints {"instances": [{"id", "token", "state"}]}

`token` and `state` may be left out; an instance whose state is `ended` is not counted. A command
that fails says why by `{"error": {"kind", "message"}}`, whatever its exit code; the kinds are
quota, capacity, credentials, refused and transient. One that exits with another code than 0 and
says nothing failed for a passing reason, and the last line of its stderr tells it.
"""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from builder.providers.interface import (
    CapacityError,
    CredentialsError,
    Instance,
    ProviderError,
    QuotaError,
    RefusedError,
    TransientError,
)

KINDS: dict[str, type[ProviderError]] = {
    "quota": QuotaError,
    "capacity": CapacityError,
    "credentials": CredentialsError,
    "refused": RefusedError,
    "transient": TransientError,
}
ENDED = "ended"
MOST_SAID = 300  # characters of a command's complaint


@dataclass(frozen=True, slots=True)
class Commands:
    """Each is an argument list; `environment` is the whole of theirs."""

    launch: Sequence[str]
    terminate: Sequence[str]
    list: Sequence[str]
    environment: Mapping[str, str]
    timeout_s: float


class CustomProvider:
    """`pool` is told to every command, so that one set of them can serve several pools."""

    def __init__(self, pool: str, commands: Commands) -> None:
        self._pool = pool
        self._commands = commands
        self._launched: dict[str, list[Instance]] = {}
        self._tokens: dict[str, str] = {}
        self._launching = trio.Lock()

    async def launch(self, count: int, token: str, *, urgent: bool = False) -> list[Instance]:
        async with self._launching:
            if token not in self._launched:
                wanted = {"count": count, "token": token, "urgent": urgent}
                answer = await self._run("launch", wanted)
                ids = [one["id"] for one in _instances("launch", answer)]
                self._tokens |= dict.fromkeys(ids, token)
                self._launched[token] = [Instance(id_, token) for id_ in ids]
            return self._launched[token]

    async def terminate(self, ids: Iterable[str]) -> None:
        if wanted := list(ids):
            await self._run("terminate", {"ids": wanted})

    async def list(self) -> list[Instance]:
        answer = await self._run("list", {})
        return [
            Instance(one["id"], one.get("token") or self._tokens.get(one["id"], ""))
            for one in _instances("list", answer)
            if one.get("state") != ENDED
        ]

    async def _run(self, name: str, request: Mapping[str, object]) -> Any:
        argv: Sequence[str] = getattr(self._commands, name)
        data = json.dumps({"pool": self._pool, **request}).encode()
        with trio.move_on_after(self._commands.timeout_s):
            return await self._perform(name, argv, data)
        raise TransientError(
            f"the custom provider's {name} command took longer than "
            f"{self._commands.timeout_s:g} s: {argv[0]}"
        )

    async def _perform(self, name: str, argv: Sequence[str], data: bytes) -> Any:
        try:
            done = await trio.run_process(
                list(argv),
                stdin=data,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=self._commands.environment,
            )
        except OSError as error:
            raise RefusedError(
                f"the custom provider's {name} command cannot be started: {argv[0]}: "
                f"{error.strerror}"
            ) from error
        return _answer(name, done)


def _answer(name: str, done: "subprocess.CompletedProcess[bytes]") -> Any:
    text = done.stdout.decode(errors="replace").strip()
    answer: Any = {}
    if text:
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
    if isinstance(answer, dict) and (error := answer.get("error")):
        raise _error(name, error)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise TransientError(
            f"the custom provider's {name} command failed with {_how(done.returncode)}: "
            f"{said[-1][:MOST_SAID]}"
        )
    if not isinstance(answer, dict):
        raise RefusedError(
            f"the custom provider's {name} command has to print one JSON object, and printed "
            f"{text[:MOST_SAID]!r}"
        )
    return answer


def _error(name: str, error: object) -> ProviderError:
    if not isinstance(error, dict):
        error = {"message": str(error)}
    kind = KINDS.get(str(error.get("kind", "transient")), TransientError)
    message = str(error.get("message") or error.get("kind") or "no reason given")
    return kind(f"the custom provider's {name} command: {message[:MOST_SAID]}")


def _instances(name: str, answer: dict[str, Any]) -> list[dict[str, str]]:
    """Raises RefusedError for what has not the shape that the schema tells."""
    instances = answer.get("instances")
    if not isinstance(instances, list) or not all(map(_is_instance, instances)):
        raise RefusedError(
            f"the custom provider's {name} command has to print "
            f'{{"instances": [{{"id": "..."}}]}}, and printed {json.dumps(answer)[:MOST_SAID]}'
        )
    return instances


def _is_instance(one: object) -> bool:
    if not isinstance(one, dict):
        return False
    texts = all(isinstance(one.get(key, ""), str) for key in ("token", "state"))
    return isinstance(one.get("id"), str) and bool(one["id"]) and texts


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
