"""Hot: events, effects and views by the hundred thousand.

A NamedTuple that is called by its name passes through a Python function; `new` makes the same one
of all its fields in a third of the time, and there are a dozen of them in each action: 8 % of all
decisions (`python -m tests.bench scheduler`, figures.cycles_per_s). Only where that matters.
"""

new = tuple.__new__
