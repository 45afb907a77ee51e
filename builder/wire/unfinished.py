"""What is kept of requests that have not ended.

What comes is given back to the client while a message is not whole, so the windows alone would let
it keep a message of the largest size here for each of its streams. When that is too much in all,
the calls end of which most is kept.
"""

from collections.abc import Iterable

from builder.wire.stream import Stream


def unfinished(streams: Iterable[Stream]) -> dict[Stream, int]:
    """Octets that are kept of each request that goes on."""
    return {one: one.unread for one in streams if not (one.half_closed or one.ignored)}


def largest(streams: Iterable[Stream], octets: int) -> list[Stream]:
    """Those that have to end so that so much less is kept, as few as possible."""
    kept = unfinished(streams)
    found: list[Stream] = []
    for stream in sorted(kept, key=kept.__getitem__, reverse=True):
        if octets <= 0:
            break
        octets -= kept[stream]
        found.append(stream)
    return found
