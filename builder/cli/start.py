"""Where the program starts: the quickest answer first, everything else when that is none."""

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.client.noop import Receipt


def main() -> None:
    """The console script. Ends the process."""
    started = time.monotonic()
    arguments = sys.argv[1:]
    if arguments[:1] == ["build"]:
        from builder.client.noop import answer

        if answer(arguments, started, _fetch):
            return
    from builder.cli.main import main as run  # imports click, and what the command needs

    run()


def _fetch(root: str, path: str, receipt: "Receipt") -> bool:
    from builder.client.warm import fetch  # late: mostly everything is in place

    return fetch(root, path, receipt)
