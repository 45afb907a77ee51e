"""Results of instances that have storage of their own, and those of all others."""

from collections.abc import Mapping

from builder.base.digest import Digest
from builder.reapi.pb.remote_execution_pb2 import ActionResult
from builder.stores.interface import ActionCache


class RoutedActionCache:
    """Each instance's results in its cache of `routes`, the others' in `default`."""

    def __init__(self, default: ActionCache, routes: Mapping[str, ActionCache]) -> None:
        self._default = default
        self._routes = routes

    async def lookup(self, instance: str, action: Digest) -> ActionResult | None:
        return await self._routes.get(instance, self._default).lookup(instance, action)

    async def store(
        self, instance: str, action: Digest, result: ActionResult, metadata: bytes = b""
    ) -> None:
        await self._routes.get(instance, self._default).store(instance, action, result, metadata)
