"""`Range` of a request: which part of a file is asked for. Source: RFC 9110, section 14.

One range of bytes is served. Whatever else is said is as if nothing were: many ranges, other
units, and `If-Range`, as no validators are handed out to be compared.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

ONE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes of `[start, stop)` of a file of `size`; nothing that can be served, if empty."""

    start: int
    stop: int
    size: int

    @property
    def length(self) -> int:
        return max(self.stop - self.start, 0)

    @property
    def status(self) -> int:
        if not self.length and self.size:
            return 416
        return 200 if self.length == self.size else 206

    @property
    def headers(self) -> dict[str, str]:
        """Of an answer that gives this part."""
        if self.status == 416:
            return {"content-range": f"bytes */{self.size}"}
        common = {"accept-ranges": "bytes", "content-length": str(self.length)}
        if self.status == 200:
            return common
        return {**common, "content-range": f"bytes {self.start}-{self.stop - 1}/{self.size}"}


def asked(headers: Mapping[str, str], size: int) -> Part:
    """By a GET of a file of this size."""
    one = ONE.fullmatch(headers.get("range", "").replace(" ", "").lower())
    whole = Part(0, size, size)
    if one is None or "if-range" in headers or not size:
        return whole
    first, last = one.groups()
    if first and last and int(last) < int(first):
        return whole  # invalid, so ignored
    if first:
        return Part(min(int(first), size), min(int(last) + 1, size) if last else size, size)
    return Part(max(size - int(last), 0), size, size) if last else whole
