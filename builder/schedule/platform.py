"""Which worker may run which action: platform properties asked for and offered.

An action asks for properties (REAPI `Platform`); a worker or a configured pool offers some. A
worker serves an action when it offers every property that counts. OSFamily, ISA, Pool and
container-image always count, and so does every name that a pool or a worker declares; other names
are ignored (clients send hints of their own) unless the policy is strict. A name asked for twice
wants both values. A pool may offer `*`, which serves any value.

OSFamily and ISA are compared without regard to case, and the usual names of a machine are one.
Source: REAPI v2 `Platform`, and the lexicon of properties published beside it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from builder.schedule.resources import Amounts, amount_text, fits, lacking

Properties = tuple[tuple[str, str], ...]
Requirement = Properties  # canonical: sorted, each once, names that count only

ALWAYS_COUNT = frozenset({"OSFamily", "ISA", "Pool", "container-image"})
FOLDED = frozenset({"OSFamily", "ISA"})
SAME = {
    ("ISA", "x86_64"): "x86-64",
    ("ISA", "amd64"): "x86-64",
    ("ISA", "k8"): "x86-64",
    ("ISA", "aarch64"): "arm-a64",
    ("ISA", "arm64"): "arm-a64",
    ("OSFamily", "darwin"): "macos",
}
ANY = "*"


def canonical(properties: Iterable[tuple[str, str]]) -> Properties:
    """Sorted, each once, with one spelling for each machine."""
    return tuple(sorted({(name, _spelled(name, value)) for name, value in properties}))


def _spelled(name: str, value: str) -> str:
    if name not in FOLDED:
        return value
    value = value.lower()
    return SAME.get((name, value), value)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a configured pool, or a set of like workers, offers; `name` is for people.

    `capacity` is what one worker has of each resource.
    """

    name: str
    properties: frozenset[tuple[str, str]]
    capacity: Amounts = ()

    @classmethod
    def of(
        cls, name: str, properties: Iterable[tuple[str, str]], capacity: Amounts = ()
    ) -> "Offer":
        return cls(name, frozenset(canonical(properties)), capacity)

    def lacking(self, wanted: Requirement) -> Properties:
        """The properties asked for and not offered."""
        return tuple(
            (name, value)
            for name, value in wanted
            if (name, value) not in self.properties and (name, ANY) not in self.properties
        )

    def serves(self, wanted: Requirement, need: Amounts = ()) -> bool:
        if need and not fits(need, dict(self.capacity)):
            return False
        return self.properties.issuperset(wanted) or not self.lacking(wanted)

    def too_small(self, need: Amounts) -> Amounts:
        """The resources of which one worker has not as much."""
        return lacking(need, dict(self.capacity))

    def values(self, name: str) -> list[str]:
        return sorted(value for offered, value in self.properties if offered == name)


def described(wanted: Properties) -> str:
    """`OSFamily=linux, Pool=gpu`, or `any platform`."""
    return ", ".join(f"{name}={value}" for name, value in wanted) or "any platform"


def mismatch(
    wanted: Requirement, offers: Iterable[Offer], unknown: Properties = (), need: Amounts = ()
) -> str:
    """A sentence: the nearest offer and what differs. `unknown` are names nobody declares."""
    every = list(offers)
    if not every:
        return f"no pool is configured and no worker is connected that offers {described(wanted)}"
    nearest = min(every, key=lambda one: len(one.lacking(wanted)) + len(one.too_small(need)))
    differences = [
        _difference(nearest, name, value) for name, value in (*nearest.lacking(wanted), *unknown)
    ]
    differences += [_short(nearest, *pair) for pair in nearest.too_small(need)]
    asked = [described(canonical((*wanted, *unknown))), *(amount_text(*pair) for pair in need)]
    return (
        f"no pool or worker serves {', '.join(asked)}; "
        f"the nearest is {nearest.name}: {', '.join(differences)}"
    )


def _short(offer: Offer, name: str, amount: int) -> str:
    there = dict(offer.capacity).get(name, 0)
    has = amount_text(name, there) if there else f"no {name}"
    return f"{amount_text(name, amount)} is needed, one worker has {has}"


def _difference(offer: Offer, name: str, value: str) -> str:
    values = offer.values(name)
    has = " and ".join(f"{name}={value}" for value in values) if values else f"no {name}"
    return f"{name}={value} is asked for, it has {has}"
