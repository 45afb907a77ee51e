"""Which instance names are served. An instance has its own action cache; blobs are shared."""

from collections.abc import Sequence

from builder.base.errors import InvalidArgumentError
from builder.reapi.names import check_instance


class Instances:
    """`names` as configured; none means any name."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = tuple(names)
        self._seen = set(self._names) or {""}

    def check(self, name: str) -> str:
        """The name itself. Raises InvalidArgumentError for one that is not served."""
        if name in self._seen:
            return name
        if self._names:
            served = ", ".join(repr(known) for known in self._names)
            raise InvalidArgumentError(
                f"instance {name[:200]!r} is not served here; use one of {served}"
            )
        check_instance(name)
        if len(self._seen) < 1000:
            self._seen.add(name)
        return name
