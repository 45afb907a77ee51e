"""A queue of tasks that ask for the same platform, in their order.

The order is a pair that never changes while a task waits: `order_s`, which is the time of asking
plus so many seconds for each step of priority (`Policy.age_s_per_priority`), then the sequence of
asking. So a heap will do; removal leaves a stale entry behind, which costs nothing until it comes
up or until such entries are the most.
"""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

from builder.schedule.task import Task

Entry = tuple[float, int, int, Task]  # order, sequence, tie-break of this queue, task

LOOK_PAST = 16  # tasks that may be passed over for one that suits the worker


class Queue:
    __slots__ = ("_heap", "_size", "_ticket")

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._size = 0
        self._ticket = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Task]:
        """In no order."""
        return (entry[3] for entry in self._heap if entry[3].entry is entry)

    def push(self, task: Task) -> None:
        """Also moves a task that is in the queue and whose order has changed."""
        if task.entry is None:
            self._size += 1
        self._ticket += 1
        task.entry = (task.order_s, task.sequence, self._ticket, task)
        heappush(self._heap, task.entry)

    def remove(self, task: Task) -> None:
        task.entry = None
        self._size -= 1
        if len(self._heap) > 64 and len(self._heap) > 2 * self._size:
            self._heap = [entry for entry in self._heap if entry[3].entry is entry]
            heapify(self._heap)

    def head(self) -> Entry | None:
        """The entry of the next task."""
        heap = self._heap
        while heap and heap[0][3].entry is not heap[0]:
            heappop(heap)
        return heap[0] if heap else None

    def take(self, suits: Callable[[Task], bool]) -> Task | None:
        """Remove the first task that suits, among the first few; the first if none of them does.

        None when there is none at all, or the few are all there are and none suits.
        """
        passed: list[Entry] = []
        found: Task | None = None
        while len(passed) < LOOK_PAST and (entry := self.head()) is not None:
            heappop(self._heap)
            if suits(entry[3]):
                found = entry[3]
                break
            passed.append(entry)
        if found is None and len(passed) == LOOK_PAST:
            found = passed.pop(0)[3]
        for entry in passed:
            heappush(self._heap, entry)
        if found is not None:
            found.entry = None
            self._size -= 1
        return found
