"""Where a build's time went: the chain of targets that more workers would not have shortened."""

from collections.abc import Iterable, Mapping


def longest_chain(
    order: Iterable[str], needs: Mapping[str, tuple[str, ...]], seconds: Mapping[str, float]
) -> list[str]:
    """The targets that took time, of the chain that took most, first ones first. `order` has
    needed ones first; what is not in `seconds` took none."""
    total: dict[str, float] = {}
    before: dict[str, str] = {}
    for name in order:
        behind = max(needs[name], key=lambda one: total.get(one, 0.0), default="")
        before[name] = behind
        total[name] = total.get(behind, 0.0) + seconds.get(name, 0.0)
    chain: list[str] = []
    at = max(total, key=total.__getitem__, default="")
    while at:
        chain += [at] if at in seconds else []
        at = before[at]
    return chain[::-1]
