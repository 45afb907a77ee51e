"""Which sandboxes stay after their action, and for whom (`reset.py` says how they are cleaned).

A sandbox that has served a trust domain serves nobody else, and no action of that domain with
other limits. Of those that wait for another action the oldest end when there are too many.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Iterable, Mapping
    from typing import Any, Protocol, TypeVar

    class Waiting(Protocol):
        """A sandbox that is ready; `kind` is that of those that it has served."""

        kind: "Kind | None"
        since: float

    AnyWaiting = TypeVar("AnyWaiting", bound=Waiting)

LEFT_BYTES = 16 << 20  # of memory that may still be counted for the actions before
SHARE = 8  # and never more than this part of what the next may have
FOR_EACH = 2  # sandbox that is kept ready

Kind = tuple[object, ...]


def kind_of(wish: "Mapping[str, Any]") -> "Kind | None":
    """What two actions must have in common to have the same sandbox; None for one that shares
    with nobody."""
    if not wish["reuse"]:
        return None
    alike = ("reuse", "network", "memory", "processes", "cores", "open_files", "file_bytes")
    return (*(wish[name] for name in alike), tuple(wish["rlimits"]))


def bearable(charged_bytes: int, memory: "int | None") -> bool:
    """Whether so much of what is left in memory may be counted for the next action."""
    return charged_bytes <= min(LEFT_BYTES, LEFT_BYTES if memory is None else memory // SHARE)


def surplus(waiting: "Iterable[AnyWaiting]", keep: int) -> "list[AnyWaiting]":
    """Those that wait in vain, of which the first are the oldest."""
    kept = sorted((box for box in waiting if box.kind is not None), key=lambda box: box.since)
    return kept[: max(0, len(kept) - FOR_EACH * keep)]
