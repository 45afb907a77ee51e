"""Other roots than the host's: each has sandboxes of its own, made ready like those.

A template is entered once, by a zygote; so an image that is in use has a broker and a zygote, and
an action in it costs what one in the host's root does. So has the root that is nothing but the
inputs of each action. Those of images that nothing runs in any
more are ended, the longest unused first, when there are more than a few.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from builder.sandbox.interface import Finished, Sandbox, SandboxSpec

MOST_IDLE = 4
Layers = tuple[str, ...]
Key = tuple[Layers, bool]  # an image, or whether the inputs are the root


class Closable(Sandbox, Protocol):
    """A sandbox with processes that have to be ended."""

    async def close(self) -> None: ...


@dataclass(slots=True)
class _Root:
    sandbox: Closable
    running: int = 0


class Roots:
    """One sandbox for each root in use; `make` makes one, which starts at its first action."""

    def __init__(
        self, make: Callable[[Layers, bool], Closable], most_idle: int = MOST_IDLE
    ) -> None:
        self._make, self._most_idle = make, most_idle
        self._roots: OrderedDict[Key, _Root] = OrderedDict()

    @property
    def images(self) -> int:
        """How many have processes now."""
        return len(self._roots)

    async def run(self, spec: SandboxSpec) -> Finished:
        """As `Sandbox.run`, in the image that the spec names, or in its inputs."""
        key = spec.layers, spec.inputs_as_root
        root = self._roots.get(key)
        if root is None:
            root = self._roots[key] = _Root(self._make(*key))
        self._roots.move_to_end(key)
        root.running += 1
        try:
            return await root.sandbox.run(spec)
        finally:
            root.running -= 1
            with trio.CancelScope(shield=True):
                await self._trim()

    async def _trim(self) -> None:
        idle = [key for key, root in self._roots.items() if not root.running]
        for key in idle[: max(0, len(idle) - self._most_idle)]:
            await self._roots.pop(key).sandbox.close()

    async def close(self) -> None:
        """End everything that runs in any image."""
        while self._roots:
            _, root = self._roots.popitem()
            await root.sandbox.close()
