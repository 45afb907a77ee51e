"""Workers from the user's own Python: `module:name` gives an object with three methods.

`name` is called with the pool's name and the configured environment, and returns an object with
`launch(count, token)`, `terminate(ids)` and `list()`. They may be plain functions, which run in a
thread, or coroutine functions of trio. Instances are ids, or mappings with `id` and `token`. What
they raise is a passing trouble, unless it is one of the errors of `builder.providers.interface`.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import trio

from builder.base.errors import UsageError
from builder.providers.interface import Instance, ProviderError, RefusedError, TransientError

METHODS = ("launch", "terminate", "list")


def load(entry_point: str) -> Callable[[str, Mapping[str, str]], object]:
    """Raises UsageError for a module or a name that is not there."""
    module_name, _, name = entry_point.partition(":")
    try:
        found = getattr(import_module(module_name), name)
    except ImportError as error:
        raise UsageError(
            f"providers.custom.entry_point: cannot import {module_name}: {error}; "
            f"put its directory into PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise UsageError(f"providers.custom.entry_point: {module_name} has no {name!r}") from error
    if not callable(found):
        raise UsageError(f"providers.custom.entry_point: {entry_point} cannot be called")
    return found  # type: ignore[no-any-return]  # the user's own


class EntryPointProvider:
    """The user's object, with our manners around it. Raises UsageError if a method lacks."""

    def __init__(self, entry_point: str, pool: str, environment: Mapping[str, str]) -> None:
        self._name = entry_point
        self._theirs = load(entry_point)(pool, environment)
        for method in METHODS:
            if not callable(getattr(self._theirs, method, None)):
                raise UsageError(f"providers.custom.entry_point: {entry_point} has no {method}()")
        self._launched: dict[str, list[Instance]] = {}
        self._tokens: dict[str, str] = {}
        self._launching = trio.Lock()

    async def launch(self, count: int, token: str, *, urgent: bool = False) -> list[Instance]:
        del urgent  # not part of what the user's object is asked
        async with self._launching:
            if token not in self._launched:
                found = self._instances(await self._call("launch", count, token), token)
                self._tokens |= {one.id: token for one in found}
                self._launched[token] = found
            return self._launched[token]

    async def terminate(self, ids: Iterable[str]) -> None:
        if wanted := list(ids):
            await self._call("terminate", wanted)

    def _instances(self, answer: Any, token: str) -> list[Instance]:
        try:
            return [self._instance(one, token) for one in answer]
        except (TypeError, KeyError) as error:
            raise RefusedError(
                f"{self._name} gave {answer!r} where ids or mappings with an id are wanted"
            ) from error

    def _instance(self, one: Any, token: str) -> Instance:
        if isinstance(one, Instance):
            return one
        id_ = one if isinstance(one, str) else str(one["id"])
        said = "" if isinstance(one, str) else str(one.get("token") or "")
        return Instance(id_, said or token or self._tokens.get(id_, ""))

    async def _call(self, method: str, *args: object) -> Any:
        function = getattr(self._theirs, method)
        try:
            if inspect.iscoroutinefunction(function):
                return await function(*args)
            return await trio.to_thread.run_sync(partial(function, *args))
        except ProviderError:
            raise
        except Exception as error:
            raise TransientError(f"{self._name} failed to {method}: {error!r}") from error

    async def list(self) -> list[Instance]:
        return self._instances(await self._call("list"), "")
