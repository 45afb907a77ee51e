"""Hot: which blobs are here, asked and answered as digests stand on the wire.

Four ways, the quickest first. What was found and renewed is here as long as the store's stamp
stays the same (some minutes, if nothing is lost), so until then it need not be looked for again:
one look-up in a set. What the store calls strange is absent; of the others it renews what it can;
it is asked so for all hashes at once. What is left is looked for one by one. With splitting that
is 0.2, 0.6, 1 (2 if leases have to be written down) and 3 us a digest (`python -m tests.bench
wire`, figures.find_missing_digests_per_s, find_present_digests_per_s, find_absent_digests_per_s).
"""

from collections.abc import Sequence
from itertools import compress
from operator import not_

from builder.base.digest import checked
from builder.reapi.digest_list import (
    Element,
    Grid,
    Rows,
    are_distinct,
    keys_of,
    read,
    sizes_of,
)
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

    def unknown(self, function: str, asked: Grid | Rows) -> Grid | Rows:
        """Those that have to be looked for, each once, in order."""
        here = self._current(function)
        if isinstance(asked, Grid) and here.isdisjoint(asked.sample()):
            keys = asked.keys()
            if keys is not None and are_distinct(keys, asked.digits):
                return asked  # all of them: mostly nothing is here of what is not remembered
        elements = asked.elements()
        if here.issuperset(elements):
            return Rows([], asked.digits)
        unknown = [one for one in elements if one not in here] if here else elements
        if len(set(unknown)) < len(unknown):
            unknown = list(dict.fromkeys(unknown))
        return Rows(unknown, asked.digits)

    def absent(self, function: str, asked: Grid | Rows) -> bytes | None:
        """The elements of those that are not here, in order; None: the store cannot tell at once.

        Each is given once. Raises InvalidArgumentError for one that is no hash, UnicodeDecodeError
        for one that is not even ASCII.
        """
        digits = asked.digits
        keys = None if self._bulk is None else asked.keys()
        if self._bulk is None or keys is None:
            return _joined(self._absent(function, asked.elements(), digits))
        strange = self._bulk.strange(
            function, keys, lambda: sizes_of(asked.elements(), digits), asked.at_most()
        )
        if strange is None:
            return _joined(self._absent(function, asked.elements(), digits))
        if all(strange):
            return asked.joined()
        return _joined(self._but_strange(self._bulk, function, asked, keys, strange))

    def _but_strange(
        self, bulk: BulkStore, function: str, asked: Grid | Rows, keys: bytes, strange: list[bool]
    ) -> list[bytes] | None:
        """As `absent`, where so many are known to be."""
        digits, elements = asked.digits, asked.elements()
        known = elements
        if any(strange):
            known = _without(elements, strange)
            keys = keys_of(known, digits) or b""
        renewed = bulk.renew_nowait(function, keys, sizes_of(known, digits))
        missing = self._looked_for(function, known, renewed, digits)
        if not missing:
            return None if missing is None else list(compress(elements, strange))
        gone = frozenset(missing)
        return [one for one, flag in zip(elements, strange, strict=True) if flag or one in gone]

    def _looked_for(
        self, function: str, known: Sequence[bytes], renewed: list[bool] | None, digits: int
    ) -> list[bytes] | None:
        """As `absent`, of those that are not strange; what is renewed is here."""
        if renewed is None:
            return self._absent(function, known, digits)
        left = _without(known, renewed)
        missing = self._absent(function, left, digits) if left else []
        if missing is not None:
            self._remember(function, known, missing)
        return missing

    def _absent(self, function: str, elements: Sequence[bytes], digits: int) -> list[bytes] | None:
        """As `absent`, each looked for and renewed; what is here is remembered."""
        self._current(function)
        asked = read(elements, digits)
        found = self._store.absent_nowait(function, asked)
        if found is None:
            return None
        check(function, found)
        missing = [one.element for one in found]
        self._remember(function, elements, missing)
        return missing

    def _remember(self, function: str, elements: Sequence[bytes], missing: Sequence[bytes]) -> None:
        """They were looked for under the stamp that `_current` has seen; those are not here."""
        if self._store.stamp() != self._stamp:
            return
        here = self._here.setdefault(function, set())
        if len(here) + len(elements) > REMEMBERED:
            here.clear()
        here.update(elements)
        here.difference_update(missing)

    def _current(self, function: str) -> set[bytes]:
        stamp = self._store.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            self._here.clear()
        return self._here.setdefault(function, set())


def _joined(elements: Sequence[bytes] | None) -> bytes | None:
    return None if elements is None else b"".join(elements)


def _without(elements: Sequence[bytes], flags: Sequence[bool]) -> list[bytes]:
    """Those that have no flag."""
    return list(compress(elements, map(not_, flags)))


def are_hex(elements: Sequence[Element]) -> bool:
    """Whether all hashes are lower-case hex."""
    return not "".join([one.hash for one in elements]).encode().translate(None, HEX)


def check(function: str, elements: Sequence[Element]) -> None:
    """Raises InvalidArgumentError unless all are lower-case hex."""
    if not are_hex(elements):
        for one in elements:
            checked(one.hash, one.size_bytes, function)
