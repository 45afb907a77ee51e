"""A check before a record, for a place that may damage it, or mistake it for another one's."""

from blake3 import blake3

CHECK = 16  # bytes of BLAKE3 before a record


def sealed(data: bytes, name: str = "") -> bytes:
    return _check(name, data) + data


def unsealed(stored: bytes, name: str = "") -> bytes | None:
    """The record of `sealed`; None if it is damaged, or has another name."""
    data = stored[CHECK:]
    return data if _check(name, data) == stored[:CHECK] else None


def _check(name: str, data: bytes) -> bytes:
    return blake3(name.encode()).update(data).digest(CHECK)
