"""Who takes turns: users, and each user's invocations, by start-time fair queueing.

Theory of operation. A share's `tag` is the virtual time at which its next turn starts; of those who
wait the lowest tag goes first, and a turn moves the tag on by its cost, divided by the weight. The
parent's `clock` is the tag of the latest turn: who comes, or comes back, starts there, so idling
saves nothing up and nobody has to make up for what others did meanwhile. Two that wait all the time
get turns by their weights, whatever either asks for, and a decision touches two shares only.
Source: Goyal, Vin and Cheng, "Start-time Fair Queuing" (SIGCOMM 1996), one level below another.
"""

from collections.abc import Mapping

from builder.schedule.spec import Client

MOST = 4096  # children that are kept although nothing of theirs is here


class Share:
    """One taker of turns. `waiting` counts its tasks in queues, `running` has its leases' ids."""

    __slots__ = ("children", "clock", "name", "parent", "running", "tag", "waiting", "weight")

    def __init__(self, name: str, parent: "Share | None", weight: float = 1.0) -> None:
        self.name = name
        self.parent = parent
        self.weight = weight
        self.clock = 0.0
        self.tag: float = 0.0 if parent is None else parent.clock
        self.waiting = 0
        self.running: dict[str, None] = {}  # the oldest first
        self.children: dict[str, Share] = {}

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    def child(self, name: str, weight: float = 1.0) -> "Share":
        found = self.children.get(name)
        if found is None:
            if len(self.children) >= MOST:
                self.children = {n: one for n, one in self.children.items() if not one.is_idle}
            found = self.children[name] = Share(name, self, weight)
        return found

    def wait(self) -> None:
        """One more task of its waits."""
        one = self
        while (parent := one.parent) is not None:
            one.waiting += 1
            if one.waiting == 1 and one.tag < parent.clock:
                one.tag = parent.clock
            one = parent

    def leave(self) -> None:
        """One task less waits."""
        one = self
        while (parent := one.parent) is not None:
            one.waiting -= 1
            one = parent

    def start(self, lease: str, cost: float) -> None:
        """A turn: it costs so many seconds of a slot, as far as one can tell."""
        one = self
        while (parent := one.parent) is not None:
            one.running[lease] = None
            if one.tag > parent.clock:
                parent.clock = one.tag
            one.tag += cost / one.weight
            one = parent

    def settle(self, lease: str, difference: float) -> None:
        """The turn is over; it cost so much more than was thought."""
        one = self
        while (parent := one.parent) is not None:
            del one.running[lease]
            one.tag += difference / one.weight
            one = parent


class Shares:
    """Everybody. `weights` are those of users by name; the others weigh 1."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.root = Share("", None)
        self._weights = weights

    def of(self, client: Client) -> Share:
        """The share of a client's invocation."""
        user = self.root.children.get(client.user)
        if user is None:
            user = self.root.child(client.user, self._weights.get(client.user, 1.0))
        return user.children.get(client.invocation) or user.child(client.invocation)
