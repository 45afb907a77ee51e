"""Requests that carry many digests: what they ask for, where they are written as clients do."""

from collections.abc import Sequence
from typing import NamedTuple

from builder.base.digest import HEX_LENGTHS
from builder.base.errors import StatusError
from builder.reapi.digest_list import HASH_AT, Grid, Rows, number_field, split
from builder.reapi.digests import function_of
from builder.server.instances import Instances


class DigestRequest(NamedTuple):
    """The digests as they stand on the wire, and their function."""

    asked: Grid | Rows
    function: str


class DigestRequests:
    """For the instances and functions that are served."""

    def __init__(self, instances: Instances, functions: Sequence[str]) -> None:
        self.instances = instances
        self.functions = functions

    def read(self, data: bytes, function_field: int) -> DigestRequest | None:
        """None: parse the message, which also says what is wrong with it."""
        found = split(data)
        number = None if found is None else number_field(found.rest, function_field)
        if found is None or number is None:
            return None
        asked = found.asked
        hash_ = asked.part(0, 1).joined()[HASH_AT : HASH_AT + asked.digits]
        try:
            self.instances.check(found.instance)
            function = function_of(number, hash_.decode("ascii", "replace"), self.functions)
        except StatusError:
            return None
        return DigestRequest(asked, function) if HEX_LENGTHS[function] == asked.digits else None
