"""Hot: which blobs are here, asked and answered as digests stand on the wire.

What was found and renewed is here as long as the store's stamp stays the same (some minutes, if
nothing is lost), so until then it need not be looked for again: an element that was seen before
costs one look-up in a set, 200 ns with splitting. The others cost the store's look-up
(`python -m tests.bench wire`, figures.find_missing_digests_per_s and find_absent_digests_per_s).
"""

from collections.abc import Sequence

from builder.base.errors import InvalidArgumentError
from builder.reapi.digest_list import Element, read
from builder.stores.interface import InlineStore

REMEMBERED = 1 << 18  # elements, about 40 MB
HEX = b"0123456789abcdef"


class Presence:
    """Elements of requests, which are looked for in `store`."""

    def __init__(self, store: InlineStore) -> None:
        self._store = store
        self._stamp = store.stamp()
        self._here: dict[str, set[bytes]] = {}

    def unknown(self, function: str, elements: Sequence[bytes]) -> list[bytes]:
        """Those that have to be looked for, each once, in order."""
        here = self._current(function)
        if here.issuperset(elements):
            return []
        return [element for element in dict.fromkeys(elements) if element not in here]

    def absent(self, function: str, elements: Sequence[bytes], digits: int) -> list[Element] | None:
        """Those that are not here, in order; None: the store cannot tell at once.

        Raises InvalidArgumentError for one that is no hash.
        """
        here = self._current(function)
        try:
            asked = read(elements, digits)
        except UnicodeDecodeError:
            raise _no_hash() from None
        missing = self._store.absent_nowait(function, asked)
        if missing is None:
            return None
        check(missing)
        if self._store.stamp() == self._stamp:
            if len(here) + len(elements) > REMEMBERED:
                here.clear()
            here.update(elements)
            here.difference_update([one.element for one in missing])
        return missing

    def _current(self, function: str) -> set[bytes]:
        stamp = self._store.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            self._here.clear()
        return self._here.setdefault(function, set())


def are_hex(elements: Sequence[Element]) -> bool:
    """Whether all hashes are lower-case hex."""
    return not "".join([one.hash for one in elements]).encode().translate(None, HEX)


def check(elements: Sequence[Element]) -> None:
    """Raises InvalidArgumentError unless all are lower-case hex."""
    if not are_hex(elements):
        for one in elements:
            if one.hash.encode().translate(None, HEX):
                raise _no_hash(one.hash)


def _no_hash(hash_: str = "") -> InvalidArgumentError:
    shown = f"{hash_[:140]!r} is no hash" if hash_ else "a hash is not ASCII"
    return InvalidArgumentError(f"{shown}: want lower-case hex digits")
