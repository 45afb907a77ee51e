"""Hot: which blobs are here, asked and answered as digests stand on the wire.

Three ways, the quickest first. What was found and renewed is here as long as the store's stamp
stays the same (some minutes, if nothing is lost), so until then it need not be looked for again:
one look-up in a set. What the store calls strange is absent; it is asked for all hashes at once.
Only the others are looked up one by one, and renewed. With splitting, the first two cost 0.2 and
0.6 us, the third 3 us (`python -m tests.bench wire`, figures.find_missing_digests_per_s,
find_present_digests_per_s and find_absent_digests_per_s).
"""

from collections.abc import Sequence

from builder.base.digest import checked
from builder.reapi.digest_list import Element, keys_of, read, sizes_of
from builder.stores.interface import BulkStore, InlineStore

REMEMBERED = 1 << 18  # elements, about 40 MB
HEX = b"0123456789abcdef"


class Presence:
    """Elements of requests, which are looked for in `store`."""

    def __init__(self, store: InlineStore) -> None:
        self._store = store
        self._bulk = store if isinstance(store, BulkStore) else None
        self._stamp = store.stamp()
        self._here: dict[str, set[bytes]] = {}

    def unknown(self, function: str, elements: Sequence[bytes]) -> list[bytes]:
        """Those that have to be looked for, each once, in order."""
        here = self._current(function)
        if here.issuperset(elements):
            return []
        unknown = [element for element in elements if element not in here]
        return unknown if len(set(unknown)) == len(unknown) else list(dict.fromkeys(unknown))

    def absent(self, function: str, elements: Sequence[bytes], digits: int) -> list[bytes] | None:
        """Those that are not here, in order; None: the store cannot tell at once.

        Each is given once. Raises InvalidArgumentError for one that is no hash, UnicodeDecodeError
        for one that is not even ASCII.
        """
        flags = self._strange(function, elements, digits)
        if flags is None:
            return self._absent(function, elements, digits)
        if all(flags):
            return list(elements)
        looked = [one for one, strange in zip(elements, flags, strict=True) if not strange]
        missing = self._absent(function, looked, digits)
        if missing is None:
            return None
        present = set(looked).difference(missing)
        return [one for one in elements if one not in present]

    def _strange(self, function: str, elements: Sequence[bytes], digits: int) -> list[bool] | None:
        """For each whether it is absent for sure; None where each has to be looked for."""
        if self._bulk is None:
            return None
        keys = keys_of(elements, digits)
        if keys is None:
            return None
        return self._bulk.strange(function, keys, sizes_of(elements, digits))

    def _absent(self, function: str, elements: Sequence[bytes], digits: int) -> list[bytes] | None:
        """As `absent`, each looked for and renewed; what is here is remembered."""
        here = self._current(function)
        asked = read(elements, digits)
        found = self._store.absent_nowait(function, asked)
        if found is None:
            return None
        check(function, found)
        missing = [one.element for one in found]
        if self._store.stamp() == self._stamp:
            if len(here) + len(elements) > REMEMBERED:
                here.clear()
            here.update(elements)
            here.difference_update(missing)
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


def check(function: str, elements: Sequence[Element]) -> None:
    """Raises InvalidArgumentError unless all are lower-case hex."""
    if not are_hex(elements):
        for one in elements:
            checked(one.hash, one.size_bytes, function)
