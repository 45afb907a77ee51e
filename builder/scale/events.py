"""What the autoscaler may be told, and what it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass

from builder.scale.load import Load


@dataclass(frozen=True, slots=True)
class LoadObserved:
    """`busy` tells for each instance how many of its slots are taken, `slots` how many a worker
    has (their mean); None: as before."""

    load: Load
    busy: Mapping[str, int] | None = None
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Launched:
    """The provider took the launch and names its instances."""

    token: str
    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LaunchRefused:
    """The provider refused it: a quota, no capacity, a fault. It may be asked again later.

    `soon` is false when only a person can help: then the pauses are a minute from the first one on,
    and grow to a quarter of an hour.
    """

    token: str
    why: str
    soon: bool = True


@dataclass(frozen=True, slots=True)
class InstanceReady:
    """Its worker has joined."""

    instance: str


@dataclass(frozen=True, slots=True)
class InstanceBusy:
    """How many of its slots are taken, whenever that changes."""

    instance: str
    running: int


@dataclass(frozen=True, slots=True)
class InstanceLeaving:
    """It drains, whoever wanted that: it serves no more, and another may take its place."""

    instance: str


@dataclass(frozen=True, slots=True)
class InstanceGone:
    instance: str


@dataclass(frozen=True, slots=True)
class InstancesFound:
    """Launched by a former coordinator of this pool; their workers will join again."""

    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SizeHeld:
    """An operator fixes the size, or gives it back (None)."""

    workers: int | None


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing but the time: `next_deadline` has come."""


Event = (
    LoadObserved
    | Launched
    | LaunchRefused
    | InstanceReady
    | InstanceBusy
    | InstanceLeaving
    | InstanceGone
    | InstancesFound
    | SizeHeld
    | TimePassed
)


@dataclass(frozen=True, slots=True)
class Launch:
    """Ask the provider for workers; asking again with the same token is the same launch.

    `urgent`: work waits for them.
    """

    token: str
    count: int
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Retire:
    """Drain these, then end them."""

    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """For the log and the status: what was decided and why, as a sentence."""

    sentence: str


Effect = Launch | Retire | Decided
