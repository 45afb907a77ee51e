"""What one invocation has waiting for one platform, in its order.

The order is a pair that never changes while a task waits: `order_s`, which is the time of asking
plus so many seconds for each step of priority (`Policy.age_s_per_priority`), then the sequence of
asking. So tasks of one priority come in their order, and a line for each priority, first in, first
out, is all that is needed; a task that comes back to its old place lies in a small heap beside the
lines. Taking costs the same however long they are: an old entry is touched only when its turn
comes (a heap of 100,000 costs a third of a whole scheduling cycle, for it misses the caches).

Removal leaves a stale entry behind, which costs nothing until it comes up or until such entries are
the most. An entry is live as long as its task points to it.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import chain

from builder.schedule.task import Task

Entry = tuple[float, int, int, Task]  # order, sequence, tie-break of this queue, task
Line = deque[Entry]

FEW = 64  # stale entries that are not worth clearing away


class Queue:
    """`head` is the entry of the next task, or None."""

    __slots__ = ("_at", "_back", "_lines", "_stale", "_ticket", "head")

    def __init__(self) -> None:
        self.head: Entry | None = None
        self._at: Line | None = None  # where it stands, or None for the heap
        self._lines: dict[int, Line] = {}  # by priority
        self._back: list[Entry] = []  # a heap: those that came back, or moved
        self._stale = 0  # entries of tasks that have gone or moved
        self._ticket = 0

    def __len__(self) -> int:
        return len(self._back) + sum(map(len, self._lines.values())) - self._stale

    def __iter__(self) -> Iterator[Task]:
        """In no order."""
        every = chain(self._back, *self._lines.values())
        return (entry[3] for entry in every if entry[3].entry is entry)

    def push(self, task: Task) -> None:
        """Also moves a task that is in the queue and whose order has changed."""
        moves = task.entry is not None
        self._ticket = ticket = self._ticket + 1
        task.entry = entry = (task.order_s, task.sequence, ticket, task)
        line = self._lines.get(task.priority)
        if moves:
            self._stale += 1
        elif line and line[-1] < entry:  # behind others, so it is not the first
            line.append(entry)
            return
        if line is None:
            line = self._lines[task.priority] = deque((entry,))
        elif not line or line[-1] < entry:
            line.append(entry)
        else:
            line = None
            heappush(self._back, entry)
        head = self.head
        if head is None or entry < head:
            self.head, self._at = entry, line
        elif head[3] is task:
            self._find()

    def remove(self, task: Task) -> None:
        entry, task.entry = task.entry, None
        self._stale += 1
        if self._stale > FEW and self._stale > len(self):
            self._clear_away()
        if entry is self.head:
            self._find()

    def pop(self) -> Task:
        """Remove the next task; there has to be one."""
        entry, line = self.head, self._at
        assert entry is not None
        task = entry[3]
        task.entry = None
        if line is None:
            heappop(self._back)
        else:
            line.popleft()
            if not self._back and len(self._lines) == 1:
                self.head = head = line[0] if line else None
                if head is None or head[3].entry is head:
                    return task
        self._find()
        return task

    def _find(self) -> None:
        """The first live entry."""
        back = self._back
        while back and back[0][3].entry is not back[0]:
            self._stale -= 1
            heappop(back)
        best, where = (back[0] if back else None), None
        for line in self._lines.values():
            while line and line[0][3].entry is not line[0]:
                self._stale -= 1
                line.popleft()
            if line and (best is None or line[0] < best):
                best, where = line[0], line
        self.head, self._at = best, where

    def _clear_away(self) -> None:
        """Stale entries, and lines that nothing stands in."""
        self._back = [entry for entry in self._back if entry[3].entry is entry]
        heapify(self._back)
        lines = {
            priority: deque(entry for entry in line if entry[3].entry is entry)
            for priority, line in self._lines.items()
        }
        self._lines = {priority: line for priority, line in lines.items() if line}
        self._stale = 0
        self._find()
