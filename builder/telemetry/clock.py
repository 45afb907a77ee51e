"""The clocks of this machine, for those parts that take them as an argument."""

import time


class SystemClock:
    """`base.clock.Clock` from the kernel's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_ns(self) -> int:
        return time.time_ns()
