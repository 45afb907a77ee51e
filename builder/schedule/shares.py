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
    """One taker of turns: everybody together, who is its own parent, a user, or an invocation.

    `waiting` counts its tasks in queues, `running` an invocation's leases; a user has their ids
    in `leases`, the oldest first. What happens is told to an invocation, and its user has a part
    in it. Hot: there are two levels, and no loop over them; invocations weigh alike.
    """

    __slots__ = (
        "children",
        "clock",
        "leases",
        "name",
        "parent",
        "running",
        "tag",
        "waiting",
        "weight",
    )

    def __init__(self, name: str, parent: "Share | None", weight: float = 1.0) -> None:
        self.name = name
        self.parent = self if parent is None else parent
        self.weight = weight
        self.clock = 0.0
        self.tag: float = self.parent.clock
        self.waiting = 0
        self.running = 0
        self.leases: dict[str, None] = {}
        self.children: dict[str, Share] = {}

    @property
    def is_idle(self) -> bool:
        return not (self.waiting or self.running or self.leases)

    def child(self, name: str, weight: float = 1.0) -> "Share":
        found = self.children.get(name)
        if found is None:
            if len(self.children) >= MOST:
                self.children = {n: one for n, one in self.children.items() if not one.is_idle}
            found = self.children[name] = Share(name, self, weight)
        return found

    def wait(self) -> None:
        """One more task of this invocation waits."""
        user = self.parent
        self.waiting += 1
        if self.waiting == 1 and self.tag < user.clock:
            self.tag = user.clock
        user.waiting += 1
        if user.waiting == 1 and user.tag < user.parent.clock:
            user.tag = user.parent.clock

    def pass_by(self) -> None:
        """A task comes that need not wait: as `wait` and `leave` at once."""
        user = self.parent
        if not self.waiting and self.tag < user.clock:
            self.tag = user.clock
        if not user.waiting and user.tag < user.parent.clock:
            user.tag = user.parent.clock

    def leave(self) -> None:
        """One task less waits."""
        self.waiting -= 1
        self.parent.waiting -= 1

    def start(self, lease: str, cost: float) -> None:
        """A turn: it costs so many seconds of a slot, as far as one can tell."""
        user = self.parent
        everybody = user.parent
        self.running += 1
        user.leases[lease] = None
        if self.tag > user.clock:
            user.clock = self.tag
        self.tag += cost
        if user.tag > everybody.clock:
            everybody.clock = user.tag
        user.tag += cost / user.weight

    def settle(self, lease: str, difference: float) -> None:
        """The turn is over; it cost so much more than was thought."""
        user = self.parent
        del user.leases[lease]
        self.running -= 1
        self.tag += difference
        user.tag += difference / user.weight


class Shares:
    """Everybody. `weights` are those of users by name; the others weigh 1."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.root = Share("", None)
        self._weights = weights

    def of(self, client: Client) -> Share:
        """The share of a client's invocation."""
        name, invocation = client.user, client.invocation
        user = self.root.children.get(name)
        if user is None:
            user = self.root.child(name, self._weights.get(name, 1.0))
        return user.children.get(invocation) or user.child(invocation)
