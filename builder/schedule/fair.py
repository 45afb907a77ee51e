"""A lane's queue: who is next, among users, their invocations, and each one's actions.

The order, from above: the most urgent priority first; an action that has waited for
`age_s_per_priority` for each step that it is less urgent counts as equally urgent; among equally
urgent ones users take turns by their shares, and so do the invocations of one user (`shares`); one
invocation's actions go by their time of asking (`queue`). A limit says this in one number: what
stands in the order at or before `now + most urgent priority * age_s_per_priority` may go now.
"""

import math
from collections.abc import Callable, Iterator

from builder.schedule.queue import Entry
from builder.schedule.shares import Share
from builder.schedule.task import Task
from builder.schedule.turns import Flow, Turns

LOOK_PAST = 16  # tasks that may be passed over for one that suits


class FairQueue:
    __slots__ = ("_flows", "_priorities", "_size", "_turns", "_users", "urgent")

    def __init__(self) -> None:
        self._flows: dict[Share, Flow] = {}
        self._users: dict[Share, Turns[Flow]] = {}
        self._turns: Turns[Turns[Flow]] = Turns(Share("", None))
        self._priorities: dict[int, int] = {}  # how many wait with each
        self._size = 0
        self.urgent = 0  # the most urgent priority that waits

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Task]:
        """In no order."""
        for flow in self._flows.values():
            yield from flow

    def push(self, task: Task) -> None:
        flow = self._flows.get(task.share)
        if flow is None:
            flow = self._open(task.share)
        flow.push(task)
        self._size += 1
        count = self._priorities.get(task.priority, 0)
        self._priorities[task.priority] = count + 1
        if task.priority < self.urgent or self._size == 1:
            self.urgent = task.priority
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
        return None if flow is None else flow.head()

    def turn(self, limit_s: float) -> tuple[float, float, float, int]:
        """What to compare lanes by: the lowest has its turn."""
        flow = self._turns.best(limit_s)
        head = None if flow is None else flow.head()
        if flow is None or head is None:
            return (math.inf, 0.0, 0.0, 0)
        return (flow.user.share.tag, flow.share.tag, head[0], head[1])

    def take(self, limit_s: float, suits: Callable[[Task], bool]) -> Task | None:
        """Remove the next task that suits, among the first few; the first if none of them does.

        None when there is none at all, or the few are all there are and none suits.
        """
        found = self._pop(limit_s)
        if found is None or suits(found):
            return found
        passed = [found]
        found = None
        while len(passed) < LOOK_PAST and (task := self._pop(limit_s)) is not None:
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
        heads = (flow.head() for flow in self._flows.values())
        return min((head[3].queued_at for head in heads if head is not None), default=None)

    def _pop(self, limit_s: float) -> Task | None:
        flow = self._turns.best(limit_s) or self._turns.best(math.inf)
        if flow is None:
            return None
        task = flow.pop()
        self._removed(flow, task)
        return task

    def _removed(self, flow: Flow, task: Task) -> None:
        self._size -= 1
        left = self._priorities[task.priority] - 1
        if left:
            self._priorities[task.priority] = left
        else:
            del self._priorities[task.priority]
            if task.priority == self.urgent:
                self.urgent = min(self._priorities, default=0)
        if not flow:
            self._close(flow)

    def _open(self, share: Share) -> Flow:
        assert share.parent is not None
        user = self._users.get(share.parent)
        if user is None:
            user = self._users[share.parent] = Turns(share.parent)
            self._turns.members += 1
        user.members += 1
        flow = self._flows[share] = Flow(share, user)
        return flow

    def _close(self, flow: Flow) -> None:
        user = flow.user
        flow.place, flow.ripe = None, False
        del self._flows[flow.share]
        user.members -= 1
        if not user.members:
            user.place, user.ripe = None, False
            del self._users[user.share]
            self._turns.members -= 1
