"""A child that ends with its parent, however the parent ends.

The parent holds the other end of our stdin; the kernel closes it when the parent is gone. A
thread waits for that, so that a loop which hangs cannot keep the process alive.
"""

import os
import threading
import time
from collections.abc import Callable

import trio

LAST_RESORT_S = 10.0


def watch_parent(stop: Callable[[], None]) -> None:
    """Call `stop` in trio's thread when stdin ends; end the process when that does not help."""
    token = trio.lowlevel.current_trio_token()

    def wait() -> None:
        while True:
            try:
                if not os.read(0, 4096):
                    break
            except OSError:
                break
        try:
            token.run_sync_soon(stop)
        except trio.RunFinishedError:
            return
        time.sleep(LAST_RESORT_S)
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="parent").start()
