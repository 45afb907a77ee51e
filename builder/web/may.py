"""Whether whoever looks at a page may also press its buttons; they are left out otherwise.

That is for the eye only: the gate judges the request that a button makes.
"""

from collections.abc import Callable
from contextvars import ContextVar

MAY: ContextVar[Callable[[str], bool] | None] = ContextVar("may", default=None)  # nobody is asked


def may(path: str) -> bool:
    """Whether the caller whose request is served may POST to such a path."""
    judge = MAY.get()
    return judge is None or judge(path)
