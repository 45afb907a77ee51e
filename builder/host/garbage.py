"""When Python looks for garbage in cycles: at what is young often, at everything seldom.

A service keeps some hundred thousand objects alive: queue, history, connections. To look at all of
them takes a tenth of a second in which nobody is answered, and Python's defaults do so for each
quarter that they have become more, and look at the young ones after each 700. What is no cycle is
freed at once in any case. A look costs a microsecond or two for each object that it finds in cold
memory, so those at the older are for nine thousand at most, and not for thirty.
"""

import gc

YOUNG = 3_000  # new objects, less those that went, before a look at them
OLDER = 1  # looks at the young, and one more, before one at those that have survived one
ALL = 140  # looks at the older before one at everything; 1.25 million objects more


def settle() -> None:
    """What is alive now stays so: a program has started and begins to serve."""
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, ALL)
