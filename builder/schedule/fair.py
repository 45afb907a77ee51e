"""A lane's queue: who is next, among users, their invocations, and each one's actions.

The order, from above: the most urgent priority first; an action that has waited for
`age_s_per_priority` for each step that it is less urgent counts as equally urgent; among equally
urgent ones users take turns by their shares, and so do the invocations of one user (`shares`); one
invocation's actions go by their time of asking (`queue`). A limit says this in one number: what
stands in the order at or before `now + most urgent priority * age_s_per_priority` may go now.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator

from builder.schedule.queue import Entry
from builder.schedule.shares import Share
from builder.schedule.task import Task
from builder.schedule.turns import Flow, Turns, step_out

LOOK_PAST = 16  # tasks that may be passed over for one that suits


class FairQueue:
    __slots__ = ("_flows", "_priorities", "_turns", "_users", "size", "urgent")

    def __init__(self) -> None:
        self._flows: dict[Share, Flow] = {}
        self._users: dict[Share, Turns[Flow]] = {}
        self._turns: Turns[Turns[Flow]] = Turns(Share("", None))
        self._priorities: defaultdict[int, int] = defaultdict(int)  # how many wait with each
        self.size = 0
        self.urgent = 0  # the most urgent priority that waits

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Task]:
        """In no order."""
        for flow in self._flows.values():
            yield from flow

    def push(self, task: Task) -> None:
        share, priority = task.share, task.priority
        flow = self._flows.get(share)
        if flow is None:
            flow = self._open(share)
        flow.push(task)
        self.size += 1
        self._priorities[priority] += 1
        if priority < self.urgent or self.size == 1:
            self.urgent = priority
        user = flow.user
        if not flow.ripe:
            user.line_up(flow)
        if not user.ripe:
            self._turns.line_up(user)

    def remove(self, task: Task) -> None:
        flow = self._flows[task.share]
        flow.remove(task)
        self._removed(flow, task)

    def first(self, limit_s: float) -> Entry | None:
        """The entry of the next task, or None when none is within the limit."""
        flow = self._turns.best(limit_s)
        return None if flow is None else flow.head

    def turn(self, limit_s: float) -> tuple[float, float, float, int]:
        """What to compare lanes by: the lowest has its turn."""
        flow = self._turns.best(limit_s)
        head = None if flow is None else flow.head
        if flow is None or head is None:
            return (math.inf, 0.0, 0.0, 0)
        return (flow.user.share.tag, flow.share.tag, head[0], head[1])

    def take(self, limit_s: float, suits: Callable[[Task], bool]) -> Task | None:
        """Remove the next task that suits, among the first few; the first if none of them does.

        None when there is none at all, or the few are all there are and none suits.
        """
        found = self.pop(limit_s)
        return found if found is None or suits(found) else self.instead(found, limit_s, suits)

    def instead(self, first: Task, limit_s: float, suits: Callable[[Task], bool]) -> Task | None:
        """What `take` does with a first one that has been popped and does not suit."""
        passed, found = [first], None
        while len(passed) < LOOK_PAST and (task := self.pop(limit_s)) is not None:
            if suits(task):
                found = task
                break
            passed.append(task)
        if found is None and len(passed) == LOOK_PAST:
            found = passed.pop(0)
        for task in passed:
            self.push(task)
        return found

    def oldest_at(self) -> float | None:
        """About when what waits was asked for first: as far as the heads of the flows tell."""
        heads = (flow.head for flow in self._flows.values())
        return min((head[3].queued_at for head in heads if head is not None), default=None)

    def pop(self, limit_s: float) -> Task | None:
        """Remove the next task, if there is one; of those within the limit, if there are any."""
        if not self.size:
            return None
        flow = self._turns.best(limit_s)
        if flow is None:
            flow = self._turns.best(math.inf)
            assert flow is not None
        task = flow.pop()
        self._removed(flow, task)
        return task

    def _removed(self, flow: Flow, task: Task) -> None:
        priority = task.priority
        self.size -= 1
        self._priorities[priority] = left = self._priorities[priority] - 1
        if not left:
            del self._priorities[priority]
            if priority == self.urgent:
                self.urgent = min(self._priorities, default=0)
        if flow.head is None:
            self._close(flow)

    def _open(self, share: Share) -> Flow:
        user = self._users.get(share.parent)
        if user is None:
            user = self._users[share.parent] = Turns(share.parent)
            self._turns.members += 1
        user.members += 1
        flow = self._flows[share] = Flow(share, user)
        return flow

    def _close(self, flow: Flow) -> None:
        user = flow.user
        step_out(flow)
        del self._flows[flow.share]
        user.members -= 1
        if not user.members:
            step_out(user)
            del self._users[user.share]
            self._turns.members -= 1
